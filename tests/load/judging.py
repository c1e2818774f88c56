"""The requirements under load: counts, and their growth within one run."""

from collections.abc import Iterator, Sequence

from tests.load.running import Load

# At most one for each message to merge after the last segment is done, and a few for each job; 7 a job were measured.
MAX_LISTINGS_PER_SEGMENT, MAX_EXTRA_LISTINGS = 1.5, 10
MAX_MEMORY_GROWTH = 1.5  # of a large job; 1.2 was measured from 100 segments to 1,000
MAX_MERGE_GROWTH = 2.0  # of the CPU time per segment; that of a small job includes the start


def find_violations(single: Sequence[Load], parallel: Load) -> list[str]:
    """Return the violated requirements as sentences. The `single` jobs have a growing number of segments."""
    return [
        *(line for load in (*single, parallel) for line in _check_counts(load)),
        *_check_growth(single),
        *_check_memory((*single, parallel)),
    ]


def _check_counts(load: Load) -> Iterator[str]:
    jobs = f"{load.jobs} jobs of {load.segments} segments"
    if load.published != load.jobs or load.failed:
        yield f"{jobs}: {load.published} published, {load.failed} failed"
    if load.lost:
        yield f"{jobs}: {load.lost} messages reached no worker"
    if load.dead_letters:
        yield f"{jobs}: {load.dead_letters} messages of healthy segments were dead-lettered"
    if load.incomplete:
        yield f"{jobs}: {load.incomplete} results are incomplete"
    if not load.listings <= MAX_LISTINGS_PER_SEGMENT * load.segments + MAX_EXTRA_LISTINGS:
        yield f"{jobs}: {load.listings:.0f} list calls a job"


def _check_growth(single: Sequence[Load]) -> Iterator[str]:
    for load in single[1:]:
        if not load.merge_ms < MAX_MERGE_GROWTH * single[0].merge_ms:
            yield (
                f"merging takes {load.merge_ms:.1f} ms a segment with {load.segments} segments, and "
                f"{single[0].merge_ms:.1f} with {single[0].segments}"
            )


def _check_memory(loads: Sequence[Load]) -> Iterator[str]:
    first = loads[0]
    for load in loads[1:]:
        for function, memory, before in (
            ("merge", load.merge_memory, first.merge_memory),
            ("a worker", load.worker_memory, first.worker_memory),
        ):
            if not memory < MAX_MEMORY_GROWTH * before:
                yield (
                    f"{function} used {memory:.0f} MB with {load.segments} segments, and {before:.0f} MB with "
                    f"{first.segments}"
                )
