"""What chaos.log says (local_emulator/defacer_emulator/chaos/journal.py)."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from defacer_emulator.chaos.plan import journal_lines


@dataclass
class Told:
    """Faults by kind, deliveries that were not acknowledged, and versions of output objects by their hashed names."""

    faults: Counter[str] = field(default_factory=Counter)
    retries: int = 0
    writes: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))


def read_journal(text: str) -> Told:
    told = Told()
    for line in journal_lines(text):
        if line["event"] == "fault":
            told.faults[line["fault"]] += 1
        elif line["event"] == "retry":
            told.retries += 1
        elif line["event"] == "write":
            told.writes[line["object"]].add(line["generation"])
    return told
