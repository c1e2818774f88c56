"""deface 1.5.0 in an environment of its own: its needs and ours do not mix. Pinned by hash in deface.lock.

The lock was made by `uv pip compile --universal --generate-hashes` from deface==1.5.0, onnx and onnxruntime, with
opencv-python-headless for opencv-python: the same code without windows, so it runs on a bare machine.
"""

import hashlib
import subprocess
import sys
from pathlib import Path

from defacer.engine.models import weights
from tests.benchmarks.running import BenchmarkError, Program

LOCK = Path(__file__).with_name("deface.lock")
DEFAULT_FOLDER = weights.cache_dir() / "benchmarks"


def deface_program(folder: Path) -> Program:
    """deface's command line, hiding everyone; it is installed below `folder` on first use."""
    digest = hashlib.sha256(LOCK.read_bytes()).hexdigest()[:8]
    environment = folder / f"deface-{digest}-{sys.version_info.major}.{sys.version_info.minor}"
    installed = environment / ".installed"
    if not installed.exists():
        _install(environment)
        installed.touch()
    command = (str(environment / "bin" / "deface"), "--scale", "640x360", "--output", "OUT", "IN")
    return Program("deface 1.5.0", command)


def _install(environment: Path) -> None:
    uv = str(Path(sys.executable).with_name("uv"))
    python = str(environment / "bin" / "python")
    _done([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(environment)])
    needs = ["--no-deps", "--require-hashes", "--requirement", str(LOCK)]
    _done([uv, "pip", "install", "--quiet", "--python", python, *needs])


def _done(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise BenchmarkError(
            f"deface could not be installed: {said} Check the network and uv's settings, or leave it out with --only."
        )
