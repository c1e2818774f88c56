"""The log of injected faults, one JSON line each. The emulator stores it as chaos.log.

| event | meaning |
|---|---|
| `plan` | the first line: the plan with its seed. Together with the faults, it can replay the run |
| `fault` | a fault was injected: its kind, the occurrence (`at`), the job, and details (`how`) |
| `retry` | a delivery to a function was not acknowledged, so Pub/Sub redelivers the message |
| `write` | a version of an object in the output bucket was written: `object` is the hash of its name |

The lines have ids and hashes only, and no object names.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime

from defacer_emulator.chaos.plan import Occurrence, Plan
from defacer_emulator.chaos.subjects import FaultSubject


class Journal:
    """Writes the lines, and numbers the faults."""

    def __init__(self, plan: Plan, write_line: Callable[[str], None]):
        self._write_line = write_line
        self._seed = plan.seed
        self._faults = 0
        # Without the replayed faults: they follow as lines of their own.
        self._write("plan", plan=plan.model_dump(mode="json", exclude={"replayed"}))

    def log_fault(self, fault: str, occurrence: Occurrence, subject: FaultSubject, how: str) -> None:
        self._faults += 1
        self._write(
            "fault",
            seed=self._seed,
            number=self._faults,
            fault=fault,
            at=str(occurrence),
            job=subject.job,
            how=how,
        )

    def log_retry(self, occurrence: Occurrence, subject: FaultSubject, status: int | None) -> None:
        self._write("retry", at=str(occurrence), job=subject.job, status=status)

    def log_write(self, name: str, generation: str) -> None:
        self._write("write", object=name, generation=generation)

    def _write(self, event: str, **fields: object) -> None:
        line = {"event": event, "time": datetime.now(UTC).isoformat(), **fields}
        self._write_line(json.dumps(line))
