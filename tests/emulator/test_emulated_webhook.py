"""The webhook on the emulator: `up --webhook`."""

from pathlib import Path

import pytest
from google.pubsub_v1.types import PubsubMessage

from defacer.commands.app import main
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.job_records import JobEvent, JobEventData
from defacer.pipeline.topology import JOB_EVENTS
from defacer.webhook.delivery import sign
from defacer_emulator.emulator import Emulator, EmulatorOptions, Receiver
from defacer_emulator.errors import EmulatorUsageError
from defacer_emulator.services import messaging
from tests.receiver import open_receiver
from tests.servers import ROOT


def test_signed_event_is_retried_after_503(stand_ins: Path, tmp_path: Path) -> None:
    (stand_ins / "webhook").symlink_to(ROOT / "functions" / "defacer" / "webhook")
    with open_receiver() as receiver:
        receiver.answers = [503, 200]
        webhook = Receiver(f"{receiver.address}/hook", secret := "only for the tests of this repository")
        options = EmulatorOptions(tmp_path / "state", "builtin", functions=stand_ins, receiver=webhook)
        with Emulator(options) as emulator, messaging.create_publisher(emulator.state.pubsub_host) as client:
            topic = messaging.topic_path(emulator.state.project, JOB_EVENTS)
            job, source = "0123456789abcdef0123", ObjectRef(bucket="a", name="b", generation=1)
            data = JobEventData(job=job, channel="a", source=source)
            event = JobEvent(id="an-event", type="job.completed", subject=job, data=data)
            body = event.model_dump_json().encode()
            client.publish(
                topic=topic, messages=[PubsubMessage(data=body, attributes={"type": "job.completed"})]
            )
            first, second = receiver.wait_for(2)

    assert (first.body, second.body) == (body, body)
    assert {call.headers["idempotency-key"] for call in (first, second)} == {"an-event"}
    for call in (first, second):
        assert call.headers["defacer-signature"] == sign(secret, call.headers["defacer-timestamp"], body)


def test_invalid_webhook_raises_before_anything_starts(stand_ins: Path, tmp_path: Path) -> None:
    options = EmulatorOptions(
        tmp_path / "state", "builtin", functions=stand_ins, receiver=Receiver("http://example.com/", "")
    )
    with pytest.raises(EmulatorUsageError, match=r"(?s)DEFACER_WEBHOOK_URL.*https.*DEFACER_WEBHOOK_SECRET"):
        Emulator(options).__enter__()


def test_up_without_a_secret_names_the_variable(
    tmp_path: Path, stand_ins: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DEFACER_WEBHOOK_SECRET", raising=False)
    folders = ["--dir", str(tmp_path / "state"), "--functions", str(stand_ins)]
    assert main(["emulator", "up", *folders, "--webhook", "http://127.0.0.1:1/"]) == 2
    assert "DEFACER_WEBHOOK_SECRET" in capsys.readouterr().err
