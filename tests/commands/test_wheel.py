"""The wheel and the sdist, installed in an empty folder outside the repository with an empty home folder."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from defacer.engine.models import weights
from tests.clips import Clip, astronaut, encode_picture, frame_times, write_clip
from tests.servers import ROOT, UV

BIN, SUFFIX = ("Scripts", ".exe") if os.name == "nt" else ("bin", "")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def environment(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the base installation, in the versions of the lock file."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    (wheel,) = built.glob("*.whl")
    subprocess.run([UV, "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
    install = [UV, "pip", "install", "--quiet", "--python", str(folder)]
    lock = str(ROOT / "requirements.lock")
    subprocess.run([*install, "--constraint", lock, str(wheel)], check=True)
    return folder


def run(environment: Path, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the installed command in a home folder with nothing but the models of this machine."""
    home.mkdir(exist_ok=True)
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "TMPDIR") if name in os.environ}
    variables = {**kept, "HOME": str(home), weights.DIRECTORY_VARIABLE: str(weights.default_dir())}
    command = [str(environment / BIN / f"defacer{SUFFIX}"), *arguments]
    return subprocess.run(command, cwd=home, env=variables, capture_output=True, text=True, check=False)


def test_wheel_has_both_packages_with_pages_types_and_license(built: Path) -> None:
    (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {
        "defacer",
        "defacer_emulator",
    }
    for folder in ("functions", "local_emulator"):
        tracked = subprocess.run(
            ["git", "ls-files", folder], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.splitlines()
        files = {name.removeprefix(f"{folder}/") for name in tracked if name.count("/") > 1}
        assert {name for name in files if name not in names and (ROOT / folder / name).is_file()} == set()
    assert "defacer/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    with tarfile.open(sdist) as archive:
        tops = {name.split("/")[1] for name in archive.getnames() if "/" in name}
    assert {"LICENSE", "README.md", "pyproject.toml", "functions", "local_emulator"} <= tops
    assert not {"tests", "infra"} & tops


def test_installed_command_redacts_a_clip_outside_the_repository(environment: Path, tmp_path: Path) -> None:
    weights.fetch_all()
    home = tmp_path / "home"
    home.mkdir()
    write_clip(home / "clip.mp4", Clip(seconds=0.4, portrait=astronaut()))
    (home / "me.png").write_bytes(encode_picture(astronaut()))

    done = run(environment, home, "run", "clip.mp4", "--keep", "me.png")

    assert done.returncode == 0, done.stderr
    assert "kept (me)" in done.stdout
    assert frame_times(home / "clip.defaced.mp4") == frame_times(home / "clip.mp4")
    assert sorted(path.name for path in home.iterdir()) == ["clip.defaced.mp4", "clip.mp4", "me.png"]


def test_base_installation_names_the_extra_of_each_group(
    environment: Path, built: Path, tmp_path: Path
) -> None:
    for group, extra in (
        ("job", "cloud"),
        ("person", "cloud"),
        ("live", "console"),
        ("emulator", "emulator"),
    ):
        done = run(environment, tmp_path / "home", group)
        assert done.returncode == 3
        (wheel,) = built.glob("*.whl")
        assert f"Run: {environment}" in done.stderr
        assert done.stderr.endswith(f" 'defacer[{extra}] @ {wheel.as_uri()}'\n")
    assert run(environment, tmp_path / "home", "doctor").returncode == 0
    assert run(environment, tmp_path / "home", "schema", "policy").returncode == 0
