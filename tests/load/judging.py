"""What must hold under load: counts, and how they grow within one run."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from tests.load.running import Load

# One list call for a segment and step, some more for each job and each hundred segments.
MAX_LISTINGS_OF_A_SEGMENT, MORE_LISTINGS = 3, 10
FASTER = 1.5  # than in proportion: list calls. It was 1.05
HIGHER = 1.5  # the memory of a large job; it was 1.2 from 100 segments to 1,000
LONGER = 2.0  # the processor's time for a segment: that of a small job pays for the beginning, too


def broken(grown: Sequence[Load], at_once: Load) -> list[str]:
    """What does not hold, as sentences. `grown` are single jobs, each of more segments than the one before."""
    return [
        *(line for load in (*grown, at_once) for line in _of_each(load)),
        *_of_growth(grown),
        *_of_memory((*grown, at_once)),
    ]


def _of_each(load: Load) -> Iterator[str]:
    what = f"{load.jobs} jobs of {load.segments} segments"
    if load.published != load.jobs or load.failed:
        yield f"{what}: {load.published} published, {load.failed} failed"
    if load.lost:
        yield f"{what}: {load.lost} messages reached no worker"
    if load.dead_letters:
        yield f"{what}: {load.dead_letters} messages were given up, and nothing is wrong with any segment"
    if load.wrong:
        yield f"{what}: {load.wrong} results are not complete"
    if not load.listings <= MAX_LISTINGS_OF_A_SEGMENT * load.segments + MORE_LISTINGS:
        yield f"{what}: {load.listings:.0f} list calls a job"


def _of_growth(grown: Sequence[Load]) -> Iterator[str]:
    slopes = [
        (large.listings - small.listings) / (large.segments - small.segments)
        for small, large in pairwise(grown)
    ]
    if any(later > FASTER * before for before, later in pairwise(slopes)):
        yield f"list calls grow faster than in proportion: {slopes} for each segment more"
    for load in grown[1:]:
        if not load.merge_ms < LONGER * grown[0].merge_ms:
            yield (
                f"merging takes {load.merge_ms:.1f} ms a segment where there are {load.segments}, and "
                f"{grown[0].merge_ms:.1f} where there are {grown[0].segments}"
            )


def _of_memory(loads: Sequence[Load]) -> Iterator[str]:
    first = loads[0]
    for load in loads[1:]:
        for who, held, before in (
            ("merge", load.memory, first.memory),
            ("a worker", load.worker_memory, first.worker_memory),
        ):
            if not held < HIGHER * before:
                yield f"{who} held {held:.0f} MB with {load.segments} segments, {before:.0f} with {first.segments}"
