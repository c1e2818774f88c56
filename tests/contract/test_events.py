"""Push bodies and the messages that the functions parse from them, as golden pairs.

Each file holds a push body as Pub/Sub or a real emulator posts it, and the parsed message. Keep the messages of
older versions here for as long as such a message might be in a queue.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from functions_framework.event_conversion import background_event_to_cloud_event
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request

from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.job_records import JobEvent, JobEventData
from defacer.pipeline.documents.segment_messages import SegmentDone, SegmentTask
from defacer.pipeline.errors import MalformedMessageError, RetryableError
from defacer.pipeline.messaging import pubsub

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.json"))
KINDS = {"segment-task": SegmentTask, "segment-done": SegmentDone}


def parse_push(push: Any, kind: str) -> Any:
    """Parse a push body as the function for this kind of message does, and return the result as JSON."""
    request = Request(EnvironBuilder(method="POST", json=push).get_environ())
    try:
        message = pubsub.receive_message(background_event_to_cloud_event(request))
        if kind == "upload":
            upload = pubsub.parse_upload(message)
            return {"id": message.id, "upload": upload.model_dump() if upload else None}
        return {"id": message.id, kind: pubsub.parse_message(message, KINDS[kind]).model_dump()}
    except MalformedMessageError:
        return {"error": "malformed: acknowledged and logged"}
    except RetryableError:
        return {"error": "retryable: redelivered until the newer function is deployed"}


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_push_is_parsed_as_its_golden_file_states(path: Path) -> None:
    golden = json.loads(path.read_text())
    assert parse_push(golden["push"], golden["kind"]) == golden["parsed"], golden["about"]


def test_golden_files_cover_every_kind_and_outcome() -> None:
    files = [json.loads(path.read_text()) for path in GOLDEN]
    assert {file["kind"] for file in files} == {"upload", *KINDS}
    assert len({str(file["parsed"].get("error")) for file in files}) == 3


@pytest.mark.parametrize("step", ["", "-redact"])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_published_message_equals_the_golden_message(kind: str, step: str) -> None:
    golden = json.loads((Path(__file__).parent / "golden" / f"{kind}{step}.json").read_text())
    model = KINDS[kind].model_validate(golden["parsed"][kind])
    assert parse_push(golden["push"], kind)[kind] == model.model_dump()


def test_job_event_is_a_cloud_event_in_json() -> None:
    job = "0123456789abcdef0123"
    source = ObjectRef(bucket="intake", name="channels/c/videos/a.mp4", generation=1)
    data = JobEventData(job=job, channel="c", source=source, segments=2)
    event = json.loads(
        JobEvent(id=f"{job}-planned", type="job.planned", subject=job, data=data).model_dump_json()
    )
    time = event.pop("time")
    assert time.endswith("Z")
    assert event == {
        "specversion": "1.0",
        "id": f"{job}-planned",
        "source": "/defacer",
        "type": "job.planned",
        "subject": job,
        "datacontenttype": "application/json",
        "data": {
            "job": job,
            "channel": "c",
            "source": {"bucket": "intake", "name": "channels/c/videos/a.mp4", "generation": 1},
            "result": None,
            "report": None,
            "code": None,
            "message": None,
            "segments": 2,
            "review_end": None,
        },
    }
