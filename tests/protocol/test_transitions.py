"""The transitions of pipeline/README.md are those that the functions make, and its tests make the ones they stand for.

`tests/conftest.py` checks each named test where it runs. The tests below belong to no other file.
"""

import re
from dataclasses import replace

from defacer.merge.engine_adapter import MergeEngine
from defacer.merge.join_step import join_and_publish
from defacer.pipeline.documents.job_records import Failed, Published, Verdict
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.lifecycle import failure, verdict
from defacer.pipeline.lifecycle.job_state import STATE_OF_VERDICT, JobState
from defacer.pipeline.media_engine import JoinedVideo, JoinInput
from defacer.pipeline.storage import object_names
from tests.cloud import Buckets, Topics
from tests.media_engines import with_operations
from tests.planned import Planned, do_all_segments
from tests.protocol.model import check as interleave
from tests.protocol.transitions import (
    ERASED,
    SPLIT,
    UNCOMMITTED,
    JobObjects,
    documented_transitions,
    page_rows,
    page_states,
    transitions_between,
)

# Interleavings until each transition happened: fewer than a hundred, with a margin; and as many to find others.
MAX_INTERLEAVINGS, MIN_INTERLEAVINGS = 3000, 150
# Where trouble comes in them (scenario.py). Most transitions happen anyway, the rare ones where a job is published or a
# worker writes its segment.
AIMS = ("copy to", None, "verdict", "", "write segments/")


def fail_if_joined(parts: JoinInput) -> JoinedVideo:
    raise AssertionError("joined a job that has a verdict")


def test_page_lists_each_job_state_once() -> None:
    assert page_states() == set(JobState) | {ERASED}
    ends = {after for _, after in (row.transition for row in page_rows())}
    assert ends == (set(JobState) - {JobState.UPLOADED}) | {SPLIT, ERASED}


def test_each_transition_names_functions_and_a_test_that_exists() -> None:
    for row in page_rows():
        assert row.functions, f"no function makes {row.transition}"
        assert row.test, f"no test for {row.transition}"
        assert f"def {row.test}(" in row.file.read_text(), f"{row.file.name}::{row.test}"


def test_functions_make_the_transitions_of_the_page_and_no_others() -> None:
    """This fails for everyone who adds a write of a job's state to a function, or removes one."""
    expected = documented_transitions()
    left = {row.transition for row in page_rows()}
    for seed in range(MAX_INTERLEAVINGS):
        made = interleave(seed, AIMS[seed % len(AIMS)]).transitions
        assert made <= expected, f"seed {seed}: not on the page: {sorted(made - expected)}"
        left -= {transition for transition, _ in made}
        if not left and seed >= MIN_INTERLEAVINGS:
            return
    raise AssertionError(f"in {MAX_INTERLEAVINGS} interleavings no function made {sorted(left)}")


def test_verdict_table_has_the_transitions_of_the_page() -> None:
    rows = re.findall(r"^\| (\w+) \| (\w+) \|", verdict.__doc__ or "", re.MULTILINE)
    states = {str(key): state for key, state in STATE_OF_VERDICT.items()}
    table = {(states.get(before, before), states[after]) for before, after in rows if after in states}
    verdicts = set(states.values())
    assert table == {
        (before if before in verdicts else "absent", after)
        for before, after in (row.transition for row in page_rows())
        if after in verdicts
    }


def test_verdict_without_a_result_publishes_nothing_and_announces_it(
    buckets: Buckets, topics: Topics, linked: Planned
) -> None:
    do_all_segments(buckets, linked)
    verdict.write_verdict_once(Verdict(job=linked.job, state="publishing"))
    join_and_publish(linked.segment_done(0), "1", with_operations(MergeEngine(), join=fail_if_joined))
    data = buckets.get(buckets.work, object_names.published(linked.job))
    published = Published.model_validate_json(data)
    assert (published.superseded, published.result) == (True, None)
    assert buckets.names(buckets.output) == []
    (event,) = topics.events()
    assert (event["type"], event["data"]["result"]) == ("job.completed", None)


def test_failing_job_of_a_dead_process_is_failed_by_the_next_merge(
    buckets: Buckets, topics: Topics, linked: Planned
) -> None:
    do_all_segments(buckets, linked)
    error = PermanentError(ErrorCode.POISON_SEGMENT, "an error of a worker")
    failed = failure.failure_record(linked.job, linked.manifest.source, error, "worker")
    verdict.write_verdict_once(Verdict(job=linked.job, state="failing", failed=failed))
    join_and_publish(linked.segment_done(0), "1", with_operations(MergeEngine(), join=fail_if_joined))
    assert Failed.model_validate_json(buckets.get(buckets.work, object_names.failed(linked.job))) == failed
    assert buckets.names(buckets.output) == []
    assert [event["type"] for event in topics.events()] == ["job.failed"]
    assert buckets.names(buckets.work, object_names.segments_prefix(linked.job)) == []


def test_late_publication_of_an_erased_job_is_not_a_transition() -> None:
    """The verdict is gone by then, and `published.json` is deleted too."""
    erased = JobObjects(frozenset({"failed.json"}), marks=frozenset({"announced", "erased"}))
    late = replace(erased, names=erased.names | {"published.json"})
    assert list(transitions_between(erased, late)) == []
    assert list(transitions_between(JobObjects(), erased)) == [("any", "erased")]
    assert UNCOMMITTED not in set(JobState)
