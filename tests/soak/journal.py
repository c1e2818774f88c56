"""Read and count the lines of chaos.log (local_emulator/defacer_emulator/chaos/journal.py)."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from defacer_emulator.chaos.plan import journal_lines


@dataclass
class JournalCounts:
    """The faults by kind, the unacknowledged deliveries, and the versions of output objects by hashed name."""

    faults: Counter[str] = field(default_factory=Counter)
    retries: int = 0
    writes: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))


def read_journal(text: str) -> JournalCounts:
    counts = JournalCounts()
    for line in journal_lines(text):
        if line["event"] == "fault":
            counts.faults[line["fault"]] += 1
        elif line["event"] == "retry":
            counts.retries += 1
        elif line["event"] == "write":
            counts.writes[line["object"]].add(line["generation"])
    return counts
