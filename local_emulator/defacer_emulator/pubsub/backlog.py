"""The unacknowledged messages of one subscription: waiting for delivery, or leased to a subscriber.

This data structure has no lock and no clock. Times are seconds on the caller's clock.
"""

import heapq
import itertools
from dataclasses import dataclass

from google.pubsub_v1.types import PubsubMessage


@dataclass
class Entry:
    """A message and the number of its deliveries."""

    message: PubsubMessage
    attempts: int = 0


@dataclass(frozen=True)
class Delivery:
    """A message for a subscriber. `ack_id` identifies this attempt; attempts are counted from 1."""

    ack_id: str
    message: PubsubMessage
    attempt: int


@dataclass
class _Lease:
    entry: Entry
    until: float


class Backlog:
    """Entries, ordered by the time when they become ready, then by arrival."""

    def __init__(self, name: str):
        self._name = name
        self._numbers = itertools.count(1)
        self._waiting: list[tuple[float, int, Entry]] = []
        self._leased: dict[str, _Lease] = {}

    def __len__(self) -> int:
        return len(self._waiting) + len(self._leased)

    def add(self, entry: Entry, ready_at: float) -> None:
        """Add an entry that becomes ready at `ready_at`."""
        heapq.heappush(self._waiting, (ready_at, next(self._numbers), entry))

    def take(self, maximum: int, now: float, until: float) -> list[Delivery]:
        """Lease up to `maximum` ready entries until `until`, each for one more attempt."""
        deliveries: list[Delivery] = []
        while len(deliveries) < maximum and self._waiting and self._waiting[0][0] <= now:
            _, _, entry = heapq.heappop(self._waiting)
            entry.attempts += 1
            ack_id = f"{self._name}:{next(self._numbers)}"
            self._leased[ack_id] = _Lease(entry, until)
            deliveries.append(Delivery(ack_id, entry.message, entry.attempts))
        return deliveries

    def release(self, ack_id: str) -> Entry | None:
        """End a lease, and remove and return its entry. Return None if the lease has already ended."""
        lease = self._leased.pop(ack_id, None)
        return lease.entry if lease else None

    def extend(self, ack_id: str, until: float) -> None:
        """Set the end of a lease. Do nothing if it has ended."""
        if lease := self._leased.get(ack_id):
            lease.until = until

    def release_expired(self, now: float) -> list[Entry]:
        """End the expired leases, and remove and return their entries."""
        expired = [ack_id for ack_id, lease in self._leased.items() if lease.until <= now]
        return [self._leased.pop(ack_id).entry for ack_id in expired]

    def next_change(self) -> float | None:
        """Return when the next entry becomes ready or the next lease expires, or None if the backlog is empty."""
        times = [lease.until for lease in self._leased.values()]
        if self._waiting:
            times.append(self._waiting[0][0])
        return min(times, default=None)
