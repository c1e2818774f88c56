"""Run many interleavings and print a summary: python -m tests.protocol [--interleavings N] [--seed N].

Each interleaving has its own seed, counted up from --seed. To repeat a violation step by step, pass its seed and
--interleavings 1.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.protocol.model import Outcome, check
from tests.protocol.transitions import Transition, documented_transitions

DEFAULT = 20_000
MAX_SHOWN = 3
USERS = (
    "upload", "rerender", "confirm", "confirm at the last moment", "clock", "erase",
    "delete the source", "another target", "remove the target", "a foreign result", "a foreign report",
)  # fmt: skip
PROGRESS_SECONDS = 30.0


@dataclass
class Summary:
    """The totals of many interleavings."""

    interleavings: int = 0
    steps: int = 0
    deliveries: int = 0
    max_deliveries_in_peace: int = 0
    published: int = 0
    violations: int = 0
    trouble: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    transitions: set[tuple[Transition, str]] = field(default_factory=set)
    digests: set[bytes] = field(default_factory=set)

    def add(self, outcome: Outcome) -> None:
        self.interleavings += 1
        self.steps += outcome.steps
        self.deliveries += outcome.deliveries
        self.max_deliveries_in_peace = max(self.max_deliveries_in_peace, outcome.deliveries_in_peace)
        self.published += outcome.published
        self.violations += bool(outcome.violations)
        self.trouble.update(outcome.counts)
        self.failed.update(outcome.failed)
        self.digests.add(outcome.digest)
        self.transitions |= outcome.transitions

    def lines(self) -> Iterator[str]:
        killed = self.trouble["killed before"] + self.trouble["killed after"]
        faults = self.trouble["fault before"] + self.trouble["fault after"] + self.trouble["lost answer"]
        reasons = ", ".join(f"{code} {count}" for code, count in self.failed.most_common())
        yield f"interleavings   {self.interleavings}"
        yield f"distinct        {len(self.digests)}"
        yield f"steps           {self.steps}"
        yield f"deliveries      {self.deliveries} (at most {self.max_deliveries_in_peace} after the last trouble)"
        yield f"killed          {killed}"
        yield f"storage faults  {faults} (lost answers: {faults - self.trouble['fault before']})"
        yield f"stalls          {self.trouble['stall']}"
        yield f"bugs            {self.trouble['bug']}"
        yield f"duplicates      {self.trouble['duplicate'] + self.trouble['timeout']}"
        users = ", ".join(f"{kind} {self.trouble[kind]}" for kind in USERS)
        yield f"users           {users}"
        yield f"published       {self.published}"
        yield f"failed          {self.failed.total()} ({reasons})"
        documented = documented_transitions()
        made = len(self.transitions & documented)
        yield f"transitions     {made} of {len(documented)} of the page, by function"
        for (before, after), function in sorted(documented - self.transitions):
            yield f"  {function} never went from {before} to {after}"
        yield from (f"  not on the page: {transition}" for transition in self.undocumented())
        yield f"violations      {self.violations}"

    def undocumented(self) -> list[str]:
        """Return the transitions that are not on the page."""
        others = self.transitions - documented_transitions()
        return sorted(f"{function}: {before} to {after}" for (before, after), function in others)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.protocol", description=__doc__.splitlines()[0], allow_abbrev=False
    )
    parser.add_argument("--interleavings", type=int, default=DEFAULT, help=f"how many (default {DEFAULT})")
    parser.add_argument("--seed", type=int, default=0, help="of the first one (default 0)")
    arguments = parser.parse_args()
    summary, started, reported = Summary(), time.monotonic(), time.monotonic()
    for seed in range(arguments.seed, arguments.seed + arguments.interleavings):
        outcome = check(seed)
        summary.add(outcome)
        if outcome.violations and summary.violations <= MAX_SHOWN:
            print(f"--- seed {seed}: python -m tests.protocol --interleavings 1 --seed {seed}")
            print(*outcome.violations, outcome.trace, sep="\n", flush=True)
        if time.monotonic() - reported > PROGRESS_SECONDS:
            reported = time.monotonic()
            print(
                f"... {summary.interleavings}, violations {summary.violations}", file=sys.stderr, flush=True
            )
    print(*summary.lines(), f"seconds         {time.monotonic() - started:.0f}", sep="\n")
    return 1 if summary.violations or summary.undocumented() else 0


if __name__ == "__main__":
    sys.exit(main())
