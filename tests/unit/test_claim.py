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


def terms(holder: str, clock: Clock, lease: float = 90, deadline: float = 540) -> LeaseOptions:
    return LeaseOptions(holder, lease, deadline, clock)


def claim(buckets: Buckets) -> Lease:
    return Lease.model_validate_json(buckets.get(buckets.work, NAME))


def test_a_claim_that_is_absent_is_taken_and_deleted_at_the_end(buckets: Buckets, clock: Clock) -> None:
    with acquire_lease(buckets.work, NAME, terms("m1", clock)) as held:
        assert held.attempts == 1
        written = claim(buckets)
        assert (written.holder, written.attempts) == ("m1", 1)
        assert written.expires_at == clock() + timedelta(seconds=90)
    assert buckets.names(buckets.work) == []


@pytest.mark.parametrize("message", ["m1", "m2"])
def test_a_live_claim_brings_a_message_back_whoever_holds_it(
    message: str, buckets: Buckets, clock: Clock
) -> None:
    with acquire_lease(buckets.work, NAME, terms("m1", clock)):
        with pytest.raises(RetryableError, match="for the message m1"):
            HeldLease.acquire(buckets.work, NAME, terms(message, clock))
        assert claim(buckets).holder == "m1"


@pytest.mark.parametrize("holder", ["m1", "m2"])
def test_an_expired_claim_is_taken_over_with_one_attempt_more(
    holder: str, buckets: Buckets, clock: Clock
) -> None:
    HeldLease.acquire(buckets.work, NAME, terms("m1", clock))  # and its process is killed
    clock.advance(91)
    with acquire_lease(buckets.work, NAME, terms(holder, clock)) as held:
        assert held.attempts == 2
        assert claim(buckets).holder == holder


def test_who_was_taken_over_learns_it_and_does_not_touch_the_new_claim(
    buckets: Buckets, clock: Clock
) -> None:
    with pytest.raises(LeaseLostError), acquire_lease(buckets.work, NAME, terms("m1", clock)) as late:
        clock.advance(91)
        taken = HeldLease.acquire(buckets.work, NAME, terms("m2", clock))
        late.renew()
    assert claim(buckets).holder == "m2"
    assert claim(buckets).expires_at > clock()
    taken.release()
    assert buckets.names(buckets.work) == []


def test_a_late_release_does_not_delete_the_new_holder_s_claim(buckets: Buckets, clock: Clock) -> None:
    late = HeldLease.acquire(buckets.work, NAME, terms("m1", clock))
    clock.advance(91)
    HeldLease.acquire(buckets.work, NAME, terms("m2", clock))
    late.release()
    assert claim(buckets).holder == "m2"


@pytest.mark.parametrize(
    "error",
    [DeadlineError("x"), PermanentError(ErrorCode.POISON_SEGMENT, "x"), MemoryError("x"), SystemExit()],
)
def test_a_holder_that_fails_lets_the_next_one_start_at_once(
    error: BaseException, buckets: Buckets, clock: Clock
) -> None:
    for attempt in (1, 2, 3):
        with pytest.raises(type(error)), acquire_lease(buckets.work, NAME, terms("m1", clock)) as held:
            assert held.attempts == attempt
            raise error


@pytest.mark.parametrize("error", [RetryableError("storage is away"), TypeError("a bug")])
def test_passing_fault_and_bug_do_not_count_as_attempts(
    error: Exception, buckets: Buckets, clock: Clock
) -> None:
    """Neither an outage of storage nor a bug is a reason to fail the job as poisoned by its segment."""
    for _ in range(3):
        with pytest.raises(type(error)), acquire_lease(buckets.work, NAME, terms("m1", clock)) as held:
            assert held.attempts == 1
            raise error


def test_keeping_writes_at_most_once_in_a_third_of_the_lease(
    buckets: Buckets, proxy: Proxy, clock: Clock
) -> None:
    with acquire_lease(buckets.work, NAME, terms("m1", clock)) as held:
        before = len(proxy.requests)
        for _ in range(29):
            clock.advance(1)
            held.renew()
        assert len(proxy.requests) == before
        clock.advance(1)
        held.renew()
        held.renew()
        assert len(proxy.requests) == before + 1
        assert claim(buckets).expires_at == clock() + timedelta(seconds=90)


def test_a_claim_that_is_kept_outlives_its_first_lease(buckets: Buckets, clock: Clock) -> None:
    with acquire_lease(buckets.work, NAME, terms("m1", clock)) as held:
        for _ in range(10):
            clock.advance(31)
            held.renew()
        with pytest.raises(RetryableError):
            HeldLease.acquire(buckets.work, NAME, terms("m2", clock))


def test_past_the_deadline_the_work_is_abandoned(buckets: Buckets, clock: Clock) -> None:
    with (
        pytest.raises(RetryableError, match="not done within the 540 s"),
        acquire_lease(buckets.work, NAME, terms("m1", clock)) as held,
    ):
        clock.advance(539)
        held.renew()
        clock.advance(1)
        held.renew()
    with acquire_lease(buckets.work, NAME, terms("m1", clock)) as held:
        assert held.attempts == 2


def test_a_renewal_whose_answer_was_lost_is_found_to_be_ours(
    buckets: Buckets, proxy: Proxy, clock: Clock
) -> None:
    with acquire_lease(buckets.work, NAME, terms("m1", clock)) as held:
        lost: list[str] = []
        proxy.loses = lambda method, path: method == "POST" and not lost and lost.append(path) is None
        clock.advance(31)
        held.renew()
        assert lost
        clock.advance(31)
        held.renew()
    assert buckets.names(buckets.work) == []


def test_a_claim_that_vanished_is_lost(buckets: Buckets, clock: Clock) -> None:
    with pytest.raises(RetryableError), acquire_lease(buckets.work, NAME, terms("m1", clock)) as held:
        objects.delete_all(buckets.work, NAME)
        clock.advance(31)
        held.renew()
    assert buckets.names(buckets.work) == []


@pytest.mark.parametrize("expired", [False, True])
def test_of_sixteen_racers_one_holds_the_claim(expired: bool, buckets: Buckets, clock: Clock) -> None:
    if expired:
        HeldLease.acquire(buckets.work, NAME, terms("dead", clock))
        clock.advance(91)
    start = threading.Barrier(RACERS)
    take: Callable[[int], int | None]

    def take(number: int) -> int | None:
        start.wait()
        try:
            return HeldLease.acquire(buckets.work, NAME, terms(f"m{number}", clock)).attempts
        except RetryableError:
            return None

    objects.client()
    with ThreadPoolExecutor(RACERS) as pool:
        results = list(pool.map(take, range(RACERS)))
    assert [attempts for attempts in results if attempts is not None] == [2 if expired else 1]


def test_when_storage_is_away_the_work_s_own_error_counts(
    buckets: Buckets, proxy: Proxy, clock: Clock, environment: Callable[..., None]
) -> None:
    environment(retry_seconds=0.1)
    with pytest.raises(ValueError, match="mine"), acquire_lease(buckets.work, NAME, terms("m1", clock)):
        proxy.fails = lambda method, path: True
        raise ValueError("mine")
