"""Faults of re-renders: missing sources and reports, invalid requests, crashes."""

import json
from collections.abc import Collection
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from defacer.commands.app import main as privacy
from defacer.ingest import plan_rerender as planning
from defacer.ingest.engine_adapter import IngestEngine
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.job_records import Failed
from defacer.pipeline.documents.manifest import RerenderRequest
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import PermanentError, RetryableError
from defacer.pipeline.lifecycle import (
    failure,
    finalize,
    lease,
    ownership,
    publishing,
    rerender_request,
    verdict,
)
from defacer.pipeline.lifecycle.ownership import JobIdentity
from defacer.pipeline.media_engine import EditedFaces
from defacer.pipeline.storage import object_names, objects
from defacer.pipeline.storage.object_names import job_of
from defacer.report.compact_boxes import CompactBoxes
from defacer.report.edits import AddedTrack, Edits
from tests.cloud import Buckets, Environment, Post, Topics, upload_push
from tests.functions.merging import REPORT, RESULT, expire_lease
from tests.functions.rendering import EILEEN, Cloud
from tests.functions.test_dead_letter import dead_letter_of
from tests.inbox import document
from tests.media_engines import with_operations
from tests.planned import VIDEO, Planned
from tests.proxy import Proxy
from tests.sentences import require_plain


@pytest.fixture
def cloud(buckets: Buckets, topics: Topics, ingest: Post, worker: Post, merge: Post) -> Cloud:
    return Cloud(buckets, topics, ingest, worker, merge)


@pytest.fixture
def first(cloud: Cloud, clip: Path) -> Planned:
    """A published video with Eileen kept and two other people hidden."""
    return cloud.publish_first(clip)


def assert_failed(cloud: Cloud, request: ObjectRef, stage: str, code: str, *said: str) -> None:
    """Assert that the job failed with this message, left nothing, and changed no published object."""
    job = job_of(request)
    failed = cloud.failed(job)
    assert (failed.stage, failed.code) == (stage, code)
    for part in said:
        assert part in failed.message
    assert "Eileen" not in failed.message
    require_plain(failed.message)
    left = {name.rpartition("/")[2] for name in cloud.buckets.names(cloud.buckets.work, f"jobs/{job}/")}
    assert left <= {"failed.json", "manifest.json", "verdict.json"}
    assert cloud.hidden() == [False, True, True]
    ended = [event for event in cloud.topics.events() if event["subject"] == job]
    assert ended[-1]["type"] == "job.failed"
    assert ended[-1]["data"]["channel"] == "street"
    assert cloud.report().rerender is None


@pytest.mark.parametrize(
    ("gone", "when"),
    [
        ("deleted", "before planning"),
        pytest.param("replaced", "before planning", marks=pytest.mark.slow),
        ("replaced", "before hiding"),
        pytest.param("deleted", "before joining", marks=pytest.mark.slow),
    ],
)
def test_deleted_source_fails_the_rerender(gone: str, when: str, cloud: Cloud, first: Planned) -> None:
    request = cloud.write_request(first.job, {0: "hide"})
    if when != "before planning":
        assert cloud.ingest(upload_push(request)) == 200
    if when == "before joining":
        cloud.deliver(cloud.topics.segments, cloud.worker)
    cloud.buckets.client.bucket(cloud.buckets.intake).blob(VIDEO).delete()
    if gone == "replaced":
        cloud.buckets.put(cloud.buckets.intake, VIDEO, b"another video")
    cloud.run(request)
    stage = {"before planning": "ingest", "before hiding": "worker", "before joining": "merge"}[when]
    assert_failed(
        cloud, request, stage, "source-gone", "walk.mp4 ", "deleted or replaced", "Upload the video"
    )
    with pytest.raises(PermanentError, match="was deleted or replaced") as raised:
        rerender_request.request_rerender(first.job, Edits(decisions={0: "hide"}))
    assert raised.value.code == "source-gone"


def test_source_that_differs_from_the_report_fails_the_rerender(cloud: Cloud, first: Planned) -> None:
    cloud.rewrite_report(cloud.report().model_copy(update={"fingerprint": "0" * 64}))
    request = cloud.write_request(first.job, {0: "hide"})
    cloud.run(request)
    assert_failed(cloud, request, "merge", "check-failed", "it is not the video of the report")


def test_report_of_another_video_fails_the_rerender(cloud: Cloud, first: Planned) -> None:
    other = first.manifest.source.model_copy(update={"generation": 1})
    cloud.rewrite_report(cloud.report().model_copy(update={"source": other}))
    request = cloud.write_request(first.job, {0: "hide"})
    cloud.run(request)
    assert_failed(cloud, request, "ingest", "bad-object", "is not the report that was published there")


def test_unknown_track_fails_the_rerender(cloud: Cloud, first: Planned) -> None:
    request = cloud.write_request(first.job, {1: "keep", 7: "hide"})
    cloud.run(request)
    assert_failed(cloud, request, "ingest", "bad-decisions", "has no track 7; it has 3 tracks", "walk.mp4 ")


def test_person_without_target_picture_is_not_kept(cloud: Cloud, first: Planned) -> None:
    cloud.buckets.client.bucket(cloud.buckets.intake).blob(EILEEN).delete()
    request = cloud.write_request(first.job, {1: "keep"})
    cloud.run(request)
    assert_failed(cloud, request, "ingest", "target-gone", "(tracks 0)", "Hide these tracks too")
    cloud.run(cloud.write_request(first.job, {0: "hide", 1: "keep"}))
    assert cloud.hidden() == [True, False, True]
    assert [track.person for track in cloud.report().tracks] == [None] * 3


def test_person_forgotten_while_rerender_is_planned_is_hidden(cloud: Cloud, first: Planned) -> None:
    """The planning has read the pictures, and `forget` can't find a job without a manifest."""
    request = cloud.write_request(first.job, {1: "keep"})

    def slow(faces: bytes, edits: Edits, known: Collection[str]) -> EditedFaces:
        assert privacy(["person", "forget", "Eileen", "--channel", "street", "--yes", "--rerender"]) == 0
        return IngestEngine().edit_faces(faces, edits, known)

    planning.plan_rerender_job(request, with_operations(IngestEngine(), edit_faces=slow))
    assert cloud.failed(job_of(request)).code == "target-gone"
    assert object_names.manifest(job_of(request)) not in cloud.buckets.names(cloud.buckets.work)
    assert cloud.steps() == set()
    assert cloud.hidden() == [True, True, True]


def test_person_forgotten_during_rerender_is_hidden(cloud: Cloud, first: Planned) -> None:
    request = cloud.write_request(first.job, {1: "keep"})
    cloud.run_until_last_merge(request)
    assert privacy(["person", "forget", "Eileen", "--channel", "street", "--yes", "--rerender"]) == 0
    cloud.deliver(cloud.topics.segments_done, cloud.merge)
    assert cloud.failed(job_of(request)).code == "person-forgotten"
    assert cloud.hidden() == [True, True, True]


def test_first_manifest_of_two_plannings_counts(cloud: Cloud, first: Planned) -> None:
    """Another re-render was published between them, so the slower planning read another report."""
    between = cloud.write_request(first.job, {0: "hide"})
    cloud.run_until_last_merge(between)
    request = cloud.write_request(first.job, {1: "keep"})
    means = IngestEngine()

    def overtaken(faces: bytes, edits: Edits, known: Collection[str]) -> EditedFaces:
        cloud.deliver(cloud.topics.segments_done, cloud.merge)
        planning.plan_rerender_job(request, means)
        return IngestEngine().edit_faces(faces, edits, known)

    planning.plan_rerender_job(request, with_operations(IngestEngine(), edit_faces=overtaken))
    cloud.deliver(cloud.topics.segments, cloud.worker)
    cloud.deliver(cloud.topics.segments_done, cloud.merge)
    assert cloud.report().job == job_of(request)
    assert cloud.hidden() == [True, False, True]
    manifest = cloud.manifest(job_of(request))
    assert manifest.rerender is not None
    assert manifest.rerender.of == job_of(between)


def test_slower_planning_uses_the_report_of_the_manifest(cloud: Cloud, first: Planned) -> None:
    """The faster planning began after Eileen was forgotten, and died before it wrote the faces."""
    request = cloud.write_request(first.job, {1: "keep"})

    def overtaken(faces: bytes, edits: Edits, known: Collection[str]) -> EditedFaces:
        if "Eileen" in known:
            assert privacy(["person", "forget", "Eileen", "--channel", "street", "--yes", "--rerender"]) == 0
            planning.plan_rerender_job(request, IngestEngine())
            work = cloud.buckets.client.bucket(cloud.buckets.work)
            work.blob(object_names.faces(job_of(request))).delete()
            cloud.new_messages(cloud.topics.segments)  # it died before it published its tasks
        return IngestEngine().edit_faces(faces, edits, known)

    planning.plan_rerender_job(request, with_operations(IngestEngine(), edit_faces=overtaken))
    cloud.deliver(cloud.topics.segments, cloud.worker)
    cloud.deliver(cloud.topics.segments_done, cloud.merge)
    assert cloud.hidden() == [True, False, True]
    assert cloud.manifest(job_of(request)).targets == ()


def test_request_cannot_keep_a_forgotten_person(cloud: Cloud, first: Planned) -> None:
    request = cloud.write_request(first.job, {0: "keep"})
    assert privacy(["person", "forget", "Eileen", "--channel", "street", "--yes", "--rerender"]) == 0
    cloud.run(request)
    failed = cloud.failed(job_of(request))
    assert (failed.stage, failed.code) == ("ingest", "target-gone")
    assert cloud.hidden() == [True, True, True]


def put(cloud: Cloud, data: bytes, name: str) -> ObjectRef:
    return cloud.buckets.put(cloud.buckets.intake, name, data)


def test_invalid_request_fails_its_job(cloud: Cloud, first: Planned) -> None:
    no_source = b'{"version": 2, "edits": {"decisions": {"1": "keep"}}}'
    for data in (b"", b"{}", b"\xff", no_source, b" " * (rerender_request.MAX_BYTES + 1)):
        request = put(cloud, data, object_names.rerender_request(first.manifest.source))
        cloud.run(request)
        assert_failed(cloud, request, "ingest", "bad-request", "The re-render request")


def test_request_for_another_upload_than_its_name_is_refused(cloud: Cloud, first: Planned) -> None:
    """The right to write into one channel's folder must not allow access to another channel's video."""
    source = first.manifest.source
    name = object_names.rerender_request(source)
    in_output = source.model_copy(update={"bucket": cloud.buckets.output})
    for named, given in {
        object_names.RerenderName("street", "ab" * 10).object_name: source,
        name.replace("street", "elsewhere"): source,
        object_names.rerender_request(in_output): in_output,
        name: source.model_copy(update={"name": "channels/street/walk.report.jsonl"}),
    }.items():
        document = (
            RerenderRequest(source=given, edits=Edits(decisions={1: "keep"})).model_dump_json().encode()
        )
        request = put(cloud, document, named)
        cloud.run(request)
        assert cloud.failed(job_of(request)).code == "bad-request"
        assert cloud.hidden() == [False, True, True]


def test_request_in_another_bucket_is_ignored(cloud: Cloud, first: Planned) -> None:
    name = object_names.rerender_request(first.manifest.source)
    request = (
        RerenderRequest(source=first.manifest.source, edits=Edits(decisions={1: "keep"}))
        .model_dump_json()
        .encode()
    )
    before = cloud.buckets.names(cloud.buckets.work)
    assert cloud.ingest(upload_push(cloud.buckets.put(cloud.buckets.output, name, request))) == 200
    assert cloud.buckets.names(cloud.buckets.work) == before


def test_planning_continues_after_a_crash_at_any_request(
    cloud: Cloud,
    first: Planned,
    proxy: Proxy,
) -> None:
    """Each delivery crashes one request later than the one before, and the last one succeeds."""
    request = cloud.write_request(first.job, {0: "hide"})
    push = upload_push(request)
    left = 0

    def fails(method: str, target: str) -> bool:
        nonlocal left
        left -= 1
        return left < 0

    with proxy.failing(fails):
        for allowed in range(100):
            left = allowed
            if cloud.ingest(push) == 200:
                break
    assert 8 < allowed < 40
    cloud.deliver(cloud.topics.segments, cloud.worker)
    cloud.deliver(cloud.topics.segments_done, cloud.merge)
    assert cloud.report().job == job_of(request)
    assert cloud.hidden() == [True, True, True]


def test_planning_without_its_report_fails_the_rerender(cloud: Cloud, first: Planned) -> None:
    """Its manifest names a version of the report that was replaced before its faces were written."""
    request = cloud.write_request(first.job, {0: "hide"})
    assert cloud.ingest(upload_push(request)) == 200
    work = cloud.buckets.client.bucket(cloud.buckets.work)
    work.blob(object_names.faces(job_of(request))).delete()
    cloud.rewrite_report(cloud.report())
    assert cloud.ingest(upload_push(request)) == 200
    assert_failed(cloud, request, "ingest", "report-gone", "Ask for it again")


def test_rerender_that_fails_while_planned_leaves_nothing(cloud: Cloud, first: Planned) -> None:
    request = cloud.write_request(first.job, {0: "hide"})

    def slow(faces: bytes, edits: Edits, known: Collection[str]) -> EditedFaces:
        failure.fail_job(job_of(request), "ingest", PermanentError("exhausted", "it took too long"), request)
        return IngestEngine().edit_faces(faces, edits, known)

    planning.plan_rerender_job(request, with_operations(IngestEngine(), edit_faces=slow))
    assert cloud.steps() == set()
    assert_failed(cloud, request, "ingest", "exhausted")


def test_dead_letter_of_a_request_fails_its_job(cloud: Cloud, first: Planned, dead_letter: Post) -> None:
    request = cloud.write_request(first.job, {0: "hide"})
    assert dead_letter(dead_letter_of(upload_push(request), waited="1")) == 200
    assert_failed(cloud, request, "ingest", "exhausted")
    assert cloud.ingest(upload_push(request)) == 200
    assert cloud.steps() == set()


def test_dead_letter_of_a_request_is_requeued_once(cloud: Cloud, first: Planned, dead_letter: Post) -> None:
    request = cloud.write_request(first.job, {0: "hide"})
    assert dead_letter(dead_letter_of(upload_push(request), waited="0")) == 200
    (anew,) = cloud.topics.all(cloud.topics.uploads)
    assert anew["message"]["attributes"]["requeues"] == "1"
    assert cloud.ingest(anew) == 200
    cloud.deliver(cloud.topics.segments, cloud.worker)
    cloud.deliver(cloud.topics.segments_done, cloud.merge)
    assert cloud.report().job == job_of(request)


@pytest.mark.parametrize("out", [False, True])
def test_rerender_with_verdict_ends_without_manifest(
    out: bool, cloud: Cloud, first: Planned, dead_letter: Post
) -> None:
    """Its job is not the job of the upload, so the verdict names the request too."""
    request = cloud.write_request(first.job, {1: "keep"})
    cloud.run_until_last_merge(request)
    job = job_of(request)
    *_, last = cloud.new_messages(cloud.topics.segments_done)

    def die(names: JobIdentity, progress: objects.TransferCallback) -> None:
        if out:
            said = verdict.find_verdict(job)
            assert said is not None
            assert said[0].result is not None
            publishing.publish_object(names, RESULT, said[0].result, progress)
        raise RetryableError("it dies")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finalize, "apply_verdict", die)
        assert cloud.merge(last) == 503
    expire_lease(cloud.buckets, object_names.merge_lease(job))
    cloud.buckets.client.bucket(cloud.buckets.work).blob(object_names.manifest(job)).delete()
    assert dead_letter(dead_letter_of(last)) == 200
    if out:
        assert cloud.report().job == job
        assert cloud.hidden() == [False, False, True]
        assert cloud.buckets.blob(cloud.buckets.output, REPORT).metadata[object_names.OF_RERENDER] == str(
            request.generation
        )
        assert not cloud.published(job).superseded
    else:
        assert_failed(cloud, request, "merge", "exhausted")


def test_rerender_can_have_other_segments_than_detection(
    cloud: Cloud, first: Planned, environment: Environment
) -> None:
    """The settings have changed since, so the frames of the faces belong to other segments."""
    environment(segment_seconds=100)
    request = cloud.write_request(first.job, {0: "hide"})
    cloud.run(request)
    assert len(cloud.manifest(job_of(request)).segments) == 1 < len(first.manifest.segments)
    assert cloud.report().job == job_of(request)
    assert len(cloud.report().faces.segments) == len(first.manifest.segments)
    assert cloud.hidden() == [True, True, True]


def test_frames_without_detection_fail_the_rerender(cloud: Cloud, first: Planned) -> None:
    report = cloud.report()
    fewer = replace(report.faces, frames=report.faces.frames - 1)
    cloud.rewrite_report(report.model_copy(update={"faces": fewer}))
    request = cloud.write_request(first.job, {0: "hide"})
    cloud.run(request)
    assert_failed(cloud, request, "merge", "check-failed", "faces were detected in")


@pytest.mark.parametrize("lines", [pytest.param(0, marks=pytest.mark.slow), 1, 3])
def test_truncated_report_is_not_rerendered(lines: int, cloud: Cloud, first: Planned) -> None:
    report = cloud.buckets.get(cloud.buckets.output, REPORT)
    cloud.rewrite_report_bytes(b"".join(report.splitlines(keepends=True)[:lines]))
    request = cloud.write_request(first.job, {0: "hide"})
    failed = cloud.failed(cloud.run(request))
    assert (failed.stage, failed.code) == ("ingest", "bad-object")
    assert failed.message == "walk.report.jsonl can't be read. Upload the video again."
    assert cloud.hidden() == [False, True, True]


def test_report_with_unknown_recognizer_is_refused(cloud: Cloud, first: Planned) -> None:
    report = cloud.buckets.get(cloud.buckets.output, REPORT)
    assert report.count(b'"recognizer":null') == 1
    cloud.rewrite_report_bytes(report.replace(b'"recognizer":null', b'"recognizer":"casia-webface/1/1"'))
    request = cloud.write_request(first.job, {0: "hide"})
    cloud.run(request)
    sentence = "can't be re-rendered: the recognizer is 'casia-webface', allowed are sface"
    assert_failed(cloud, request, "ingest", "bad-decisions", sentence)


@pytest.mark.parametrize(
    ("part", "changes"), [("request", {"generation": 1}), ("report", {"bucket": "other"})]
)
def test_manifest_with_foreign_references_is_refused(
    part: str, changes: dict[str, object], cloud: Cloud, first: Planned
) -> None:
    request = cloud.write_request(first.job, {0: "hide"})
    assert cloud.ingest(upload_push(request)) == 200
    name = object_names.manifest(job_of(request))
    document = json.loads(cloud.buckets.get(cloud.buckets.work, name))
    document["rerender"][part] |= changes
    ref = cloud.buckets.put(cloud.buckets.work, name, json.dumps(document).encode())
    with pytest.raises(PermanentError, match="it is about another job"):
        ownership.load_verified_manifest(job_of(request), 0, ref)


def test_exhausted_rerender_message_names_the_video(cloud: Cloud, first: Planned, dead_letter: Post) -> None:
    request = cloud.write_request(first.job, {0: "hide"})
    assert dead_letter(dead_letter_of(upload_push(request))) == 200
    said = ("walk.mp4 was not published", "Ask for it again")
    assert_failed(cloud, request, "ingest", "exhausted", *said)
    assert cloud.failed(job_of(request)).source == first.manifest.source


def test_rerender_that_fails_before_planning_names_the_video(cloud: Cloud, first: Planned) -> None:
    request = cloud.write_request(first.job, {99: "hide"})
    cloud.run(request)
    assert cloud.failed(job_of(request)).source == first.manifest.source


@pytest.mark.parametrize("kept", [True, False], ids=["younger", "older than any mark"])
def test_only_hide_decisions_of_an_unfinished_request_are_merged(
    kept: bool, cloud: Cloud, first: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.write_request(first.job, {0: "hide", 1: "keep"})
    if not kept:
        later = lease.utc_now() + rerender_request.PENDING + timedelta(days=1)
        monkeypatch.setattr(rerender_request, "utc_now", lambda: later)
    cloud.run(cloud.write_request(first.job, {2: "keep"}))
    assert cloud.hidden() == [True, not kept, False]


def test_added_tracks_of_two_reports_are_not_mixed(cloud: Cloud, first: Planned) -> None:
    """The report has one track more than at the first request, whose job is not over yet."""
    mask = AddedTrack(CompactBoxes([(0, (1.0, 2.0, 30.0, 40.0))]))
    cloud.write_request(first.job, Edits(added=(mask,)))
    report = cloud.report()
    more = replace(report.tracks[-1], id=len(report.tracks))
    cloud.rewrite_report(report.model_copy(update={"tracks": (*report.tracks, more)}))
    with pytest.raises(RetryableError, match="replaced in this moment"):
        rerender_request.request_rerender(first.job, Edits(added=(mask,)))


def test_erase_finds_rerender_with_replaced_request(cloud: Cloud, first: Planned) -> None:
    """A function that read the mark can have cleaned up before the command continues."""
    replaced = job_of(cloud.write_request(first.job, {0: "hide"}))
    assert cloud.ingest(upload_push(cloud.write_request(first.job, {1: "keep"}))) == 200
    (later,) = {str(document(push)["job"]) for push in cloud.topics.all(cloud.topics.segments)} - {first.job}
    # The manifest of the replaced request, as if it had been planned before.
    manifest = cloud.buckets.get(cloud.buckets.work, object_names.manifest(later)).replace(
        later.encode(), replaced.encode()
    )
    cloud.buckets.put(cloud.buckets.work, object_names.manifest(replaced), manifest)
    cloud.buckets.client.bucket(cloud.buckets.work).delete_blob(object_names.manifest(first.job))
    assert privacy(["job", "erase", first.job, "--yes"]) == 0
    left = cloud.buckets.names(cloud.buckets.work)
    assert left == sorted(object_names.failed(job) for job in (first.job, replaced, later))
    assert cloud.buckets.names(cloud.buckets.intake) == [EILEEN]


def test_rerender_that_is_planned_during_an_erasure_is_erased(cloud: Cloud, first: Planned) -> None:
    """The command can't find it: its request was replaced, and it has no manifest yet."""
    request = cloud.write_request(first.job, {0: "hide"})
    header = IngestEngine().probe(first.manifest.source, first.manifest.policy)

    def slow(faces: bytes, edits: Edits, known: Collection[str]) -> EditedFaces:
        cloud.write_request(first.job, {1: "keep"})
        assert privacy(["job", "erase", first.job, "--yes"]) == 0
        return IngestEngine().edit_faces(faces, edits, known)

    engine = with_operations(IngestEngine(), edit_faces=slow, probe=lambda *_: header)
    planning.plan_rerender_job(request, engine)
    assert [name for name in cloud.buckets.names(cloud.buckets.work) if job_of(request) in name] == [
        object_names.failed(job_of(request))
    ]
    assert cloud.failed(job_of(request)).source is None


@pytest.mark.parametrize("how", ["replaced", "deleted"])
def test_rerender_with_deleted_request_names_the_video(
    how: str, cloud: Cloud, first: Planned, dead_letter: Post
) -> None:
    request = cloud.write_request(first.job, {0: "hide"})
    if how == "replaced":
        cloud.write_request(first.job, {1: "keep"})
    else:
        cloud.buckets.client.bucket(request.bucket).blob(request.name).delete()
    assert dead_letter(dead_letter_of(upload_push(request))) == 200
    said = ("walk.mp4 was not published", "Ask for it again")
    assert_failed(cloud, request, "ingest", "exhausted", *said)
    assert cloud.failed(job_of(request)).source == first.manifest.source


def test_request_in_another_channel_announces_to_that_channel_only(
    cloud: Cloud, first: Planned, dead_letter: Post
) -> None:
    name = object_names.rerender_request(first.manifest.source).replace("street", "elsewhere")
    request = put(cloud, b"{}", name)
    assert dead_letter(dead_letter_of(upload_push(request))) == 200
    failed = cloud.failed(job_of(request))
    assert failed.source == request
    assert "walk.mp4" not in failed.message
    assert "Ask for it again" in failed.message


def test_erase_of_foreign_request_keeps_the_other_channel(cloud: Cloud, first: Planned) -> None:
    request = put(
        cloud, b"{}", object_names.rerender_request(first.manifest.source).replace("street", "elsewhere")
    )
    cloud.run(request)
    assert privacy(["job", "erase", job_of(request), "--yes"]) == 0
    assert cloud.buckets.names(cloud.buckets.intake) == [EILEEN, VIDEO]
    assert cloud.hidden() == [False, True, True]
    assert object_names.manifest(first.job) in cloud.buckets.names(cloud.buckets.work)


def test_erase_finds_rerender_with_deleted_request(cloud: Cloud, first: Planned) -> None:
    """Its result is published, and its metadata names the request, not the upload."""
    request = cloud.write_request(first.job, {1: "keep"})
    second = cloud.run(request)
    assert cloud.report().job == second
    cloud.buckets.client.bucket(request.bucket).delete_blob(request.name)
    assert privacy(["job", "erase", first.job, "--yes"]) == 0
    assert cloud.buckets.names(cloud.buckets.output) == []
    assert cloud.buckets.names(cloud.buckets.work) == sorted(map(object_names.failed, (first.job, second)))


def test_query_for_pending_decisions_writes_nothing(cloud: Cloud, first: Planned) -> None:
    """The console asks when it shows a page, and is allowed neither to publish events nor to delete objects."""
    job = job_of(cloud.write_request(first.job, {0: "hide"}))
    failed = Failed(
        job=job,
        source=first.manifest.source,
        stage="ingest",
        code=ErrorCode.POISON_SEGMENT,
        message="Not announced yet.",
    )
    cloud.buckets.put(cloud.buckets.work, object_names.failed(job), failed.model_dump_json().encode())
    before = len(cloud.topics.events())
    assert rerender_request.pending(first.manifest.source) == Edits()
    assert len(cloud.topics.events()) == before
    assert cloud.buckets.blob(cloud.buckets.work, object_names.failed(job)).metadata is None
