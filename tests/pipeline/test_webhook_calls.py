"""The webhook calls at the end of jobs, with the real functions."""

from pathlib import Path

import pytest

from defacer.commands.app import main
from defacer.pipeline.documents.job_records import JobEvent
from defacer.webhook.delivery import sign
from defacer_emulator.emulator import Emulator, EmulatorOptions, Receiver
from tests.clips import Clip, admiral, write_clip
from tests.pipeline.conftest import NOISE
from tests.receiver import open_receiver

SECRET = "only for the tests of this repository"  # noqa: S105 - no secret
SECONDS = 300


def test_webhook_is_called_for_a_published_and_a_failed_job(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = write_clip(tmp_path / "walk.mp4", Clip(seconds=2, portrait=admiral()))
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(NOISE)
    jobs = []
    with open_receiver() as receiver:
        webhook = Receiver(receiver.address, SECRET)
        with Emulator(EmulatorOptions(tmp_path / "state", "builtin", receiver=webhook)) as emulator:
            for count, path in enumerate((video, broken), start=1):
                capsys.readouterr()
                assert main(["emulator", "upload", str(path), "--dir", str(emulator.folder.path)]) == 0
                jobs.append(capsys.readouterr().out.split()[0])
                calls = receiver.wait_for(count, SECONDS)

    events = [JobEvent.model_validate_json(call.body) for call in calls]
    assert [(event.type, event.data.job) for event in events] == [
        ("job.completed", jobs[0]),
        ("job.failed", jobs[1]),
    ]
    assert events[0].data.result is not None
    assert events[0].data.result.name == "channels/demo/walk.mp4"
    assert events[1].data.code == "not-a-video"
    for call in calls:
        assert call.headers["defacer-signature"] == sign(SECRET, call.headers["defacer-timestamp"], call.body)
