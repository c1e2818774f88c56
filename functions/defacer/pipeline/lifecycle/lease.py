"""Leases: one worker at a time does a step, and a dead worker is replaced.

A lease is an object, and every change of it is a conditional write:

| the object | result |
|---|---|
| absent | acquired: attempt 1 |
| expired | taken over: one attempt more |
| not expired | LeaseTakenError: the message is redelivered, because the holder can die |

A message that finds a lease taken is redelivered even if another message holds it. Of two deliveries of one message,
the first can be acknowledged while the second still works and acquires the lease. If that one dies, no other message
would come.

A step that fails again and again is recognized by the attempts in its lease, not by the deliveries of its message:
waiting for a free worker costs deliveries too, so a subscription has to allow many of them.
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
from defacer.pipeline.documents.manifest import Manifest
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import PermanentError, RetryableError
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects


class LeaseTakenError(RetryableError):
    """Another process holds the lease."""


class LeaseLostError(RetryableError):
    """The lease expired and was taken over, or it was deleted: this holder's work does not count."""


class DeadlineError(RetryableError):
    """The delivery's deadline passed. This counts as an attempt, so work that always times out fails in the end."""


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class LeaseOptions:
    """The holder of a lease, how long the lease lasts without a renewal, and the holder's deadline in seconds."""

    holder: str
    lease_seconds: float
    deadline_seconds: float
    now: Callable[[], datetime] = utc_now


def lease_options_for(message_id: str) -> LeaseOptions:
    """Return the options of one delivery of a message, from the settings."""
    return LeaseOptions(message_id, settings().lease_seconds, settings().deadline_seconds)


class HeldLease:
    """A lease that is held. `attempts` counts the holders, including this one."""

    def __init__(self, ref: ObjectRef, lease: Lease, options: LeaseOptions):
        self._ref = ref
        self._lease = lease
        self._options = options
        now = options.now()
        self._renew_at = now + timedelta(seconds=options.lease_seconds / 3)
        self._deadline = now + timedelta(seconds=options.deadline_seconds)
        self._renewing = Lock()

    @property
    def token(self) -> str:
        """A name that no other holder has."""
        return self._lease.token

    @property
    def attempts(self) -> int:
        return self._lease.attempts

    @property
    def timeouts(self) -> int:
        """The number of earlier holders that reached their deadline."""
        return self._lease.timeouts

    def renew(self) -> None:
        """Renew the lease. Call this often, from any thread: it writes at most once in a third of the lease time.

        Raises LeaseLostError if the lease was taken over, and DeadlineError if the deadline has passed.
        """
        with self._renewing:
            now = self._options.now()
            if now >= self._deadline:
                raise DeadlineError(
                    f"not done within the {self._options.deadline_seconds:g} s of one delivery"
                )
            if now >= self._renew_at:
                self._write(now + timedelta(seconds=self._options.lease_seconds))
                self._renew_at = now + timedelta(seconds=self._options.lease_seconds / 3)

    def expire(self, *, is_attempt: bool, is_timeout: bool = False) -> None:
        """Let the next holder start at once. Count this holder as an attempt, and as a timeout, if it was one."""
        self._lease = self._lease.model_copy(
            update={
                "attempts": self._lease.attempts - (not is_attempt),
                "timeouts": self._lease.timeouts + is_timeout,
            }
        )
        self._write(self._options.now())

    def release(self) -> None:
        """Delete the lease: the step is done."""
        objects.delete(self._ref)

    def _write(self, expires_at: datetime) -> None:
        data = self._lease.model_copy(update={"expires_at": expires_at}).model_dump_json().encode()
        try:
            self._ref = objects.replace(
                self._ref.bucket, self._ref.name, data, generation=self._ref.generation
            )
        except objects.AlreadyWrittenError as error:
            raise LeaseLostError("the lease was taken over, because it was not renewed in time") from error

    @classmethod
    def acquire(cls, bucket: str, name: str, options: LeaseOptions) -> Self:
        """Acquire a lease that is absent or expired. Raises LeaseTakenError as the table above says."""
        found: objects.Stored[Lease] | None = (
            None  # usually it is absent: reading it first would be a request more
        )
        for _ in range(objects.MAX_CAS_RETRIES):
            now = options.now()
            if found is not None and found.document.expires_at > now:
                until = found.document.expires_at.isoformat()
                raise LeaseTakenError(
                    f"the lease is taken until {until}, for the message {found.document.holder}"
                )
            lease = Lease(
                holder=options.holder,
                # No two holders write the same bytes, so a lost answer differs from a lost race.
                token=uuid.uuid4().hex,
                expires_at=now + timedelta(seconds=options.lease_seconds),
                attempts=found.document.attempts + 1 if found else 1,
                timeouts=found.document.timeouts if found else 0,
            )
            try:
                ref = objects.replace(
                    bucket,
                    name,
                    lease.model_dump_json().encode(),
                    generation=found.ref.generation if found else 0,
                )
            except objects.AlreadyWrittenError:  # it exists, or another process was quicker
                found = objects.find_json(bucket, name, Lease)
                continue
            return cls(ref, lease, options)
        raise RetryableError(f"lost the race for a lease {objects.MAX_CAS_RETRIES} times")


def delete_expired(bucket: str, name: str) -> None:
    """Delete the lease if it has expired."""
    found = objects.find_json(bucket, name, Lease)
    if found is not None and found.document.expires_at <= utc_now():
        objects.delete(found.ref)


def fail_if_timeouts_exhausted(manifest: Manifest, held: HeldLease, operation: str) -> None:
    """Fail the job if as many holders as allowed reached their deadline. `operation` is a phrase like "joining it"."""
    allowed = settings().max_timeouts
    if held.timeouts >= allowed:
        raise PermanentError(
            ErrorCode.TOO_SLOW,
            f"{object_names.owner_name(manifest.source.name)} was not published: {operation} did not finish within "
            f"{settings().deadline_seconds:g} s in {allowed} attempts. Cut it into parts.",
        )


@contextmanager
def acquire_lease(bucket: str, name: str, options: LeaseOptions) -> Iterator[HeldLease]:
    """Hold a lease in the block. It is deleted when the block succeeds, and expires at once when the block raises.

    A crash and a passed deadline count as attempts. Transient errors do not, and `programming_errors` counts bugs.
    """
    held = HeldLease.acquire(bucket, name, options)
    try:
        yield held
    except BaseException as error:
        is_timeout = isinstance(error, DeadlineError)
        is_transient = isinstance(error, RetryableError) and not is_timeout
        is_attempt = not is_transient and not programming_errors.is_bug(error)
        with suppress(RetryableError):  # best effort: without storage the lease expires by itself
            held.expire(is_attempt=is_attempt, is_timeout=is_timeout)
        raise
    held.release()
