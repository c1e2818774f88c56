"""Limit the bit rate of a result by the rates of its sections, because a hard section needs more than the mean.

A source whose rate changes gets the limit that makes it RATE_FACTOR times as large. For that, each section is expected
to become at most SECTION_FACTOR times as large without a limit, as 9 of 11 clips do.
"""

from collections import Counter
from collections.abc import Mapping

RATE_FACTOR = 1.3
PART_SECONDS = 5  # two parts are a section, which has a key frame of most sources
SECTION_FACTOR = 2.5
Part = tuple[int, int]  # the number of restarts of the clock before it, and its place


def limit_sections(bits: Mapping[Part, int]) -> int:
    """Return the limit in bits per second, from the bits of the picture in each part; 0 without a part.

    Sections begin at two grids, so one of them has most of a short hard part.
    """
    limits = [0.0]
    for shift in (0, 1):
        sections: Counter[Part] = Counter()
        for (restarts, place), count in bits.items():
            sections[restarts, (place + shift) // 2] += count
        limits.append(_fill_sections([count / (2 * PART_SECONDS) for count in sections.values()]))
    return int(max(limits))


def _fill_sections(rates: list[float]) -> float:
    """Return the limit that makes sections of these rates RATE_FACTOR times as large together."""
    left = RATE_FACTOR * sum(rates)
    for number, rate in enumerate(sorted(rates)):
        share = left / (len(rates) - number)
        if SECTION_FACTOR * rate >= share:
            return share
        left -= SECTION_FACTOR * rate
    return 0.0
