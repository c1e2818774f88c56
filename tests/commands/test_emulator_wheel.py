"""The emulator from the wheel, in an empty folder outside the repository."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from tests.clips import Clip, astronaut, encode_picture, write_clip
from tests.emulator.up import ANY_PORTS
from tests.servers import ROOT, UV

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
INSTALL_SECONDS = 600


@dataclass(frozen=True)
class Installation:
    """The environment with the command `defacer`, and an empty folder. The command runs there."""

    environment: Path
    folder: Path

    @property
    def command(self) -> str:
        return str(self.environment / "bin" / "defacer")

    def variables(self) -> dict[str, str]:
        """Return the environment variables, without those of the repository's environment."""
        removed = ("PYTHONPATH", "VIRTUAL_ENV")
        kept = {
            name: value
            for name, value in os.environ.items()
            if name not in removed and not name.startswith("DEFACER_")
        }
        return {**kept, "PATH": f"{self.environment / 'bin'}{os.pathsep}{kept['PATH']}"}

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run `defacer` in the empty folder. Raise AssertionError with its errors if it fails."""
        done = subprocess.run(
            [self.command, *arguments],
            cwd=self.folder, env=self.variables(), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"defacer {' '.join(arguments)}: {done.stderr}"
        return done


def install_wheel(wheel: Path, extras: str, folder: Path) -> Installation:
    """Install the wheel with these extras, with the versions of the lock file."""
    environment, empty = folder / "environment", folder / "empty folder"
    empty.mkdir()
    requirement = f"defacer[{extras}] @ {wheel.as_uri()}"
    versions = str(ROOT / "requirements-dev.lock")
    for command in (
        ["venv", "--quiet", "--python", sys.executable, str(environment)],
        ["pip", "install", "--quiet", "--python", str(environment), "--constraint", versions, requirement],
    ):
        done = subprocess.run(
            [UV, *command], cwd=empty, capture_output=True, text=True, check=False, timeout=INSTALL_SECONDS
        )
        assert done.returncode == 0, done.stderr
    return Installation(environment, empty)


@pytest.fixture(scope="module")
def installation(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    (wheel,) = built.glob("*.whl")
    return install_wheel(wheel, "emulator,console", tmp_path_factory.mktemp("installed"))


@pytest.fixture
def up(installation: Installation) -> Iterator["subprocess.Popen[str]"]:
    """Start `defacer emulator up`, and end it after the test."""
    command = [installation.command, "emulator", "up", "--json", "--pubsub=builtin", *ANY_PORTS]
    with subprocess.Popen(
        command, cwd=installation.folder, env=installation.variables(), stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.terminate()


def test_installed_emulator_redacts_an_upload_and_serves_its_pages(
    installation: Installation, up: "subprocess.Popen[str]"
) -> None:
    write_clip(installation.folder / "walk.mp4", Clip(seconds=1, portrait=astronaut()))
    (installation.folder / "eileen.png").write_bytes(encode_picture(astronaut()))
    assert up.stdout is not None
    line = up.stdout.readline()
    assert line, "defacer emulator up has ended"
    addresses = json.loads(line)

    done = installation.run(
        "emulator", "upload", "walk.mp4", "--keep", "eileen.png", "-o", "safe.mp4", "--json"
    )

    result = json.loads(done.stdout)
    assert (result["people"], result["result"]) == (["eileen"], "safe.mp4")
    assert (installation.folder / "safe.mp4").stat().st_size > 1000
    jobs = json.loads(installation.run("job", "status", "--emulator", "--json").stdout)
    assert [job["job"] for job in jobs] == [result["job"]]
    for address, text in (
        (f"{addresses['console']}/channels/demo/jobs", "walk.mp4"),
        (f"{addresses['console']}/static/style.css", "body"),
        (addresses["live"], "This device's camera"),
        (f"{addresses['live']}/static/live.js", "WebSocket"),
    ):
        page = requests.get(address, headers={"Accept": "text/html"}, timeout=120)
        assert (address, page.status_code, text in page.text) == (address, 200, True)

    stopped = json.loads(installation.run("emulator", "down", "--json").stdout)

    assert (stopped["stopped"], stopped["folder"]) == (True, str(installation.folder / ".emulator"))
    assert up.wait(60) == 0
