"""The plan of faults: a seed and the subject decide which fault is injected, never the time.

A subject is one message for a function, or one kind of call about one object. A fault is injected into the n-th
occurrence of a subject, and only into the first few. So a healthy job ends with success, whatever the rates are.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from defacer_emulator.errors import EmulatorUsageError

# A fault is injected into the first occurrences of a subject only: a message has 10 deliveries until it is exhausted.
MAX_STRUCK_OCCURRENCES = 3

Rate = Annotated[float, Field(ge=0, le=1)]

# The share of the first, second and third occurrences into which a fault is injected.
RATES: Mapping[str, float] = {
    # A function's call to Cloud Storage
    "storage-429": 0.003,
    "storage-500": 0.003,
    "storage-503": 0.004,
    "storage-lost": 0.006,  # done, but the response is lost
    "storage-cut": 0.006,  # the connection is closed within the body of the request or response
    "storage-slow": 0.006,
    "storage-delay": 0.01,
    "lease-jump": 0.25,  # a reader's clock is ahead: a valid lease looks expired
    "kill-at-write": 0.004,  # SIGKILL just before or after a write
    # A push of Pub/Sub to a function
    "push-429": 0.01,
    "push-500": 0.01,
    "push-503": 0.01,
    "push-lost": 0.03,  # the function ran, but its response to Pub/Sub is lost
    "push-cut": 0.01,  # half of the message reaches the function
    "push-slow": 0.01,
    "push-twice": 0.05,  # two deliveries at once, or a second one later
    "push-delay": 0.03,
    "push-reorder": 0.03,  # delivered after later messages
    "kill": 0.02,  # SIGKILL of the function's process during the request
    "full-disk": 0.05,  # the process can write only a few kilobytes during the request
    # A function's publishing
    "publish-refused": 0.02,
    "publish-lost": 0.03,  # published, but the response is lost: the client publishes again
    "publish-delay": 0.03,
}


@dataclass(frozen=True)
class Occurrence:
    """The `number`-th occurrence of a subject, counted from 1."""

    subject: str
    number: int

    def __str__(self) -> str:
        return f"{self.subject}#{self.number}"


class Plan(BaseModel):
    """Which faults to inject.

    `always` has patterns of subjects with the fault at every occurrence. `replayed` are the faults of an earlier run;
    with it, no other fault is injected, except those of `always`.
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
            raise ValueError(f"the fault {unknown[0]!r} is unknown; the faults are {', '.join(RATES)}")
        return value

    def has_fault(self, fault: str, occurrence: Occurrence) -> bool:
        """Return whether to inject this fault. The same occurrence always has the same result."""
        if self.is_permanent(fault, occurrence):
            return True
        if self.replayed is not None:
            return (fault, str(occurrence)) in self.replayed
        if occurrence.number > MAX_STRUCK_OCCURRENCES:
            return False
        return self.random_share(fault, occurrence, "strikes") < self.rates.get(fault, 0.0)

    def is_permanent(self, fault: str, occurrence: Occurrence) -> bool:
        """Return whether the fault is injected at every occurrence of the subject, so that it never succeeds."""
        return any(fnmatchcase(occurrence.subject, pattern) for pattern in self.always.get(fault, ()))

    def first_fault(self, faults: Iterable[str], occurrence: Occurrence) -> str | None:
        """Return the first of these faults to inject, or None."""
        return next((fault for fault in faults if self.has_fault(fault, occurrence)), None)

    def random_share(self, fault: str, occurrence: Occurrence, purpose: str) -> float:
        """Return a number from 0 to below 1, such as for a duration. It depends only on the seed and the arguments."""
        text = f"{self.seed}|{fault}|{occurrence}|{purpose}"
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) / 2**64


def read_plan(source: str) -> Plan:
    """Return the plan of `--chaos`: a seed, a plan file, or the chaos.log of a run to replay.

    Raises EmulatorUsageError for anything else.
    """
    if source.isascii() and source.isdigit():
        return Plan(seed=int(source))
    try:
        text = Path(source).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise EmulatorUsageError(
            f"--chaos takes a number (the seed) or a file, and {source} can't be read: {error}."
        ) from error
    try:
        lines = journal_lines(text)
        return _replay(lines) if lines else Plan.model_validate_json(text)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, item['loc'])) or 'the file'}: {item['msg']}" for item in error.errors()
        )
        raise EmulatorUsageError(
            f"{source} is not a valid plan of faults: {problems}. Correct the file."
        ) from error
    except (LookupError, TypeError, ValueError) as error:
        raise EmulatorUsageError(
            f"{source} is neither a plan of faults nor a chaos.log: {error!r}. Name one of these, or a number as seed."
        ) from error


def journal_lines(text: str) -> list[dict[str, Any]]:
    """Return the lines of a chaos.log (journal.py). Skip other lines and an incomplete last line."""
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
