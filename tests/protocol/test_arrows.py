"""The arrows of functions/defacer/pipeline/README.md are those that the functions go, and the named tests go them.

That a named test goes its arrow is looked at wherever it runs (`arrows` in tests/conftest.py). Here are the tests of
no other file.
"""

import re
from dataclasses import replace

from defacer.merge.engine_adapter import MergeEngine
from defacer.merge.join_step import join_and_publish
from defacer.pipeline.documents.job_records import Failed, Published, Verdict
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.lifecycle import finalize, verdict
from defacer.pipeline.media_engine import JoinedVideo, JoinInput
from defacer.pipeline.storage import object_names
from tests.cloud import Buckets, Topics
from tests.media_engines import with_operations
from tests.planned import Planned, do_all_segments
from tests.protocol.arrows import ENDS, Seen, between, page, told
from tests.protocol.model import check as interleave

# Interleavings until each arrow was gone: fewer than a hundred, with room. And as many to look for strange ones.
MOST, LEAST = 3000, 300
# Where trouble comes in them (scenario.py): most arrows are gone anyway, the rare ones where something is published.
AIMS = ("copy to", None, "verdict", "", "copy to")


def never(parts: JoinInput) -> JoinedVideo:
    raise AssertionError("joined what is decided on already")


def test_each_arrow_names_a_test_that_exists() -> None:
    for row in page():
        assert row.who, f"nobody goes {row.arrow}"
        assert row.test, f"no test goes {row.arrow}"
        assert f"def {row.test}(" in row.file.read_text(), f"{row.file.name}::{row.test}"


def test_the_functions_go_each_arrow_of_the_page_and_no_other() -> None:
    """Whoever adds a write of a job's state to a function, or takes one away, finds this failing."""
    expected = told()
    left = {row.arrow for row in page()}
    for seed in range(MOST):
        gone = interleave(seed, AIMS[seed % len(AIMS)]).arrows
        assert gone <= expected, f"seed {seed}: no row of the page says so: {sorted(gone - expected)}"
        left -= {arrow for arrow, _ in gone}
        if not left and seed >= LEAST:
            return
    raise AssertionError(f"in {MOST} interleavings nobody went {sorted(left)}")


def test_the_table_of_verdicts_has_the_arrows_of_the_page() -> None:
    rows = re.findall(r"^\| (\w+) \| (\w+) \|", verdict.__doc__ or "", re.MULTILINE)
    table = {(ENDS.get(before, before), ENDS[after]) for before, after in rows if after in ENDS}
    ends = set(ENDS.values())
    assert table == {
        (before if before in ends else "absent", after)
        for before, after in (row.arrow for row in page())
        if after in ends
    }


def test_a_verdict_without_a_result_publishes_nothing_and_says_so(
    buckets: Buckets, topics: Topics, linked: Planned
) -> None:
    do_all_segments(buckets, linked)
    verdict.decide(Verdict(job=linked.job, end="publish"))
    join_and_publish(linked.segment_done(0), "1", with_operations(MergeEngine(), join=never))
    data = buckets.get(buckets.work, object_names.published(linked.job))
    published = Published.model_validate_json(data)
    assert (published.superseded, published.result) == (True, None)
    assert buckets.names(buckets.output) == []
    (event,) = topics.events()
    assert (event["type"], event["data"]["result"]) == ("job.completed", None)


def test_a_condemned_job_whose_judge_died_is_failed_by_the_next_merge(
    buckets: Buckets, topics: Topics, linked: Planned
) -> None:
    do_all_segments(buckets, linked)
    reason = finalize.failure_record(linked.manifest, PermanentError("code", "what a worker met"), "worker")
    verdict.decide(Verdict(job=linked.job, end="fail", failed=reason))
    join_and_publish(linked.segment_done(0), "1", with_operations(MergeEngine(), join=never))
    assert Failed.model_validate_json(buckets.get(buckets.work, object_names.failed(linked.job))) == reason
    assert buckets.names(buckets.output) == []
    assert [event["type"] for event in topics.events()] == ["job.failed"]
    assert buckets.names(buckets.work, object_names.segments_prefix(linked.job)) == []


def test_a_merge_that_marks_its_job_published_after_it_was_erased_goes_no_arrow() -> None:
    """The verdict is gone by then, and the mark of the publication goes, too."""
    erased = Seen(frozenset({"failed.json"}), marks=frozenset({"announced", "erased"}))
    late = replace(erased, names=erased.names | {"published.json"})
    assert list(between(erased, late)) == []
