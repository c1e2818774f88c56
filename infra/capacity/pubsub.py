"""A push subscription: its window, both back-offs, and the dead letters after too many attempts.

Google's page (cloud.google.com/pubsub/docs/push) says how the window moves, not by how much. So there are three ways:

- `adaptive`: it begins small, grows by one with each success and shrinks by one with each refusal, and refusals make
  the whole subscription pause;
- `flood`: always 3,000 requests out, and no pause. Nothing uses up more attempts: the worst case;
- `paced`: as many as there are instances. Nobody is ever refused: what a pull subscription would do.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import simpy

from defacer.pipeline.topology import RetryPolicy
from infra.capacity.cloud_run import Answer, CloudRun, Request
from infra.capacity.inputs import inputs

Window = Literal["adaptive", "flood", "paced"]
MEMORY = 0.02  # of the share of refusals: about the last 50 answers


@dataclass(eq=False)
class Message:
    """One message. `of` is what it is about, `deaths` are those of instances that worked on it."""

    of: Any
    published_at: float
    attempts: int = 0
    ended: str = ""
    claimed_until: float = 0.0
    deaths: int = 0
    started_at: float | None = None


@dataclass(frozen=True)
class Handler:
    """What the function does with a message.

    `seconds` of a delivery is asked when an instance takes it; `succeeded` says whether it was done then; `done` and
    `dead` are called once, one of them, at the message's end.
    """

    seconds: Callable[[Message], float]
    succeeded: Callable[[Message, Answer], bool]
    done: Callable[[Message], None]
    dead: Callable[[Message], None]


@dataclass(frozen=True)
class Policy:
    """The subscription's settings."""

    backoff: RetryPolicy
    max_attempts: int
    window: Window


class Subscription:
    """The subscription at work. `deliveries`, `refused` and `oldest` are kept for the report."""

    def __init__(
        self, env: simpy.Environment, policy: Policy, service: CloudRun, maximum: int, handler: Handler
    ):
        self._env, self._policy, self._service, self._handler = env, policy, service, handler
        table = inputs()
        self._slow = table["push_window_slow"]
        self._pauses = table["push_backoff_min"], table["push_backoff_max"]
        self._window = {"adaptive": table["push_window_start"], "flood": self._slow, "paced": float(maximum)}[
            policy.window
        ]
        self._ready: deque[Message] = deque()
        self._out = 0
        self._share = 0.0
        self._paused_until = 0.0
        self._pump_planned = False
        self.deliveries = self.refused = 0
        self.unfinished = 0
        self.backlog: list[tuple[float, int]] = [(0.0, 0)]

    def publish(self, things: Iterable[Any]) -> None:
        for thing in things:
            self._ready.append(Message(thing, self._env.now))
            self.unfinished += 1
        self._note()
        self._pump()

    def _pump(self) -> None:
        if self._env.now < self._paused_until:
            if not self._pump_planned:
                self._pump_planned = True
                self._after(self._paused_until - self._env.now, self._planned_pump)
            return
        while self._ready and self._out < self._window:
            self._deliver(self._ready.popleft())

    def _planned_pump(self) -> None:
        self._pump_planned = False
        self._pump()

    def _after(self, seconds: float, then: Callable[[], None]) -> None:
        self._env.timeout(seconds).callbacks.append(lambda _: then())

    def _deliver(self, message: Message) -> None:
        message.attempts += 1
        self.deliveries += 1
        self._out += 1
        self._service.submit(
            Request(lambda: self._handler.seconds(message), lambda answer: self._answered(message, answer))
        )

    def _answered(self, message: Message, answer: Answer) -> None:
        self._out -= 1
        good = self._handler.succeeded(message, answer)
        self._share += MEMORY * ((not good) - self._share)
        if good:
            self._end(message, "done", self._handler.done)
            if self._policy.window == "adaptive":
                self._window = min(self._slow, self._window + 1)
        else:
            self.refused += answer is Answer.BUSY
            if self._policy.window == "adaptive":
                self._window = max(1.0, self._window - 1)
                least, most = self._pauses
                self._paused_until = self._env.now + least * (most / least) ** self._share
            if message.attempts >= self._policy.max_attempts:
                self._end(message, "dead", self._handler.dead)
            else:
                self._after(
                    self._policy.backoff.pause_seconds(message.attempts), lambda: self._again(message)
                )
        self._pump()

    def _again(self, message: Message) -> None:
        self._ready.append(message)
        self._pump()

    def _end(self, message: Message, how: str, tell: Callable[[Message], None]) -> None:
        if message.ended:
            raise RuntimeError(f"a message ended twice: {message.ended}, then {how}")
        message.ended = how
        self.unfinished -= 1
        self._note()
        tell(message)

    def _note(self) -> None:
        """The backlog once a minute is enough to draw it."""
        if self._env.now - self.backlog[-1][0] >= 60:
            self.backlog.append((self._env.now, self.unfinished))
