"""`defacer live`: the live page alone on this machine, in a folder outside the repository."""

import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.live.pictures import Clip
from tests.live.service import Service, camera, watch_stream
from tests.servers import DEFACER


@dataclass(frozen=True)
class RunningCommand:
    """`defacer live` in its own process, and its page."""

    process: "subprocess.Popen[str]"
    service: Service


@pytest.fixture
def live(tmp_path: Path) -> Iterator[RunningCommand]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DEFACER_")}
    with (tmp_path / "errors").open("w") as errors:
        process = subprocess.Popen(
            [*DEFACER, "live", "--port", "0"],
            cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True,
        )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("The live page: http://127.0.0.1:"), (tmp_path / "errors").read_text()
        yield RunningCommand(process, Service(line.split()[-1], tmp_path / "errors"))
    finally:
        process.kill()
        process.communicate()


def test_page_redacts_a_camera_without_a_pipeline(live: RunningCommand, clip: Clip) -> None:
    page = live.service.open_page()
    assert 'id="channel"' not in page.get(live.service.url, timeout=60).text
    refused = page.post(f"{live.service.url}/streams", json={"channel": "street"}, timeout=60)
    assert (refused.status_code, "has no channels" in refused.json()["error"]) == (422, True)

    started = live.service.start_stream()
    with camera(live.service, started, clip):
        frames = (found for found in watch_stream(live.service, started["id"]) if isinstance(found, bytes))
        assert next(frames).startswith(b"\xff\xd8")

    live.process.send_signal(signal.SIGINT)
    out, _ = live.process.communicate(timeout=60)
    assert (live.process.returncode, out) == (0, "\nStopped.\n")


def test_port_in_use_is_reported(live: RunningCommand) -> None:
    port = live.service.url.rsplit(":", 1)[1]
    done = subprocess.run([*DEFACER, "live", "--port", port], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"Port {port} is in use" in done.stderr
