"""Uploads of a channel take turns, and their minutes of video are limited for each day."""

from pathlib import Path

import pytest

from defacer.commands.jobs.job_reader import list_jobs
from defacer.pipeline import admission
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import PermanentError, RetryableError
from defacer.pipeline.lifecycle import cleanup, failure, lease
from defacer.pipeline.lifecycle.job_status import read_job_status
from defacer.pipeline.privacy.erase import Subject, erase
from defacer.pipeline.storage import object_names, objects
from defacer.pipeline.storage.object_names import job_of
from tests.clips import Clip, write_clip
from tests.cloud import Buckets, Environment, Post, Topics, push_body, upload_push
from tests.functions.ingesting import assert_failed, manifest_of
from tests.functions.records import failure_of

CLOCK = push_body(b"{}", {"type": "review-check"}, "clock")


@pytest.fixture
def uploads(buckets: Buckets, topics: Topics, clip: Path, environment: Environment) -> list[ObjectRef]:
    """Upload four videos of two segments. The channel has two segments in the queue."""
    environment(segment_seconds=1, channel_segments=2)
    return [upload(buckets, clip, f"{number}.mp4") for number in range(4)]


def upload(buckets: Buckets, clip: Path, name: str, channel: str = "street") -> ObjectRef:
    return buckets.put(buckets.intake, f"channels/{channel}/videos/{name}", clip)


def fail(ref: ObjectRef) -> None:
    failure.fail_job(job_of(ref), "worker", PermanentError(ErrorCode.ENGINE, "the engine failed"), ref)


def planned(buckets: Buckets, uploads: list[ObjectRef]) -> list[int]:
    names = buckets.names(buckets.work)
    return [number for number, ref in enumerate(uploads) if object_names.manifest(job_of(ref)) in names]


def called(topics: Topics) -> list[str]:
    """Return the videos whose notifications were published again."""
    return [push["message"]["attributes"]["objectId"][-5:] for push in topics.all(topics.uploads)]


def turns(buckets: Buckets) -> list[str]:
    return buckets.names(buckets.work, object_names.TURNS)


def test_third_upload_waits_while_two_fill_the_queue(
    buckets: Buckets, topics: Topics, ingest: Post, uploads: list[ObjectRef]
) -> None:
    assert [ingest(upload_push(ref)) for ref in uploads] == [200] * 4
    assert planned(buckets, uploads) == [0, 1]
    assert manifest_of(buckets, uploads[0]).window == 1
    assert len(topics.all(topics.segments)) == 2
    assert called(topics) == []


def test_status_of_a_waiting_upload_names_the_earlier_videos(
    buckets: Buckets, topics: Topics, ingest: Post, uploads: list[ObjectRef]
) -> None:
    for ref in uploads[:3]:
        ingest(upload_push(ref))
    expected = ["detecting faces"] * 2 + [
        "waiting for earlier videos of this channel",
        "waiting to be planned",
    ]
    assert [read_job_status(job_of(ref), ref.name).title for ref in uploads] == expected
    titles = {status.job: status.title for status in list_jobs(10)}
    assert [titles[job_of(ref)] for ref in uploads] == expected


def test_another_channel_does_not_wait(
    buckets: Buckets, topics: Topics, ingest: Post, uploads: list[ObjectRef], clip: Path
) -> None:
    for ref in uploads:
        ingest(upload_push(ref))
    other = upload(buckets, clip, "clip.mp4", "garden")
    assert ingest(upload_push(other)) == 200
    assert len(topics.all(topics.segments)) == 3
    assert manifest_of(buckets, other).channel == "garden"


def test_ended_job_calls_the_next_upload_once(
    buckets: Buckets, topics: Topics, ingest: Post, uploads: list[ObjectRef]
) -> None:
    for ref in uploads:
        ingest(upload_push(ref))
    fail(uploads[0])
    cleanup.clean_up(job_of(uploads[0]))
    assert called(topics) == ["2.mp4"]
    (push,) = topics.all(topics.uploads)
    assert ingest(push) == 200
    assert planned(buckets, uploads) == [0, 1, 2]
    assert len(turns(buckets)) == 3


def test_upload_that_finds_room_after_its_mark_does_not_wait(
    buckets: Buckets, topics: Topics, ingest: Post, uploads: list[ObjectRef], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job ends after the upload read the list, and before the upload says that it waits."""
    mark = admission._mark

    def end_and_mark(found: list[admission._ListedTurn], job: str, state: str) -> None:
        if state == admission.WAITS:
            fail(uploads[0])
        mark(found, job, state)

    for ref in uploads[:2]:
        ingest(upload_push(ref))
    monkeypatch.setattr(admission, "_mark", end_and_mark)
    assert ingest(upload_push(uploads[2])) == 200
    assert planned(buckets, uploads) == [0, 1, 2]
    assert called(topics) == []


def test_upload_that_waits_calls_those_that_it_kept_out(
    buckets: Buckets, topics: Topics, ingest: Post, uploads: list[ObjectRef], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job ends while the last upload has a turn without a mark, which takes the room of the waiting one."""
    mark = admission._mark

    def end_and_mark(found: list[admission._ListedTurn], job: str, state: str) -> None:
        if job == job_of(uploads[3]):
            fail(uploads[0])
            assert called(topics) == []
        mark(found, job, state)

    for ref in uploads[:3]:
        ingest(upload_push(ref))
    monkeypatch.setattr(admission, "_mark", end_and_mark)
    assert ingest(upload_push(uploads[3])) == 200
    assert called(topics) == ["2.mp4"]


def test_upload_that_finds_room_calls_an_earlier_one_that_has_room_too(
    buckets: Buckets,
    topics: Topics,
    ingest: Post,
    uploads: list[ObjectRef],
    environment: Environment,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The last upload fills the queue before its mark. After it, the short one comes first, and both have room."""
    environment(channel_segments=4)
    short = upload(buckets, write_clip(tmp_path / "s.mp4", Clip(seconds=1, audio=False)), "s.mp4")
    mark = admission._mark

    def end_and_mark(found: list[admission._ListedTurn], job: str, state: str) -> None:
        if job == job_of(uploads[3]) and state == admission.WAITS:
            fail(uploads[0])
            assert called(topics) == []
        mark(found, job, state)

    for ref in (*uploads[:2], short):
        ingest(upload_push(ref))
    assert planned(buckets, [*uploads, short]) == [0, 1]
    monkeypatch.setattr(admission, "_mark", end_and_mark)
    assert ingest(upload_push(uploads[3])) == 200
    assert planned(buckets, [*uploads, short])[-1] == 3
    assert called(topics) == ["s.mp4"]


def test_newer_upload_does_not_overtake_a_waiting_one(
    buckets: Buckets, topics: Topics, ingest: Post, uploads: list[ObjectRef], clip: Path
) -> None:
    for ref in uploads:
        ingest(upload_push(ref))
    objects.delete_any(buckets.work, object_names.turn("street", job_of(uploads[0])))
    newer = upload(buckets, clip, "9.mp4")
    assert ingest(upload_push(newer)) == 200
    assert planned(buckets, [*uploads, newer]) == [0, 1]


def test_clock_calls_the_next_upload_of_a_dead_process(
    buckets: Buckets, topics: Topics, ingest: Post, uploads: list[ObjectRef]
) -> None:
    for ref in uploads:
        ingest(upload_push(ref))
    objects.delete_any(buckets.work, object_names.turn("street", job_of(uploads[0])))
    assert ingest(CLOCK) == 200
    assert called(topics) == ["2.mp4"]


def test_clock_deletes_the_turn_of_an_ended_job(
    buckets: Buckets, topics: Topics, ingest: Post, uploads: list[ObjectRef], monkeypatch: pytest.MonkeyPatch
) -> None:
    for ref in uploads:
        ingest(upload_push(ref))
    with monkeypatch.context() as patch:
        patch.setattr(admission, "end_turn", lambda *_: None)
        fail(uploads[0])
    assert len(turns(buckets)) == 4
    assert ingest(CLOCK) == 200
    assert len(turns(buckets)) == 3
    assert called(topics) == ["2.mp4"]


def test_erased_upload_leaves_no_turn(buckets: Buckets, ingest: Post, uploads: list[ObjectRef]) -> None:
    """A turn names the video."""
    for ref in uploads:
        ingest(upload_push(ref))
    for ref in (uploads[0], uploads[2], uploads[3]):
        erase(Subject(job=job_of(ref)), lambda _: None, lambda _: None)
    assert turns(buckets) == [object_names.turn("street", job_of(uploads[1]))]


def test_erasing_a_channel_does_not_list_the_turns_of_all_channels(
    buckets: Buckets, ingest: Post, uploads: list[ObjectRef], clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = upload(buckets, clip, "clip.mp4", "garden")
    for ref in (*uploads, other):
        ingest(upload_push(ref))
    monkeypatch.setattr(admission, "_list_turns", lambda _: pytest.fail("all turns were listed"))
    erase(Subject(channel="street"), lambda _: None, lambda _: None)
    assert turns(buckets) == [object_names.turn("garden", job_of(other))]


def test_too_many_waiting_uploads_are_refused(
    buckets: Buckets, topics: Topics, ingest: Post, uploads: list[ObjectRef], environment: Environment
) -> None:
    environment(segment_seconds=1, channel_segments=2, max_channel_jobs=2)
    for ref in uploads:
        assert ingest(upload_push(ref)) == 200
    failed = failure_of(buckets, job_of(uploads[2]))
    assert failed.code == "too-many-jobs"
    assert failed.code.can_try_again
    assert failed.message.startswith(
        "2.mp4 was not processed: 2 videos of this channel are being processed or wait"
    )
    assert planned(buckets, uploads) == [0, 1]
    assert len(buckets.names(buckets.work, object_names.MINUTES)) == 2


def test_minutes_of_a_day_are_limited(
    buckets: Buckets, topics: Topics, ingest: Post, clip: Path, environment: Environment
) -> None:
    """The clip has 2 s, and 4 s are allowed."""
    environment(max_channel_minutes=4 / 60)
    uploads = [upload(buckets, clip, f"{number}.mp4") for number in range(3)]
    for ref in (*uploads, uploads[0]):
        assert ingest(upload_push(ref)) == 200
    assert planned(buckets, uploads) == [0, 1]
    failed = failure_of(buckets, job_of(uploads[2]))
    assert failed.code == "daily-limit"
    assert failed.code.can_try_again
    assert "Upload it again after midnight UTC" in failed.message
    other = upload(buckets, clip, "clip.mp4", "garden")
    assert ingest(upload_push(other)) == 200
    assert manifest_of(buckets, other).channel == "garden"


def test_refused_minutes_do_not_count(
    buckets: Buckets, topics: Topics, ingest: Post, clip: Path, environment: Environment
) -> None:
    environment(max_channel_minutes=1 / 60)
    first = upload(buckets, clip, "1.mp4")
    assert ingest(upload_push(first)) == 200
    assert_failed(buckets, topics, first, "daily-limit", "0.0 of the 0.0166667 minutes of video")
    environment(max_channel_minutes=2 / 60)
    second = upload(buckets, clip, "2.mp4")
    assert ingest(upload_push(second)) == 200
    assert manifest_of(buckets, second).window == 10


def test_upload_that_waits_too_long_fails_with_an_event(
    buckets: Buckets, topics: Topics, ingest: Post, uploads: list[ObjectRef], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The work bucket would delete its turn, and then it would wait without end."""
    for ref in uploads:
        ingest(upload_push(ref))
    later = lease.utc_now() + admission.MAX_WAIT
    monkeypatch.setattr(admission, "utc_now", lambda: later)
    assert ingest(CLOCK) == 200
    for ref in uploads[2:]:
        failed = failure_of(buckets, job_of(ref))
        assert (failed.code, failed.source) == ("too-many-jobs", ref)
        assert "it has waited 25 days for earlier videos of this channel" in failed.message
    failures = [event["subject"] for event in topics.events() if event["type"] == "job.failed"]
    assert sorted(failures) == sorted(map(job_of, uploads[2:]))
    assert turns(buckets) == sorted(object_names.turn("street", job_of(ref)) for ref in uploads[:2])


def test_error_of_one_expired_turn_does_not_stop_the_others(
    buckets: Buckets, topics: Topics, ingest: Post, uploads: list[ObjectRef], monkeypatch: pytest.MonkeyPatch
) -> None:
    for ref in uploads:
        ingest(upload_push(ref))
    later, broken = lease.utc_now() + admission.MAX_WAIT, job_of(uploads[2])
    finish = failure.finish_if_over

    def finish_if_over(job: str) -> bool:
        if job == broken:
            raise RetryableError("the storage is unavailable")
        return finish(job)

    monkeypatch.setattr(admission, "utc_now", lambda: later)
    with monkeypatch.context() as patch:
        patch.setattr(failure, "finish_if_over", finish_if_over)
        assert ingest(CLOCK) == 503
    assert failure_of(buckets, job_of(uploads[3])).code == "too-many-jobs"
    assert ingest(CLOCK) == 200
    assert failure_of(buckets, broken).code == "too-many-jobs"


def test_clock_repairs_a_limited_number_of_channels(
    buckets: Buckets, topics: Topics, ingest: Post, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("street", "garden", "harbor"):
        ref = upload(buckets, clip, "clip.mp4", name)
        ingest(upload_push(ref))
        with monkeypatch.context() as patch:
            patch.setattr(admission, "end_turn", lambda *_: None)
            fail(ref)
    monkeypatch.setattr(admission, "MAX_REPAIRED", 1)
    left = []
    for _ in range(3):
        assert ingest(CLOCK) == 200
        left.append(len(turns(buckets)))
    assert left == [2, 1, 0]
