"""Hostile messages, names and policies: each is refused, ignored, or processed like any other."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.manifest import Manifest
from defacer.pipeline.storage import object_names
from defacer.pipeline.storage.object_names import job_of
from tests.cloud import Buckets, Environment, Post, Topics, push_body, upload_push
from tests.functions.ingesting import (
    POLICY,
    VIDEO,
    assert_failed,
    assert_nothing_happened,
    manifest_of,
    tasks,
)
from tests.functions.merging import change_report
from tests.functions.records import failure_of
from tests.hostile import BAD_NAMES, ODD_NAMES
from tests.planned import Planned, do_all_segments, link_job

Output = pytest.CaptureFixture[str]
App = Callable[[str], FlaskClient]
KINDS = {"worker": "segment-task", "merge": "segment-done", "dead_letter": "segment-task"}
DEEP = 100_000


def read_last_line(capsys: Output) -> Any:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def post(app: App, function: str, body: object) -> int:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    push = push_body(data, {"type": KINDS[function]})
    return app(function).post("/", json=push).status_code


@pytest.mark.parametrize("name", ODD_NAMES.values(), ids=ODD_NAMES)
def test_unusual_video_names_are_planned(
    name: str, buckets: Buckets, topics: Topics, ingest: Post, clip: Any
) -> None:
    ref = buckets.put(buckets.intake, f"channels/street/videos/{name}", clip)
    assert ingest(upload_push(ref)) == 200
    manifest = manifest_of(buckets, ref)
    assert manifest.result == f"channels/street/{name}"
    assert len(manifest.report.encode()) <= 1024
    assert {task.job for task in tasks(topics)} == {manifest.job}


@pytest.mark.parametrize("name", BAD_NAMES.values(), ids=BAD_NAMES)
def test_harmful_video_names_fail_the_job(name: str, buckets: Buckets, topics: Topics, ingest: Post) -> None:
    ref = buckets.put(buckets.intake, f"channels/street/videos/{name}", b"not looked at")
    assert ingest(upload_push(ref)) == 200
    assert_failed(
        buckets, topics, ref, "bad-name", f"{object_names.owner_name(ref.name)} can't", "under another name"
    )


@pytest.mark.parametrize("channel", ["..", ".", "a\tb"])
def test_harmful_channel_names_are_ignored(
    channel: str, buckets: Buckets, topics: Topics, ingest: Post
) -> None:
    ref = buckets.put(buckets.intake, f"channels/{channel}/videos/a.mp4", b"not looked at")
    assert ingest(upload_push(ref)) == 200
    assert_failed(buckets, topics, ref, "bad-name", "under another name")


def test_policy_with_byte_order_mark_is_read(
    buckets: Buckets, topics: Topics, ingest: Post, clip: Any
) -> None:
    buckets.put(buckets.intake, POLICY, '{"mode": "solid"}'.encode("utf-8-sig"))
    ref = buckets.put(buckets.intake, VIDEO, clip)
    assert ingest(upload_push(ref)) == 200
    assert manifest_of(buckets, ref).policy.mode == "solid"


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        *(
            ("{}".encode(encoding), "it is encoded in UTF-16 or UTF-32, UTF-8 is expected. Save it as UTF-8")
            for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32")
        ),
        (b"\xef\xbb\xbf", "invalid JSON"),
        (b"[" * 60_000, "invalid JSON: recursion limit"),
        (b'{"mode":' * 6_000 + b"1" + b"}" * 6_000, "invalid JSON: recursion limit"),
        (b'{"match_threshold": NaN}', '"match_threshold" is nan'),
        (b'{"strength": Infinity}', '"strength" is inf'),
        (b'{"strength": 1e999}', '"strength" is inf'),
        (b'{"quality": ' + b"9" * 60_000 + b"}", ""),
        (b'{"quality": 18.5}', '"quality" is 18.5'),
        (b'{"mode": "\\ud800"}', "invalid JSON"),
        (b'{"mode": "\\u0000"}', "\"mode\" is '\\x00'"),
        (b'{"mode": "' + b"x" * 60_000 + b'"}', '"mode" is \'xxx'),
        (json.dumps({f"field{number}": 1 for number in range(3_000)}).encode(), "and 2995 more"),
        (b" " * 10_000_000, "has 10000000 bytes, at most 65536 are allowed"),
    ],
    ids=lambda value: repr(value[:20]) if isinstance(value, bytes) else "",
)
def test_hostile_policy_fails_with_a_short_message(
    policy: bytes, said: str, buckets: Buckets, topics: Topics, ingest: Post, clip: Any
) -> None:
    buckets.put(buckets.intake, POLICY, policy)
    ref = buckets.put(buckets.intake, VIDEO, clip)
    assert ingest(upload_push(ref)) == 200
    assert_failed(buckets, topics, ref, "bad-policy", "policy.json", said)
    failed = failure_of(buckets, job_of(ref))
    assert len(failed.message) < 1_500


@pytest.mark.parametrize("attribute", ["bucketId", "objectId", "objectGeneration", "eventType"])
@pytest.mark.parametrize(
    "value", ["", "\0", "-1", "9" * 5_000, "١٢", "1_0", " 1", "../..", "\ud800", "x" * 5_000]
)
def test_notifications_with_odd_attributes_are_ignored(
    attribute: str, value: str, buckets: Buckets, topics: Topics, ingest: Post
) -> None:
    push = upload_push(ObjectRef(bucket=buckets.intake, name="channels/street/readme.txt", generation=7))
    push["message"]["attributes"][attribute] = value
    assert ingest(push) == 200
    assert_nothing_happened(buckets, topics)


@pytest.mark.parametrize("function", KINDS)
@pytest.mark.parametrize("bucket", ["intake", "output", "somebody-else-s-bucket", ""])
def test_message_with_foreign_bucket_is_dropped(
    bucket: str, function: str, buckets: Buckets, topics: Topics, planned: Planned, app: App, capsys: Output
) -> None:
    """Even if a manifest of this job is stored there, a sender of messages does not decide what a job reads."""
    where = getattr(buckets, bucket, bucket)
    if where in (buckets.intake, buckets.output):
        copy = buckets.put(where, planned.ref.name, planned.manifest.model_dump_json().encode())
        body = planned.segment_task(0).model_copy(update={"manifest": copy}).model_dump()
    else:
        body = planned.segment_task(0).model_dump() | {
            "manifest": planned.ref.model_dump() | {"bucket": where}
        }
    assert post(app, function, body) == 200
    assert read_last_line(capsys)["code"] == "malformed-message"
    assert buckets.names(buckets.work) == [planned.ref.name]
    assert topics.all(topics.segments_done) == topics.events() == []


@pytest.mark.parametrize("function", KINDS)
def test_message_with_foreign_manifest_is_dropped(
    function: str, buckets: Buckets, topics: Topics, planned: Planned, app: App, capsys: Output
) -> None:
    other = planned.segment_task(0).model_dump() | {"job": "0" * 20}
    assert post(app, function, other) == 200
    assert read_last_line(capsys)["code"] == "malformed-message"
    assert buckets.names(buckets.work) == [planned.ref.name]


@pytest.mark.parametrize("function", ["worker", "merge"])
@pytest.mark.parametrize(
    "change",
    [
        lambda faces, buckets: {"bucket": buckets.intake},
        lambda faces, buckets: {"bucket": "somebody-else-s-bucket"},
        lambda faces, buckets: {"name": faces["name"].replace("faces", "manifest")},
    ],
)
def test_message_with_foreign_faces_is_dropped(
    change: Any, function: str, buckets: Buckets, topics: Topics, linked: Planned, app: App, capsys: Output
) -> None:
    if function == "merge":
        do_all_segments(buckets, linked)
    before = buckets.names(buckets.work)
    body = linked.segment_task(0).model_dump()
    body["faces"] |= change(body["faces"], buckets)
    assert post(app, function, body) == 200
    assert read_last_line(capsys)["code"] == "malformed-message"
    assert [name for name in buckets.names(buckets.work) if not object_names.is_lease(name)] == before
    assert buckets.names(buckets.output) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest, buckets: {"source": manifest.source.model_copy(update={"bucket": buckets.output})},
        lambda manifest, buckets: {
            "source": manifest.source.model_copy(update={"name": "channels/a/videos/b"})
        },
        lambda manifest, buckets: {"result": "channels/other/stolen.mp4"},
        lambda manifest, buckets: {"report": "channels/other/stolen.report.jsonl"},
        lambda manifest, buckets: {"channel": "other"},
        lambda manifest, buckets: {"gallery": manifest.source},
        lambda manifest, buckets: {"replacement": manifest.source},
        lambda manifest, buckets: {
            "replacement": ObjectRef(bucket="other", name="channels/street/replacement.png", generation=1)
        },
    ],
)
@pytest.mark.parametrize("function", ["worker", "merge"])
def test_manifest_with_foreign_objects_fails_the_job(
    change: Any, function: str, buckets: Buckets, topics: Topics, planned: Planned, app: App
) -> None:
    forged = planned.manifest.model_copy(update=change(planned.manifest, buckets))
    Manifest.model_validate(forged.model_dump())
    ref = buckets.put(buckets.work, planned.ref.name, forged.model_dump_json().encode())
    for index in range(len(forged.segments)):  # merge reads the manifest of a step that is complete
        buckets.put(buckets.work, object_names.segment_detections(planned.job, index), b"detections")
    assert (
        post(app, function, planned.segment_task(0).model_copy(update={"manifest": ref}).model_dump()) == 200
    )
    failed = failure_of(buckets, planned.job)
    assert failed.code == "bad-object"
    assert "it is about another job" in failed.message
    assert topics.all(topics.segments_done) == []


@pytest.mark.parametrize("bucket", ["intake", "work"])
def test_segment_report_with_foreign_video_fails_the_job(
    bucket: str, buckets: Buckets, topics: Topics, linked: Planned, merge: Post
) -> None:
    do_all_segments(buckets, linked)
    foreign = buckets.put(getattr(buckets, bucket), "mine.nut", b"a video of somebody else")
    change_report(buckets, linked, 0, video=foreign)
    assert merge(linked.done(0)) == 200
    failed = failure_of(buckets, linked.job)
    assert (failed.code, "the report of a segment is not its own" in failed.message) == (
        "check-failed",
        True,
    )
    assert buckets.names(buckets.output) == []


@pytest.mark.parametrize("function", KINDS)
@pytest.mark.parametrize(
    "body",
    [
        b"[" * DEEP,
        b'{"version":' * DEEP + b"3" + b"}" * DEEP,
        b'{"version": ' + b"9" * 5_000 + b"}",
        b'{"version": 1e999}',
        b'{"version": NaN, "job": NaN}',
        b'{"version": "3"}',
        b'{"version": null}',
        b'{"version": [3]}',
        b'{"version": -1}',
        b"\xff\xfe\x00",
        b"null",
        b"\x00" * 1_000_000,
    ],
    ids=lambda body: repr(body[:16]),
)
def test_message_without_valid_document_is_dropped(
    body: bytes, function: str, buckets: Buckets, topics: Topics, app: App, capsys: Output
) -> None:
    assert post(app, function, body) == 200
    line = read_last_line(capsys)
    assert (line["code"], line["function"]) == ("malformed-message", function)
    assert_nothing_happened(buckets, topics)


@pytest.mark.parametrize("function", KINDS)
@pytest.mark.parametrize("missing", ["job", "index", "step", "manifest"])
def test_message_without_a_field_is_dropped(
    missing: str, function: str, buckets: Buckets, topics: Topics, planned: Planned, app: App, capsys: Output
) -> None:
    body = {key: value for key, value in planned.segment_task(0).model_dump().items() if key != missing}
    assert post(app, function, body) == 200
    assert read_last_line(capsys)["code"] == "malformed-message"
    assert buckets.names(buckets.work) == [planned.ref.name]


@pytest.mark.parametrize("function", KINDS)
@pytest.mark.parametrize(
    ("field", "value"), [("generation", -1), ("generation", 2**63), ("generation", 1.5), ("name", "")]
)
def test_message_with_impossible_reference_is_dropped(
    field: str,
    value: object,
    function: str,
    buckets: Buckets,
    topics: Topics,
    planned: Planned,
    app: App,
    capsys: Output,
) -> None:
    body = planned.segment_task(0).model_dump()
    body["manifest"][field] = value
    assert post(app, function, body) == 200
    assert read_last_line(capsys)["code"] == "malformed-message"
    assert buckets.names(buckets.work) == [planned.ref.name]


@pytest.mark.parametrize("function", KINDS)
@pytest.mark.parametrize("version", [5, 999, 2**40])
def test_message_of_newer_version_is_redelivered(
    version: int, function: str, buckets: Buckets, topics: Topics, planned: Planned, app: App
) -> None:
    assert post(app, function, planned.segment_task(0).model_dump() | {"version": version}) == 503
    assert buckets.names(buckets.work) == [planned.ref.name]


@pytest.mark.parametrize("data", [b"", b"{", b"[" * DEEP, b"\xff"])
def test_invalid_manifest_fails_the_job(
    data: bytes, buckets: Buckets, topics: Topics, planned: Planned, worker: Post
) -> None:
    ref = buckets.put(buckets.work, planned.ref.name, data)
    task = planned.segment_task(0).model_copy(update={"manifest": ref})
    assert worker(push_body(task.model_dump_json().encode(), {"type": "segment-task"})) == 200
    failed = failure_of(buckets, planned.job)
    assert (failed.code, failed.source) == ("bad-object", None)


@pytest.mark.parametrize(
    "data", [b"", b"[" * DEEP, b'{"frames": NaN,"shots":[]}', b'{"frames": "' + b"9" * 5_000 + b'"}']
)
@pytest.mark.parametrize("function", ["worker", "merge"])
def test_invalid_faces_fail_the_job(
    data: bytes, function: str, buckets: Buckets, topics: Topics, planned: Planned, app: App
) -> None:
    linked = link_job(buckets, planned)
    do_all_segments(buckets, linked)
    ref = buckets.put(buckets.work, object_names.faces(planned.job), data)
    if function == "worker":
        buckets.client.bucket(buckets.work).blob(object_names.segment_report(planned.job, 0)).delete()
    assert post(app, function, linked.segment_task(0).model_copy(update={"faces": ref}).model_dump()) == 200
    failed = failure_of(buckets, planned.job)
    assert failed.code == "bad-object"
    assert buckets.names(buckets.output) == []


def test_function_works_after_hostile_messages(
    buckets: Buckets, topics: Topics, ingest: Post, clip: Any, environment: Environment
) -> None:
    for body in (b"[" * DEEP, b"", b"\xff" * 1_000_000):
        assert ingest(push_body(body, {"eventType": "OBJECT_FINALIZE"})) == 200
    ref = buckets.put(buckets.intake, VIDEO, clip)
    assert ingest(upload_push(ref)) == 200
    assert manifest_of(buckets, ref).source == ref
