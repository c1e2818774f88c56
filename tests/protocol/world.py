"""The scheduler of an interleaving, and Pub/Sub. It chooses which delivery runs next and which fault happens.

Each delivery of a message runs in its own thread, and only one thread runs at a time. At every request to storage or
messaging, a delivery chooses the next one and waits for its own turn. So the seed determines everything. After each
step the clock advances a little. When all deliveries are paused or waiting, it jumps to the time of the next message.
"""

import hashlib
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TypeVar

from google.api_core.exceptions import GoogleAPICallError, ServiceUnavailable

from defacer.dead_letter.handler import DELIVERIES
from defacer.pipeline.messaging.pubsub import Message
from tests.protocol.scenario import BUG, STALL_SECONDS, STALL_STEPS, Before, Scenario, Trouble

Answer = TypeVar("Answer")

UPLOADS, DEAD_LETTERS, JOB_EVENTS = "uploads", "dead-letters", "job-events"
ERASING = "erasing"  # not a topic, but the command that a person repeats until it succeeds
# The function that receives the messages of a topic, and how many at a time.
FUNCTIONS = {
    UPLOADS: ("ingest", 2),
    "segments": ("worker", 4),
    "segments-done": ("merge", 2),
    DEAD_LETTERS: ("dead_letter", 2),
    ERASING: ("erase", 1),
}
STEP_SECONDS = 0.1
BACKOFF_SECONDS = (1, 10, 40, 100)
# Between two actions while jobs wait for a person.
WAIT_SECONDS = (1, 60, 400)
MAX_STEPS = 6000
READS = ("start", "find", "read", "list")
BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)


class Killed(BaseException):
    """Unwinds the thread of a process that was killed. Its requests have no effect until the thread ends."""


def locked() -> threading.Lock:
    """Return a locked lock, to wait for until another thread releases it. It is faster than a semaphore."""
    lock = threading.Lock()
    lock.acquire()
    return lock


class EndlessError(Exception):
    """The interleaving does not end."""


@dataclass
class Queued:
    """A waiting message, when it is due, and how often it was delivered."""

    topic: str
    message: Message
    due: float
    deliveries: int = 0


@dataclass
class Delivery:
    """A running delivery of a message. `is_late`: its acknowledgement deadline has passed."""

    number: int
    function: str
    queued: Queued
    label: str = "start"
    decision: str = "go"
    frozen_until_step: int = 0
    is_late: bool = False
    is_dead: bool = False
    baton: threading.Lock = field(default_factory=locked)

    def __str__(self) -> str:
        return f"{self.function} #{self.number} ({self.queued.message.id})"


@dataclass
class World:
    """One interleaving. `handle` calls a function with a message and returns whether the message was acknowledged.

    `wait` is called when nothing else is left to do. It returns the next action of a user or a clock, or None.

    `orphans` are failed deliveries whose message was not redelivered for that: it was dead-lettered, or another
    delivery succeeded.
    """

    scenario: Scenario
    rng: random.Random
    handle: Callable[[str, Message], bool]
    act: Callable[[str], None]
    wait: Callable[[], str | None] = lambda: None
    seconds: float = 0.0
    step: int = 0
    deliveries: int = 0
    deliveries_in_peace: int = 0
    waiting: list[Queued] = field(default_factory=list)
    history: list[Queued] = field(default_factory=list)
    events: list[bytes] = field(default_factory=list)
    trace: list[tuple[int, str, str, str]] = field(default_factory=list)
    orphans: set[int] = field(default_factory=set)
    counts: dict[str, int] = field(default_factory=dict)
    _actions: dict[int, str] = field(default_factory=dict)
    _actions_before: list[Before] = field(default_factory=list)
    _held_back: list[Trouble] = field(default_factory=list)
    _endless: bool = False
    _running_deliveries: list[Delivery] = field(default_factory=list)
    _running: Delivery | None = None
    _last: Delivery | None = None
    _control: threading.Lock = field(default_factory=locked)

    # The interface for the model's clients, clocks and users.

    def now(self, zone: tzinfo) -> datetime:
        return BEGINNING + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    def writer(self) -> int | None:
        return self._running.number if self._running else None

    def function(self) -> str | None:
        return self._running.function if self._running else None

    @contextmanager
    def as_a_user(self) -> Iterator[None]:
        """Run the block as a user: no delivery gets a turn, and no fault happens."""
        before, self._running = self._running, None
        try:
            yield
        finally:
            self._running = before

    def send(self, topic: str, data: bytes, attributes: dict[str, str]) -> None:
        if topic == JOB_EVENTS:
            self.events.append(data)
            return
        queued = Queued(topic, Message(f"m{len(self.history)}", attributes, data), self.seconds)
        self.history.append(queued)
        self.waiting.append(queued)

    def gate(self, label: str, effect: Callable[[], Answer]) -> Answer:
        """Let the next delivery run. When this one has its turn again, carry out the decision about its request."""
        delivery = self._running
        if delivery is None:  # a user, or the check at the end
            return effect()
        if delivery.is_dead:
            raise Killed
        delivery.label = label
        if self._pass_on() is not delivery:
            delivery.baton.acquire()
        return self._carry_out(delivery, effect)

    def _carry_out(self, delivery: Delivery, effect: Callable[[], Answer]) -> Answer:
        decision = delivery.decision
        if decision == "killed before":
            delivery.is_dead = True
            raise Killed
        if decision == BUG:
            raise TypeError(decision)
        if decision == "fault before":
            raise ServiceUnavailable(decision)
        error: GoogleAPICallError | None = None
        answer: Answer | None = None
        for _ in range(2 if decision == "lost answer" else 1):
            try:
                answer, error = effect(), None
            except GoogleAPICallError as found:
                error = found
        if decision == "killed after":
            delivery.is_dead = True
            raise Killed
        if decision == "fault after":
            raise ServiceUnavailable(decision)
        if error is not None:
            raise error
        return answer  # effect's, if it did not raise

    # The scheduler. It runs in the thread of the delivery that has the turn.

    def run(self) -> None:
        """Run until no message waits and no delivery runs. Raises EndlessError if that takes too many steps."""
        self._actions = dict(sorted(self.scenario.actions.items()))
        self._actions_before = list(self.scenario.actions_before)
        if self._pass_on() is not None:
            self._control.acquire()
        self._running = None
        if self._endless:
            self._end()
            raise EndlessError(f"not done after {self.step} steps")

    def _pass_on(self) -> Delivery | None:
        """Wake the delivery with the next turn if it is another one, or the caller of `run` at the end."""
        # Once another thread is awake, this one must not read the world's state.
        before = self._running
        self._running = chosen = self._next()
        if chosen is None:
            self._control.release()
        elif chosen is not before:
            chosen.baton.release()
        return chosen

    def _next(self) -> Delivery | None:
        while not self._endless:
            for step in [step for step in self._actions if step <= self.step]:
                self._user(self._actions.pop(step))
            delivery = self._choose()
            if delivery is not None:
                if self._can_continue(delivery):
                    return delivery
            elif due := [queued.due for queued in self.waiting if self._has_room(queued)]:
                self.seconds = min(due)
            elif self._running_deliveries:
                min(
                    self._running_deliveries, key=lambda frozen: frozen.frozen_until_step
                ).frozen_until_step = 0
            elif self._actions:
                self._user(self._actions.pop(next(iter(self._actions))))
            elif action := self.wait():
                self.seconds += self.rng.choice(WAIT_SECONDS)
                self._user(action)
            else:
                return None
        return None

    def digest(self) -> bytes:
        """Return a digest of all choices: interleavings with the same digest are the same."""
        return hashlib.blake2b(repr(self.trace).encode(), digest_size=8).digest()

    def _end(self) -> None:
        """End the threads of the deliveries that still run."""
        for delivery in self._running_deliveries:
            delivery.is_dead = True
            delivery.decision = "killed before"
            self._running = delivery
            delivery.baton.release()
            self._control.acquire()

    def _user(self, action: str) -> None:
        self.trace.append((self.step, "user", action, ""))
        kind = action.split(" ")[0] if action.startswith("erase") else action
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self.deliveries_in_peace = 0
        self.act(action)

    def _has_room(self, queued: Queued) -> bool:
        function, room = FUNCTIONS[queued.topic]
        return sum(delivery.function == function for delivery in self._running_deliveries) < room

    def _choose(self) -> Delivery | None:
        awake = [delivery for delivery in self._running_deliveries if delivery.frozen_until_step <= self.step]
        if self._last in awake and self.rng.random() < self.scenario.keep_going:
            return self._last
        due = [queued for queued in self.waiting if queued.due <= self.seconds and self._has_room(queued)]
        if not awake and not due:
            return None
        candidates: list[Delivery | Queued] = [*awake, *due]
        chosen = self.rng.choice(candidates)
        return chosen if isinstance(chosen, Delivery) else self._deliver(chosen)

    def _deliver(self, queued: Queued) -> Delivery:
        self.waiting.remove(queued)
        queued.deliveries += 1
        self.deliveries += 1
        self.deliveries_in_peace += 1
        delivery = Delivery(self.deliveries, FUNCTIONS[queued.topic][0], queued)
        self._running_deliveries.append(delivery)
        threading.Thread(target=self._work, args=(delivery,), daemon=True).start()
        return delivery

    def _work(self, delivery: Delivery) -> None:
        delivery.baton.acquire()
        answer = "killed"
        with suppress(Killed):
            if not delivery.is_dead:
                answer = (
                    "acknowledged"
                    if self.handle(delivery.function, delivery.queued.message)
                    else "redelivered"
                )
        if self._endless:
            self._control.release()
            return
        self.trace.append((self.step, str(delivery), answer, ""))
        self._running_deliveries.remove(delivery)
        if answer != "acknowledged":
            if delivery.is_late:
                self.orphans.add(delivery.number)
            else:
                self._redeliver(delivery.queued)
        self._pass_on()

    def _can_continue(self, delivery: Delivery) -> bool:
        """Decide the outcome of the request that the delivery waits with. Return False if it is paused instead."""
        for before in [before for before in self._actions_before if before.hits(delivery.label)]:
            self._actions_before.remove(before)
            if before.times > 1:
                self._actions_before.append(replace(before, times=before.times - 1))
            else:
                self._user(before.action)
                if self.rng.random() < 0.5:  # and the delivery with this request is paused
                    self._held_back.insert(0, Trouble("stall", ""))
        trouble = self._trouble_for(delivery)
        self.trace.append((self.step, str(delivery), delivery.label, trouble))
        self._endless = self.step > MAX_STEPS
        self.step += 1
        self.seconds += STEP_SECONDS
        self._last = delivery
        if trouble != "go":
            self.counts[trouble] = self.counts.get(trouble, 0) + 1
            self.deliveries_in_peace = 0
        if trouble == "stall":
            self.seconds += self.rng.choice(STALL_SECONDS)
            delivery.frozen_until_step = self.step + self.rng.choice(STALL_STEPS)
        elif trouble == "duplicate":
            self.waiting.append(replace(self.rng.choice(self.history), due=self.seconds))
        if not delivery.is_late and (
            trouble == "timeout" or (trouble == "stall" and self.rng.random() < 0.5)
        ):
            delivery.is_late = True
            self._redeliver(delivery.queued)
        if trouble.startswith("killed") and delivery.label == "start":
            delivery.is_dead = True
        delivery.decision = trouble
        return trouble != "stall" and not self._endless

    def _trouble_for(self, delivery: Delivery) -> str:
        """Return the fault of this step. Most faults wait for a write, where they have more consequences."""
        if self.step in self.scenario.trouble:
            self._held_back.append(self.scenario.trouble[self.step])
        if not self._held_back or (delivery.label.startswith(READS) and self.rng.random() < 0.9):
            return "go"
        for trouble in self._held_back:
            if trouble.hits(delivery.label):
                self._held_back.remove(trouble)
                return trouble.kind
        return "go"

    def _redeliver(self, queued: Queued) -> None:
        """Deliver the message again after a pause, or send it to the dead letters."""
        most = self.scenario.deliveries.get(FUNCTIONS[queued.topic][0])
        if most is not None and queued.deliveries >= most:
            attributes = {**queued.message.attributes, DELIVERIES: str(queued.deliveries)}
            self.send(DEAD_LETTERS, queued.message.data, attributes)
            return
        pause = BACKOFF_SECONDS[-1] if queued.deliveries > 4 else self.rng.choice(BACKOFF_SECONDS)
        self.waiting.append(replace(queued, due=self.seconds + pause))
