"""A lease is exclusive, expires, and counts the attempts of its holders."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from defacer.pipeline.documents.job_records import Lease
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import PermanentError, RetryableError
from defacer.pipeline.lifecycle.lease import (
    DeadlineError,
    HeldLease,
    LeaseLostError,
    LeaseOptions,
    acquire_lease,
)
from defacer.pipeline.storage import objects
from tests.cloud import Buckets
from tests.proxy import Proxy

NAME = "jobs/1/leases/00000.json"
RACERS = 16


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 11, 23, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def options_for(holder: str, clock: Clock, lease: float = 90, deadline: float = 540) -> LeaseOptions:
    return LeaseOptions(holder, lease, deadline, clock)


def stored_lease(buckets: Buckets) -> Lease:
    return Lease.model_validate_json(buckets.get(buckets.work, NAME))


def test_lease_is_created_and_deleted_at_the_end(buckets: Buckets, clock: Clock) -> None:
    with acquire_lease(buckets.work, NAME, options_for("m1", clock)) as held:
        assert held.attempts == 1
        written = stored_lease(buckets)
        assert (written.holder, written.attempts) == ("m1", 1)
        assert written.expires_at == clock() + timedelta(seconds=90)
    assert buckets.names(buckets.work) == []


@pytest.mark.parametrize("message", ["m1", "m2"])
def test_live_lease_of_any_holder_is_retryable(message: str, buckets: Buckets, clock: Clock) -> None:
    with acquire_lease(buckets.work, NAME, options_for("m1", clock)):
        with pytest.raises(RetryableError, match="for the message m1"):
            HeldLease.acquire(buckets.work, NAME, options_for(message, clock))
        assert stored_lease(buckets).holder == "m1"


@pytest.mark.parametrize("holder", ["m1", "m2"])
def test_expired_lease_is_taken_over_with_another_attempt(
    holder: str, buckets: Buckets, clock: Clock
) -> None:
    HeldLease.acquire(buckets.work, NAME, options_for("m1", clock))  # and its process is killed
    clock.advance(91)
    with acquire_lease(buckets.work, NAME, options_for(holder, clock)) as held:
        assert held.attempts == 2
        assert stored_lease(buckets).holder == holder


def test_late_holder_loses_the_lease_and_keeps_the_new_one(buckets: Buckets, clock: Clock) -> None:
    with pytest.raises(LeaseLostError), acquire_lease(buckets.work, NAME, options_for("m1", clock)) as late:
        clock.advance(91)
        taken = HeldLease.acquire(buckets.work, NAME, options_for("m2", clock))
        late.renew()
    assert stored_lease(buckets).holder == "m2"
    assert stored_lease(buckets).expires_at > clock()
    taken.release()
    assert buckets.names(buckets.work) == []


def test_late_release_keeps_the_new_holder_s_lease(buckets: Buckets, clock: Clock) -> None:
    late = HeldLease.acquire(buckets.work, NAME, options_for("m1", clock))
    clock.advance(91)
    HeldLease.acquire(buckets.work, NAME, options_for("m2", clock))
    late.release()
    assert stored_lease(buckets).holder == "m2"


@pytest.mark.parametrize(
    "error",
    [DeadlineError("x"), PermanentError(ErrorCode.POISON_SEGMENT, "x"), MemoryError("x"), SystemExit()],
)
def test_failed_holder_releases_its_lease_and_counts(
    error: BaseException, buckets: Buckets, clock: Clock
) -> None:
    for attempt in (1, 2, 3):
        with pytest.raises(type(error)), acquire_lease(buckets.work, NAME, options_for("m1", clock)) as held:
            assert held.attempts == attempt
            raise error


@pytest.mark.parametrize("error", [RetryableError("storage is away"), TypeError("a bug")])
def test_transient_error_and_bug_do_not_count_as_attempts(
    error: Exception, buckets: Buckets, clock: Clock
) -> None:
    """A storage outage or a bug must not fail the job because of its segment."""
    for _ in range(3):
        with pytest.raises(type(error)), acquire_lease(buckets.work, NAME, options_for("m1", clock)) as held:
            assert held.attempts == 1
            raise error


def test_renewal_writes_at_most_once_per_third_of_the_lease(
    buckets: Buckets, proxy: Proxy, clock: Clock
) -> None:
    with acquire_lease(buckets.work, NAME, options_for("m1", clock)) as held:
        before = len(proxy.requests)
        for _ in range(29):
            clock.advance(1)
            held.renew()
        assert len(proxy.requests) == before
        clock.advance(1)
        held.renew()
        held.renew()
        assert len(proxy.requests) == before + 1
        assert stored_lease(buckets).expires_at == clock() + timedelta(seconds=90)


def test_renewed_lease_outlives_its_first_period(buckets: Buckets, clock: Clock) -> None:
    with acquire_lease(buckets.work, NAME, options_for("m1", clock)) as held:
        for _ in range(10):
            clock.advance(31)
            held.renew()
        with pytest.raises(RetryableError):
            HeldLease.acquire(buckets.work, NAME, options_for("m2", clock))


def test_work_is_aborted_after_its_deadline(buckets: Buckets, clock: Clock) -> None:
    with (
        pytest.raises(RetryableError, match="not done within the 540 s"),
        acquire_lease(buckets.work, NAME, options_for("m1", clock)) as held,
    ):
        clock.advance(539)
        held.renew()
        clock.advance(1)
        held.renew()
    with acquire_lease(buckets.work, NAME, options_for("m1", clock)) as held:
        assert held.attempts == 2


def test_renewal_with_a_lost_response_is_recognized_as_ours(
    buckets: Buckets, proxy: Proxy, clock: Clock
) -> None:
    with acquire_lease(buckets.work, NAME, options_for("m1", clock)) as held:
        lost: list[str] = []
        proxy.loses = lambda method, path: method == "POST" and not lost and lost.append(path) is None
        clock.advance(31)
        held.renew()
        assert lost
        clock.advance(31)
        held.renew()
    assert buckets.names(buckets.work) == []


def test_deleted_lease_is_lost(buckets: Buckets, clock: Clock) -> None:
    with pytest.raises(RetryableError), acquire_lease(buckets.work, NAME, options_for("m1", clock)) as held:
        objects.delete_all(buckets.work, NAME)
        clock.advance(31)
        held.renew()
    assert buckets.names(buckets.work) == []


@pytest.mark.parametrize("expired", [False, True])
def test_one_of_sixteen_racers_acquires_the_lease(expired: bool, buckets: Buckets, clock: Clock) -> None:
    if expired:
        HeldLease.acquire(buckets.work, NAME, options_for("dead", clock))
        clock.advance(91)
    start = threading.Barrier(RACERS)

    def take(number: int) -> int | None:
        start.wait()
        try:
            return HeldLease.acquire(buckets.work, NAME, options_for(f"m{number}", clock)).attempts
        except RetryableError:
            return None

    objects.client()
    with ThreadPoolExecutor(RACERS) as pool:
        results = list(pool.map(take, range(RACERS)))
    assert [attempts for attempts in results if attempts is not None] == [2 if expired else 1]


def test_error_of_the_work_is_raised_if_storage_fails_too(
    buckets: Buckets, proxy: Proxy, clock: Clock, environment: Callable[..., None]
) -> None:
    environment(retry_seconds=0.1)
    with pytest.raises(ValueError, match="mine"), acquire_lease(buckets.work, NAME, options_for("m1", clock)):
        proxy.fails = lambda method, path: True
        raise ValueError("mine")
