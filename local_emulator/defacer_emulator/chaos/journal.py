"""What was done to whom, a line of JSON each: the emulator keeps them in chaos.log.

| event | says |
|---|---|
| `plan` | the first line: the plan, with its seed; enough to replay the run together with the faults |
| `fault` | a fault struck: which, at what (`at`), in which job, how |
| `retry` | a function's delivery was not acknowledged, so Pub/Sub brings the message back |
| `write` | a version of an object of the output bucket came into being: `object` is its name's hash |

Ids and hashes only: no object's name.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime

from defacer_emulator.chaos.plan import Moment, Plan
from defacer_emulator.chaos.subjects import Subject


class Journal:
    """Numbers the faults. `write_line` takes each line."""

    def __init__(self, plan: Plan, write_line: Callable[[str], None]):
        self._write_line = write_line
        self._seed = plan.seed
        self._faults = 0
        # A replayed run's log is that of a plan that anybody can read: the faults follow.
        self._say("plan", plan=plan.model_dump(mode="json", exclude={"replayed"}))

    def fault(self, fault: str, moment: Moment, about: Subject, how: str = "") -> None:
        self._faults += 1
        told = {
            "seed": self._seed,
            "number": self._faults,
            "fault": fault,
            "at": str(moment),
            "job": about.job,
        }
        self._say("fault", **told, how=how)

    def retry(self, moment: Moment, about: Subject, status: int | None) -> None:
        self._say("retry", at=str(moment), job=about.job, status=status)

    def write(self, name: str, generation: str) -> None:
        self._say("write", object=name, generation=generation)

    def _say(self, event: str, **fields: object) -> None:
        line = {"event": event, "time": datetime.now(UTC).isoformat(), **fields}
        self._write_line(json.dumps(line))
