"""A claim with a lease: one worker at a time on one thing, and a dead one is replaced.

A claim is an object, and every change of it has its generation as the precondition:

| it is | then |
|---|---|
| absent | taken: attempt 1 |
| expired | taken over: one attempt more |
| live | ClaimedError: the message comes back, because the holder may die |

A message that finds a live claim comes back even if the claim is another message's. Of messages that are
delivered twice, one delivery may be acknowledged while the other goes on and takes the claim: then nobody comes
back when that one dies.

A thing that fails again and again is known by the claim's attempts, not by the message's deliveries: waiting
for a free worker costs deliveries too (a busy answer is one), so a subscription has to allow many.
"""

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Self

from defacer.pipeline import programming_errors
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.job_records import Lease
from defacer.pipeline.errors import RetryableError
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import objects

Clock = Callable[[], datetime]
# Races for one claim settle within a round; more than this many lost in a row is something else.
MAX_CAS_RETRIES = 5


class LeaseTakenError(RetryableError):
    """Somebody else is at this thing now."""


class LeaseLostError(RetryableError):
    """The lease ran out and somebody took over, or the claim was deleted: this holder's work is void."""


class DeadlineError(RetryableError):
    """One delivery's time is over. It counts as an attempt: what never gets done in time must end somewhere."""


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class LeaseOptions:
    """Whose claim it is, for how long, and when its holder must stop at the latest, seen from taking it."""

    holder: str
    lease_seconds: float
    deadline_seconds: float
    clock: Clock = utc_now


def lease_options_for(message_id: str) -> LeaseOptions:
    """Those of one delivery of a message, as the settings say."""
    return LeaseOptions(message_id, settings().lease_seconds, settings().deadline_seconds)


class HeldLease:
    """A claim that is held. `attempts` counts the holders so far, this one included."""

    def __init__(self, ref: ObjectRef, claim: Lease, terms: LeaseOptions):
        self._ref = ref
        self._claim = claim
        self._terms = terms
        now = terms.clock()
        self._renew_at = now + timedelta(seconds=terms.lease_seconds / 3)
        self._deadline = now + timedelta(seconds=terms.deadline_seconds)
        self._one_at_a_time = Lock()

    @property
    def token(self) -> str:
        """No other holder has it."""
        return self._claim.token

    @property
    def attempts(self) -> int:
        return self._claim.attempts

    @property
    def late(self) -> int:
        """How many holders before this one ran out of time."""
        return self._claim.late

    def keep(self) -> None:
        """Say that the holder is alive: call it often, it writes once in a third of the lease at most.

        Raises ClaimLostError if the claim is somebody else's now, RetryableError if the deadline has passed. Any
        thread of the holder may call it.
        """
        with self._one_at_a_time:
            self._keep(self._terms.clock())

    def _keep(self, now: datetime) -> None:
        if now >= self._deadline:
            raise DeadlineError(
                f"not done after {self._terms.deadline_seconds:g} s, which is all that one delivery has"
            )
        if now >= self._renew_at:
            self._write(now + timedelta(seconds=self._terms.lease_seconds))
            self._renew_at = now + timedelta(seconds=self._terms.lease_seconds / 3)

    def expire(self, *, count: bool, late: bool = False) -> None:
        """Let the next holder start at once. Without `count` this attempt counts for nothing."""
        attempts = self._claim.attempts - (not count)
        self._claim = self._claim.model_copy(update={"attempts": attempts, "late": self._claim.late + late})
        self._write(self._terms.clock())

    def release(self) -> None:
        """Delete the claim: the thing is done."""
        objects.delete(self._ref)

    def _write(self, expires_at: datetime) -> None:
        claim = self._claim.model_copy(update={"expires_at": expires_at})
        data = claim.model_dump_json().encode()
        try:
            self._ref = objects.replace(
                self._ref.bucket, self._ref.name, data, generation=self._ref.generation
            )
        except objects.AlreadyWrittenError as error:
            raise LeaseLostError("the claim was taken over: this holder was silent for too long") from error

    @classmethod
    def take(cls, bucket: str, name: str, terms: LeaseOptions) -> Self:
        """Take a claim that is absent or expired. Raises as the table above says."""
        for _ in range(MAX_CAS_RETRIES):
            now = terms.clock()
            found = objects.find_json(bucket, name, Lease)
            if found is not None and found[0].expires_at > now:
                until = found[0].expires_at.isoformat()
                raise LeaseTakenError(f"claimed until {until} for the message {found[0].holder}")
            claim = Lease(
                holder=terms.holder,
                # No two holders write the same bytes: so a lost answer is told from a lost race.
                token=uuid.uuid4().hex,
                expires_at=now + timedelta(seconds=terms.lease_seconds),
                attempts=found[0].attempts + 1 if found else 1,
                late=found[0].late if found else 0,
            )
            try:
                ref = objects.replace(
                    bucket,
                    name,
                    claim.model_dump_json().encode(),
                    generation=found[1].generation if found else 0,
                )
            except objects.AlreadyWrittenError:
                continue  # somebody was quicker: look at what is there now
            return cls(ref, claim, terms)
        raise RetryableError(f"lost the race for a claim {MAX_CAS_RETRIES} times: the message comes back")


def delete_expired(bucket: str, name: str, clock: Clock = utc_now) -> None:
    """Delete a claim whose holder has ended, or died long enough ago."""
    found = objects.find_json(bucket, name, Lease)
    if found is not None and found[0].expires_at <= clock():
        objects.delete(found[1])


@contextmanager
def acquire_lease(bucket: str, name: str, terms: LeaseOptions) -> Iterator[HeldLease]:
    """Hold a claim for the block: deleted when the block ends well, expired at once when it raises.

    A crash and the deadline count as attempts. Passing faults do not, and programming errors are counted in `bugs`.
    """
    held = HeldLease.take(bucket, name, terms)
    try:
        yield held
    except BaseException as error:
        late = isinstance(error, DeadlineError)
        passing = isinstance(error, RetryableError) and not late
        with suppress(RetryableError):  # best effort: if storage is away, the lease runs out by itself
            held.expire(count=not passing and not programming_errors.is_bug(error), late=late)
        raise
    held.release()
