"""One subscription: its backlog, those who wait for its messages, and what becomes of an unacknowledged one."""

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable

from google.pubsub_v1.types import PubsubMessage
from google.pubsub_v1.types import Subscription as Resource

from defacer_emulator.pubsub.backlog import Backlog, Delivery, Entry
from defacer_emulator.pubsub.policy import Policy

DELETED_TOPIC = "_deleted-topic_"

Clock = Callable[[], float]
# Publishes a dead letter: the subscription, the message, its delivery attempts. False: its topic is gone.
GiveUp = Callable[["Subscription", PubsubMessage, int], bool]

_log = logging.getLogger(__name__)


class Subscription:
    """Thread-safe under the broker's lock. Expired leases are noticed when the next message is taken or waited for."""

    def __init__(
        self,
        resource: Resource,
        policy: Policy,
        lock: threading.RLock,
        give_up: GiveUp,
        clock: Clock = time.monotonic,
    ):
        self.resource = resource
        self.policy = policy
        self._changed = threading.Condition(lock)
        self._give_up = give_up
        self._clock = clock
        self._backlog = Backlog(resource.name)
        self._closed = False

    @property
    def name(self) -> str:
        return self.resource.name

    def __len__(self) -> int:
        """How many messages are not acknowledged."""
        with self._changed:
            return len(self._backlog)

    def add(self, message: PubsubMessage) -> None:
        """Hold a message until it is acknowledged."""
        with self._changed:
            self._backlog.add(Entry(message), self._clock())
            self._changed.notify()

    def take(
        self,
        maximum: int,
        lease_seconds: float = math.inf,
        wait_seconds: float = math.inf,
        wanted: Callable[[], bool] = lambda: True,
    ) -> list[Delivery]:
        """Lease up to `maximum` messages, waiting for the first one.

        Returns none when `wait_seconds` are over, when the subscription is closed, or when `wanted` is no longer
        true (call `wake` then, so that it is looked at).
        """
        give_up_at = self._clock() + wait_seconds
        with self._changed:
            try:
                return self._wait_and_take(maximum, lease_seconds, give_up_at, wanted)
            finally:
                # Whoever leaves may have been the one who was woken for, or kept the time of, another message.
                self._changed.notify()

    def acknowledge(self, ack_ids: Iterable[str]) -> None:
        """Forget these messages. An attempt that ended before (its lease is over) is ignored, as in Pub/Sub."""
        with self._changed:
            for ack_id in ack_ids:
                self._backlog.release(ack_id)

    def reject(self, ack_ids: Iterable[str]) -> None:
        """Deliver these messages again after the back-off, or give them up after the last attempt."""
        with self._changed:
            for ack_id in ack_ids:
                if entry := self._backlog.release(ack_id):
                    self._retry_or_give_up(entry)

    def extend(self, ack_ids: Iterable[str], seconds: float) -> None:
        """Let these attempts last for `seconds` from now."""
        with self._changed:
            for ack_id in ack_ids:
                self._backlog.extend(ack_id, self._clock() + seconds)
            self._changed.notify_all()

    def detach(self) -> None:
        """The topic is deleted: no message comes any more; those that are here are still delivered."""
        with self._changed:
            self.resource.topic = DELETED_TOPIC

    def close(self) -> None:
        """End all waiting, for good."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def wake(self) -> None:
        """Let those who wait look again whether they are still wanted."""
        with self._changed:
            self._changed.notify_all()

    def _wait_and_take(
        self, maximum: int, lease_seconds: float, give_up_at: float, wanted: Callable[[], bool]
    ) -> list[Delivery]:
        while not self._closed and wanted():
            now = self._clock()
            for entry in self._backlog.release_expired(now):
                self._retry_or_give_up(entry)
            if deliveries := self._backlog.take(maximum, now, now + lease_seconds):
                return deliveries
            if now >= give_up_at:
                break
            next_change = self._backlog.next_change()
            seconds = min(give_up_at, math.inf if next_change is None else next_change) - now
            self._changed.wait(None if math.isinf(seconds) else min(seconds, threading.TIMEOUT_MAX))
        return []

    def _retry_or_give_up(self, entry: Entry) -> None:
        dead_letters = self.policy.dead_letters
        if self._closed:
            return
        if dead_letters and entry.attempts >= dead_letters.max_attempts:
            if self._give_up(self, entry.message, entry.attempts):
                return
            _log.warning(
                "Message %s of %s is kept after %d attempts: the dead-letter topic %s does not exist.",
                entry.message.message_id,
                self.name,
                entry.attempts,
                dead_letters.topic,
            )
        self._backlog.add(entry, self._clock() + self.policy.backoff.seconds(entry.attempts))
        self._changed.notify()
