"""Which fault strikes where: decided by a seed and by what is struck, never by when.

A fault strikes a *thing* (one message's delivery, one call about one object) for the n-th time that it comes by,
and only the first few times: so whatever the rates are, a healthy job gets done in the end.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from defacer_emulator.errors import UsageError

# Times that a thing can be struck, seen from its first. A message has 10 deliveries before it is given up.
FIRST_TIMES = 3

Rate = Annotated[float, Field(ge=0, le=1)]

# Shares of the times that a thing comes by for the first time, the second and the third.
RATES: Mapping[str, float] = {
    # A function's call to Cloud Storage
    "storage-429": 0.003,
    "storage-500": 0.003,
    "storage-503": 0.004,
    "storage-lost": 0.006,  # done, but the answer is lost
    "storage-cut": 0.006,  # the connection is cut in the middle of a body, the caller's or the answer
    "storage-slow": 0.006,
    "storage-delay": 0.01,
    "lease-jump": 0.25,  # a reader's clock is ahead: a live claim looks expired
    "kill-at-write": 0.004,  # SIGKILL just before or after a write is done
    # A push of Pub/Sub to a function
    "push-429": 0.01,
    "push-500": 0.01,
    "push-503": 0.01,
    "push-lost": 0.03,  # the function ran, but Pub/Sub does not hear of it
    "push-cut": 0.01,  # half a message reaches the function
    "push-slow": 0.01,
    "push-twice": 0.05,  # at the same time, or again after a while
    "push-delay": 0.03,
    "push-reorder": 0.03,  # held back until later ones have gone
    "kill": 0.02,  # SIGKILL of the function's process at some moment of the request
    "full-disk": 0.05,  # nothing bigger than a few kilobytes can be written meanwhile
    # A function's publishing
    "publish-refused": 0.02,
    "publish-lost": 0.03,  # published, but the answer is lost: the client publishes it again
    "publish-delay": 0.03,
}


@dataclass(frozen=True)
class Moment:
    """A thing that comes by for the `number`-th time, counted from 1."""

    thing: str
    number: int

    def __str__(self) -> str:
        return f"{self.thing}#{self.number}"


class Plan(BaseModel):
    """`always` are patterns of things that a fault strikes each time; `replayed` are a former run's faults.

    With `replayed`, nothing else strikes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int
    rates: Mapping[str, Rate] = RATES
    always: Mapping[str, tuple[str, ...]] = {}
    replayed: frozenset[tuple[str, str]] | None = None

    @field_validator("rates", "always")
    @classmethod
    def _known_faults(cls, value: Mapping[str, Any]) -> Mapping[str, Any]:
        if unknown := sorted(set(value) - set(RATES)):
            raise ValueError(f"there is no fault {unknown[0]!r}, there are: {', '.join(RATES)}")
        return value

    def strikes(self, fault: str, moment: Moment) -> bool:
        """Whether this fault strikes then: the same answer whenever it is asked."""
        if self.always_strikes(fault, moment):
            return True
        if self.replayed is not None:
            return (fault, str(moment)) in self.replayed
        if moment.number > FIRST_TIMES:
            return False
        return self.share(fault, moment, "strikes") < self.rates.get(fault, 0.0)

    def always_strikes(self, fault: str, moment: Moment) -> bool:
        """Whether it strikes this thing whenever it comes by: what it strikes must never get done then."""
        return any(fnmatchcase(moment.thing, pattern) for pattern in self.always.get(fault, ()))

    def first(self, faults: Iterable[str], moment: Moment) -> str | None:
        """The first of these faults that strikes then."""
        return next((fault for fault in faults if self.strikes(fault, moment)), None)

    def share(self, fault: str, moment: Moment, of: str) -> float:
        """A number from 0 up to 1 that is this fault's for this purpose: how long, how much, which of two."""
        text = f"{self.seed}|{fault}|{moment}|{of}"
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) / 2**64


class OccurrenceCounter:
    """Counts how often each thing has come by."""

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()

    def next(self, thing: str) -> Moment:
        self._seen[thing] += 1
        return Moment(thing, self._seen[thing])


def read_plan(what: str) -> Plan:
    """The plan that `--chaos` names: a seed, a file of a plan, or the chaos.log of a run to replay.

    Raises UsageError for anything else.
    """
    if what.isascii() and what.isdigit():
        return Plan(seed=int(what))
    try:
        text = Path(what).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"--chaos takes a number (the seed) or a file, and {what} can't be read: {error}."
        ) from error
    try:
        lines = journal_lines(text)
        return _replay(lines) if lines else Plan.model_validate_json(text)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, item['loc'])) or 'the file'}: {item['msg']}" for item in error.errors()
        )
        raise UsageError(f"{what} is no plan of faults: {problems}.") from error
    except (LookupError, TypeError, ValueError) as error:
        raise UsageError(f"{what} is neither a plan of faults nor a chaos.log: {error!r}.") from error


def journal_lines(text: str) -> list[dict[str, Any]]:
    """The lines of a chaos.log (journal.py). Others may stand between them, and the last may be half a line."""
    found = []
    for line in text.splitlines():
        with suppress(ValueError):
            document = json.loads(line)
            if isinstance(document, dict) and "event" in document:
                found.append(document)
    return found


def _replay(lines: list[dict[str, Any]]) -> Plan:
    (plan,) = [Plan.model_validate(line["plan"]) for line in lines if line["event"] == "plan"]
    faults = {(line["fault"], line["at"]) for line in lines if line["event"] == "fault"}
    return plan.model_copy(update={"replayed": frozenset(faults), "always": {}})
