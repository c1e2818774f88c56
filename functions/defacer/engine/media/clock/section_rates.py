"""Limit the bit rate of a result by the rates of its sections, because a hard section needs more than the mean.

A source whose rate changes gets the limit that makes it RATE_FACTOR times as large, or gives it the mean rate that any
result can have (`lowest_limit`). For that, each section is expected to become at most SECTION_FACTOR times as large
without a limit, as 9 of 11 clips do. A section with a very low rate is expected to become LOW_SECTION_FACTOR times as
large, or to have a key frame of KEY_FACTOR times the source's usual size every KEY_SECONDS.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

RATE_FACTOR = 1.3
PART_SECONDS = 5  # two parts are a section, which has a key frame of most sources
SECTION_FACTOR, LOW_SECTION_FACTOR = 2.5, 5
KEY_FACTOR, KEY_SECONDS = 2, 2
MAX_LOW_FACTOR = 4  # of a limit by the lowest mean rate, over that rate: the expectations can be wrong
# The limit is never below these rates, in bits per second and in bits per pixel: at lower rates, key frames every two
# seconds would look poor.
MIN_LIMIT, MIN_PIXEL_LIMIT = 250_000, 0.01
Part = tuple[int, int]  # the number of restarts of the clock before it, and its place


@dataclass(frozen=True)
class LowRates:
    """The mean rate that any result can have in bits per second, and the bits of the source's usual key frame.

    `seconds` is the duration of the picture, because the last section can be short.
    """

    limit: float
    seconds: float
    key_frame: float


def lowest_limit(pixel_rate: float) -> float:
    """Return the mean rate that any result can have. `pixel_rate` is the number of pixels in a second."""
    return max(MIN_LIMIT, MIN_PIXEL_LIMIT * pixel_rate)


def limit_sections(bits: Mapping[Part, int], low: LowRates) -> int:
    """Return the limit in bits per second, from the bits of the picture in each part; 0 without a part.

    Sections begin at two grids, so one of them has most of a short hard part.
    """
    limits = [0.0]
    for shift in (0, 1):
        sections: Counter[Part] = Counter()
        for (restarts, place), count in bits.items():
            sections[restarts, (place + shift) // 2] += count
        rates = sorted(count / (2 * PART_SECONDS) for count in sections.values())
        limits.append(_fill_sections(rates, RATE_FACTOR * sum(rates), SECTION_FACTOR, 0.0))
        lowest = low.limit * low.seconds / (2 * PART_SECONDS)
        if lowest > RATE_FACTOR * sum(rates):
            key_rate = KEY_FACTOR * low.key_frame / KEY_SECONDS
            limit = _fill_sections(rates, lowest, LOW_SECTION_FACTOR, key_rate)
            limits.append(min(limit, MAX_LOW_FACTOR * low.limit))
    return int(max(limits))


def _fill_sections(rates: list[float], total: float, factor: float, min_rate: float) -> float:
    """Return the limit that gives sections of these ascending rates the `total` rate together."""
    for number, rate in enumerate(rates):
        share = total / (len(rates) - number)
        expected = max(factor * rate, min_rate)
        if expected >= share or number == len(rates) - 1:
            return share
        total -= expected
    return 0.0
