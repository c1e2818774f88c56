"""One subscription: its backlog, the calls that wait for messages, and the redelivery of unacknowledged ones."""

import math
import threading
import time
from collections.abc import Callable, Iterable

from google.pubsub_v1.types import PubsubMessage
from google.pubsub_v1.types import Subscription as Resource

from defacer_emulator.pubsub.backlog import Backlog, Delivery, Entry
from defacer_emulator.pubsub.delivery_policy import DeliveryPolicy

Clock = Callable[[], float]
# Publishes a dead letter of a subscription on a topic, with the number of delivery attempts.
DeadLetter = Callable[["Subscription", str, PubsubMessage, int], None]


class Subscription:
    """Thread-safe under the broker's lock. Expired leases are detected by the next call that takes or waits."""

    def __init__(
        self,
        resource: Resource,
        policy: DeliveryPolicy,
        lock: threading.RLock,
        dead_letter: DeadLetter,
        clock: Clock = time.monotonic,
    ):
        self.resource = resource
        self.policy = policy
        self._changed = threading.Condition(lock)
        self._dead_letter = dead_letter
        self._clock = clock
        self._backlog = Backlog(resource.name)
        self._closed = False

    @property
    def name(self) -> str:
        return self.resource.name

    def __len__(self) -> int:
        """Return the number of unacknowledged messages."""
        with self._changed:
            return len(self._backlog)

    def add(self, message: PubsubMessage) -> None:
        """Store a message until it is acknowledged."""
        with self._changed:
            self._backlog.add(Entry(message), self._clock())
            self._changed.notify()

    def take(
        self,
        maximum: int,
        lease_seconds: float = math.inf,
        wait_seconds: float = math.inf,
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> list[Delivery]:
        """Lease up to `maximum` messages, and wait for the first one.

        Return no message after `wait_seconds`, if the subscription is closed, or if `is_wanted` returns False (call
        `wake` to have it checked).
        """
        deadline = self._clock() + wait_seconds
        with self._changed:
            try:
                return self._wait_and_take(maximum, lease_seconds, deadline, is_wanted)
            finally:
                # Another waiting call must now watch for the next message, or for the end of the next lease.
                self._changed.notify()

    def acknowledge(self, ack_ids: Iterable[str]) -> None:
        """Remove these messages. As in Pub/Sub, attempts with an expired lease are ignored."""
        with self._changed:
            for ack_id in ack_ids:
                self._backlog.release(ack_id)

    def reject(self, ack_ids: Iterable[str]) -> None:
        """Redeliver these messages after the backoff, or dead-letter them after the last attempt."""
        with self._changed:
            for ack_id in ack_ids:
                if entry := self._backlog.release(ack_id):
                    self._redeliver_or_dead_letter(entry)

    def extend(self, ack_ids: Iterable[str], seconds: float) -> None:
        """Set the end of these attempts to `seconds` from now."""
        with self._changed:
            for ack_id in ack_ids:
                self._backlog.extend(ack_id, self._clock() + seconds)
            self._changed.notify_all()

    def close(self) -> None:
        """End all waiting calls, permanently."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def wake(self) -> None:
        """Let the waiting calls check again whether they are wanted."""
        with self._changed:
            self._changed.notify_all()

    def _wait_and_take(
        self, maximum: int, lease_seconds: float, deadline: float, is_wanted: Callable[[], bool]
    ) -> list[Delivery]:
        while not self._closed and is_wanted():
            now = self._clock()
            for entry in self._backlog.release_expired(now):
                self._redeliver_or_dead_letter(entry)
            if deliveries := self._backlog.take(maximum, now, now + lease_seconds):
                return deliveries
            if now >= deadline:
                break
            next_change = self._backlog.next_change()
            seconds = min(deadline, math.inf if next_change is None else next_change) - now
            self._changed.wait(None if math.isinf(seconds) else min(seconds, threading.TIMEOUT_MAX))
        return []

    def _redeliver_or_dead_letter(self, entry: Entry) -> None:
        dead_letters = self.policy.dead_letters
        if self._closed:
            return
        if dead_letters and entry.attempts >= dead_letters.max_attempts:
            self._dead_letter(self, dead_letters.topic, entry.message, entry.attempts)
            return
        self._backlog.add(entry, self._clock() + self.policy.backoff.pause_seconds(entry.attempts))
        self._changed.notify()
