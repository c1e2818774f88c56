"""Shares with their Wilson intervals, and Markdown tables."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

NORMAL_95 = 1.959964  # standard deviations to both sides of the mean that hold 95 % of a normal distribution


@dataclass(frozen=True)
class Share:
    """`count` of `of` cases. Shares of the same kind add up."""

    count: int
    of: int

    def __add__(self, other: "Share") -> "Share":
        return Share(self.count + other.count, self.of + other.of)

    @property
    def value(self) -> float:
        """The share from 0 to 1; 0 of 0 is 0."""
        return self.count / self.of if self.of else 0.0

    def interval(self) -> tuple[float, float]:
        """Return the 95 % interval (Wilson, "Probable inference, the law of succession", 1927).

        Neighboring frames of a video are not independent, so read it as a lower limit of the uncertainty.
        """
        if not self.of:
            return 0.0, 1.0
        z2 = NORMAL_95**2
        middle = (self.value + z2 / (2 * self.of)) / (1 + z2 / self.of)
        spread = math.sqrt(self.value * (1 - self.value) / self.of + z2 / (4 * self.of**2))
        half = NORMAL_95 * spread / (1 + z2 / self.of)
        return max(0.0, middle - half), min(1.0, middle + half)

    def __str__(self) -> str:
        """Return "3 of 200 = 1.50 % (0.51 to 4.32)", or "-" for 0 of 0."""
        if not self.of:
            return "-"
        low, high = self.interval()
        return f"{self.count:,} of {self.of:,} = {percent(self.value)} ({100 * low:.2f} to {100 * high:.2f})"


def pooled(shares: Iterable[Share]) -> Share:
    return sum(shares, Share(0, 0))


def percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)
