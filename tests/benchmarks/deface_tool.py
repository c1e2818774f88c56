"""Run deface 1.5.0 in its own environment, because its dependencies conflict with ours.

deface.lock pins it by hash. `uv pip compile --universal --generate-hashes` created the lock from deface==1.5.0, onnx
and onnxruntime, with opencv-python-headless instead of opencv-python, which needs a display.
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
    """Return deface's command line, which hides all faces. Install it below `folder` on first use."""
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
    _run_checked([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(environment)])
    needs = ["--no-deps", "--require-hashes", "--requirement", str(LOCK)]
    _run_checked([uv, "pip", "install", "--quiet", "--python", python, *needs])


def _run_checked(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise BenchmarkError(
            f"deface could not be installed: {reason} Check the network and uv's settings, or omit deface with --only."
        )
