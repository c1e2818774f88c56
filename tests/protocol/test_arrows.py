"""functions/pipeline/README.md names a test for each arrow: here are those of no other file. And all of them exist."""

import re

from functions.merge.engine import check
from functions.merge.finish import Hands, Joined, Parts, finish
from functions.pipeline import ending, layout, verdict
from functions.pipeline.contracts import Failed, Published, Verdict
from functions.pipeline.errors import PermanentError
from tests.cloud import Buckets, Topics
from tests.planned import Planned, do_all_segments
from tests.servers import ROOT

PAGE = ROOT / "functions" / "pipeline" / "README.md"


def never(parts: Parts) -> Joined:
    raise AssertionError("joined what is decided on already")


def test_each_arrow_names_a_test_that_exists() -> None:
    section = PAGE.read_text().split("## Who moves a job")[1].split("\n## ")[0]
    arrows = [line for line in section.splitlines() if line.startswith("| ")][1:]
    assert len(arrows) >= 18
    for arrow in arrows:
        named = re.search(r"`(\S+\.py)::(\w+)`", arrow)
        assert named, f"no test: {arrow}"
        assert f"def {named[2]}(" in (ROOT / "tests" / named[1]).read_text(), named[0]


def test_a_verdict_without_a_result_publishes_nothing_and_says_so(
    buckets: Buckets, topics: Topics, linked: Planned
) -> None:
    do_all_segments(buckets, linked)
    verdict.decide(Verdict(job=linked.job, end="publish"))
    finish(linked.segment_done(0), "1", Hands(never, check))
    data = buckets.get(buckets.work, layout.published(linked.job))
    published = Published.model_validate_json(data)
    assert (published.superseded, published.result) == (True, None)
    assert buckets.names(buckets.output) == []
    (event,) = topics.events()
    assert (event["type"], event["data"]["result"]) == ("job.completed", None)


def test_a_condemned_job_whose_judge_died_is_failed_by_the_next_merge(
    buckets: Buckets, topics: Topics, linked: Planned
) -> None:
    do_all_segments(buckets, linked)
    reason = ending.reason(linked.manifest, PermanentError("code", "what a worker met"), "worker")
    verdict.decide(Verdict(job=linked.job, end="fail", failed=reason))
    finish(linked.segment_done(0), "1", Hands(never, check))
    assert Failed.model_validate_json(buckets.get(buckets.work, layout.failed(linked.job))) == reason
    assert buckets.names(buckets.output) == []
    assert [event["type"] for event in topics.events()] == ["job.failed"]
    assert buckets.names(buckets.work, layout.segments_prefix(linked.job)) == []
