"""What arrives by push, and what the functions understand: golden pairs, one a file.

Each file holds a push body as Pub/Sub (or a real emulator) posts it and what it is parsed into. A message that
an older version sent stays in here for as long as one may be in a queue.
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


def understand(push: Any, kind: str) -> Any:
    """Parse a push body as the function for this kind of message does; what comes out, as JSON."""
    request = Request(EnvironBuilder(method="POST", json=push).get_environ())
    try:
        message = pubsub.receive(background_event_to_cloud_event(request))
        if kind == "upload":
            upload = pubsub.parse_upload(message)
            return {"id": message.id, "upload": upload.model_dump() if upload else None}
        return {"id": message.id, kind: pubsub.parse(message, KINDS[kind]).model_dump()}
    except MalformedMessageError:
        return {"error": "malformed: acknowledged and logged"}
    except RetryableError:
        return {"error": "retryable: comes back until the newer function is there"}


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_push_is_understood_as_it_was_agreed(path: Path) -> None:
    golden = json.loads(path.read_text())
    assert understand(golden["push"], golden["kind"]) == golden["understood"], golden["about"]


def test_there_are_golden_files_for_every_kind_and_every_outcome() -> None:
    files = [json.loads(path.read_text()) for path in GOLDEN]
    assert {file["kind"] for file in files} == {"upload", *KINDS}
    assert len({str(file["understood"].get("error")) for file in files}) == 3


@pytest.mark.parametrize("step", ["", "-redact"])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_what_is_published_now_is_what_the_golden_message_says(kind: str, step: str) -> None:
    golden = json.loads((Path(__file__).parent / "golden" / f"{kind}{step}.json").read_text())
    model = KINDS[kind].model_validate(golden["understood"][kind])
    assert understand(golden["push"], kind)[kind] == model.model_dump()


def test_an_event_is_a_cloud_event_in_json() -> None:
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
        },
    }
