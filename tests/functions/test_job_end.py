"""The end of a job: one verdict, whichever process writes it and dies (cases that tests/protocol found)."""

import pytest

from defacer.merge.engine_adapter import MergeEngine
from defacer.merge.join_step import join_and_publish
from defacer.pipeline.documents.job_records import Published, Verdict
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import PermanentError, RetryableError
from defacer.pipeline.lifecycle import failure, finalize, publishing, step_marks, verdict
from defacer.pipeline.media_engine import JoinedVideo, JoinInput
from defacer.pipeline.storage import object_names
from tests.cloud import Buckets, Post, Topics
from tests.functions.merging import (
    REPORT,
    RESULT,
    assert_published,
    expire_lease,
)
from tests.functions.records import failure_of
from tests.functions.test_dead_letter import dead_letter_of
from tests.media_engines import with_operations
from tests.planned import Planned, do_all_segments

ERROR = PermanentError(ErrorCode.POISON_SEGMENT, "what a worker met")


class Crash(BaseException):
    """A crash of the process."""


def never(parts: JoinInput) -> JoinedVideo:
    pytest.fail("joined again")


def crash_after_verdict(buckets: Buckets, planned: Planned) -> None:
    """Let a merge join, check, write the verdict and die. Its lease has expired."""
    do_all_segments(buckets, planned)

    def die() -> None:
        if verdict.find_verdict(planned.job) is not None:
            raise Crash

    with pytest.MonkeyPatch.context() as patch:
        carry_out = finalize.apply_verdict
        patch.setattr(finalize, "apply_verdict", lambda manifest, progress: carry_out(manifest, die))
        with pytest.raises(Crash):
            join_and_publish(planned.segment_done(0), "first", MergeEngine())
    expire_lease(buckets, object_names.merge_lease(planned.job))
    said = verdict.find_verdict(planned.job)
    assert said is not None
    assert said[0].state == "publishing"
    assert buckets.names(buckets.output) == []


def copy_result(planned: Planned) -> None:
    """Copy the result as the dead merge would have done next."""
    said = verdict.find_verdict(planned.job)
    assert said is not None
    assert said[0].result is not None
    publishing.publish_object(planned.manifest, RESULT, said[0].result, lambda: None)


def test_next_merge_publishes_result_of_a_dead_merge(
    buckets: Buckets, topics: Topics, linked: Planned
) -> None:
    crash_after_verdict(buckets, linked)
    join_and_publish(linked.segment_done(1), "second", with_operations(MergeEngine(), join=never))
    assert_published(buckets, topics, linked)


def test_worker_error_during_publishing_does_not_fail_the_job(
    buckets: Buckets, topics: Topics, linked: Planned
) -> None:
    crash_after_verdict(buckets, linked)
    assert not failure.fail_job(linked.job, "worker", ERROR)
    assert object_names.failed(linked.job) not in buckets.names(buckets.work)
    assert topics.events() == []


def test_job_that_failed_before_the_verdict_is_not_published(
    buckets: Buckets, topics: Topics, linked: Planned
) -> None:
    do_all_segments(buckets, linked)

    def meanwhile(parts: JoinInput) -> JoinedVideo:
        joined = MergeEngine().join(parts)
        assert verdict.write_verdict_once(
            Verdict(
                job=linked.job,
                state="failing",
                failed=failure.failure_record(linked.job, linked.manifest.source, ERROR),
            )
        )
        return joined

    join_and_publish(linked.segment_done(0), "1", with_operations(MergeEngine(), join=meanwhile))
    assert failure_of(buckets, linked.job).message == "what a worker met"
    assert buckets.names(buckets.output) == []
    stays = [object_names.failed(linked.job), linked.ref.name, object_names.verdict(linked.job)]
    assert [name for name in buckets.names(buckets.work) if not object_names.is_lease(name)] == stays
    assert [event["type"] for event in topics.events()] == ["job.failed"]


def test_job_exhausted_between_verdict_and_copy_fails(
    buckets: Buckets, topics: Topics, linked: Planned, dead_letter: Post
) -> None:
    crash_after_verdict(buckets, linked)
    assert dead_letter(dead_letter_of(linked.done(0))) == 200
    assert failure_of(buckets, linked.job).code == "exhausted"
    assert buckets.names(buckets.output) == []
    assert [event["type"] for event in topics.events()] == ["job.failed"]


def test_merge_stalled_before_the_copy_cannot_publish(
    buckets: Buckets, topics: Topics, linked: Planned, dead_letter: Post
) -> None:
    crash_after_verdict(buckets, linked)
    given: list[int] = []

    def give_up() -> None:
        """Stall the copy after it has read the verdict."""
        given.append(dead_letter(dead_letter_of(linked.done(0))))

    assert finalize.apply_verdict(linked.manifest, give_up) is None
    assert given == [200]
    assert failure_of(buckets, linked.job).code == "exhausted"
    assert buckets.names(buckets.output) == []


def test_dead_letter_finalizes_a_result_that_is_published(
    buckets: Buckets, topics: Topics, linked: Planned, dead_letter: Post
) -> None:
    crash_after_verdict(buckets, linked)
    copy_result(linked)
    assert dead_letter(dead_letter_of(linked.done(0))) == 200
    assert_published(buckets, topics, linked)


def test_dead_letter_finalizes_job_whose_merges_died(
    buckets: Buckets, topics: Topics, linked: Planned, dead_letter: Post
) -> None:
    crash_after_verdict(buckets, linked)
    assert finalize.apply_verdict(linked.manifest, lambda: None) is not None
    assert dead_letter(dead_letter_of(linked.done(0))) == 200
    assert_published(buckets, topics, linked)


def test_foreign_object_after_the_verdict_fails_the_job(
    buckets: Buckets, topics: Topics, linked: Planned
) -> None:
    crash_after_verdict(buckets, linked)
    buckets.put(buckets.output, RESULT, b"somebody else's")
    join_and_publish(linked.segment_done(1), "second", with_operations(MergeEngine(), join=never))
    assert failure_of(buckets, linked.job).code == "result-exists"
    assert buckets.get(buckets.output, RESULT) == b"somebody else's"
    assert buckets.names(buckets.output, REPORT) == []


def test_interrupted_rollback_request_is_continued(buckets: Buckets, topics: Topics, linked: Planned) -> None:
    crash_after_verdict(buckets, linked)
    said = verdict.find_verdict(linked.job)
    assert said is not None
    verdict.change_verdict(
        *said,
        state="rolling_back_pending",
        failed=failure.failure_record(linked.job, linked.manifest.source, ERROR),
    )
    join_and_publish(linked.segment_done(1), "second", with_operations(MergeEngine(), join=never))
    assert failure_of(buckets, linked.job).message == "what a worker met"
    assert buckets.names(buckets.output) == []


@pytest.mark.parametrize("end", ["published", "failed"])
def test_redelivery_deletes_parts_of_a_dead_merge(
    end: str, buckets: Buckets, topics: Topics, linked: Planned, merge: Post
) -> None:
    end_job(buckets, linked, end)
    buckets.put(buckets.work, object_names.merge_part(linked.job, "token", "samples"), b"half")
    assert merge(linked.done(1)) == 200
    assert buckets.names(buckets.work, object_names.merge_prefix(linked.job)) == []


def test_missing_verdict_is_retried(buckets: Buckets, topics: Topics, linked: Planned) -> None:
    with pytest.raises(RetryableError):
        finalize.apply_verdict(linked.manifest, lambda: None)


def end_job(buckets: Buckets, planned: Planned, end: str) -> None:
    if end == "failed":
        failure.fail_job(planned.job, "worker", ERROR)
    else:
        published = Published(job=planned.job, result=None, report="r")
        buckets.put(buckets.work, object_names.published(planned.job), published.model_dump_json().encode())
        step_marks.mark_steps_over(planned.job, *step_marks.STEPS)
