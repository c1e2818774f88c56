"""The bounds of the project's speed and memory table. Processors without AVX-512 have bounds of their own.

The networks compute in bfloat16 where the processor has it, and there they take about a seventh of the time.
"""

from dataclasses import dataclass

from tests.benchmarks.machine import has_avx512


@dataclass(frozen=True)
class Bound:
    """A required value and an optional goal. `slack` allows for rounding."""

    required: float
    goal: float | None
    unit: str
    at_most: bool = True
    slack: float = 0.0

    def is_met_by(self, value: float) -> bool:
        return value <= self.required + self.slack if self.at_most else value >= self.required

    def is_goal_met_by(self, value: float) -> bool:
        if self.goal is None:
            return self.is_met_by(value)
        return value <= self.goal if self.at_most else value >= self.goal


def _for_processor(required: float, with_avx2_only: float) -> float:
    return required if has_avx512() else with_avx2_only


ROUNDING = 0.05  # the table states "1.0x", which values that round to it meet

AGAINST_TRANSCODE = Bound(_for_processor(1.7, 2.0), 1.4, "x")
AGAINST_DEFACE = Bound(_for_processor(8, 7), 12, "x", at_most=False)
AGAINST_2019 = Bound(_for_processor(12, 10), 18, "x", at_most=False)
CHECK = Bound(1.15, None, "x")
GROWTH_TIME = Bound(10, None, "x", slack=0.5)
GROWTH_MEMORY = Bound(1, None, "x", slack=ROUNDING)
MEMORY_720P = Bound(0.8, 0.5, " GB")
MEMORY_4K = Bound(1.5, 1.0, " GB")
LIVE_RATE = Bound(_for_processor(25, 20), 30, " fps", at_most=False)
LIVE_AGE_SECONDS = _for_processor(0.5, 0.6)
EMULATOR_START = Bound(5, None, " s")
EMULATOR_DROP = Bound(1.5, 1.2, "x")
SIZE = Bound(1.5, None, "x")
