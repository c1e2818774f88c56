"""A simulated push subscription: its window, both backoffs, and dead letters after too many attempts.

Google's page (cloud.google.com/pubsub/docs/push) describes how the window changes, but not by how much. The simulation
has three windows:

- `adaptive` starts small, grows by one with each success and shrinks by one with each rejection. Rejections also pause
  the whole subscription.
- `flood` always has 3,000 requests in progress and never pauses. This is the worst case for attempts.
- `paced` has as many requests in progress as instances, so that none is rejected, as with a pull subscription.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import simpy

from defacer.pipeline.topology import RetryPolicy
from infra.capacity.inputs import inputs
from infra.capacity.simulated_cloud_run import Answer, SimulatedCloudRun, SimulatedRequest, call_after

PushWindow = Literal["adaptive", "flood", "paced"]
NEWEST_WEIGHT = 0.02  # in the average share of rejections, which covers about the last 50 responses


@dataclass(eq=False)
class SimulatedMessage:
    """A message. `subject` is its task."""

    subject: Any
    published_at: float
    attempts: int = 0
    has_ended: bool = False
    leased_until: float = 0.0
    started_at: float | None = None


@dataclass(frozen=True)
class SimulatedHandler:
    """The function's callbacks for a message.

    `seconds` returns the duration of a delivery when an instance starts it, `succeeded` whether it was acknowledged.
    At the message's end, either `done` or `dead` is called once.
    """

    seconds: Callable[[SimulatedMessage], float]
    succeeded: Callable[[SimulatedMessage, Answer], bool]
    done: Callable[[SimulatedMessage], None]
    dead: Callable[[SimulatedMessage], None]


@dataclass(frozen=True)
class SubscriptionSettings:
    """The subscription's settings."""

    backoff: RetryPolicy
    max_attempts: int
    window: PushWindow


class SimulatedSubscription:
    """The running subscription. `deliveries` and `backlog` are its statistics."""

    def __init__(
        self,
        env: simpy.Environment,
        policy: SubscriptionSettings,
        service: SimulatedCloudRun,
        maximum: int,
        handler: SimulatedHandler,
    ):
        self._env, self._policy, self._service, self._handler = env, policy, service, handler
        table = inputs()
        self._slow = table["push_window_slow"]
        self._pauses = table["push_backoff_min"], table["push_backoff_max"]
        self._window = {"adaptive": table["push_window_start"], "flood": self._slow, "paced": float(maximum)}[
            policy.window
        ]
        self._ready: deque[SimulatedMessage] = deque()
        self._in_progress = 0
        self._share = 0.0
        self._paused_until = 0.0
        self._is_delivery_scheduled = False
        self.deliveries = self.unfinished = 0
        self.backlog: list[tuple[float, int]] = [(0.0, 0)]

    def publish(self, subjects: Iterable[Any]) -> None:
        for subject in subjects:
            self._ready.append(SimulatedMessage(subject, self._env.now))
            self.unfinished += 1
        self._record_backlog()
        self._deliver_ready()

    def _deliver_ready(self) -> None:
        if self._env.now < self._paused_until:
            if not self._is_delivery_scheduled:
                self._is_delivery_scheduled = True
                call_after(self._env, self._paused_until - self._env.now, self._deliver_after_pause)
            return
        while self._ready and self._in_progress < self._window:
            self._deliver(self._ready.popleft())

    def _deliver_after_pause(self) -> None:
        self._is_delivery_scheduled = False
        self._deliver_ready()

    def _deliver(self, message: SimulatedMessage) -> None:
        message.attempts += 1
        self.deliveries += 1
        self._in_progress += 1
        self._service.submit(
            SimulatedRequest(
                lambda: self._handler.seconds(message), lambda answer: self._handle_response(message, answer)
            )
        )

    def _handle_response(self, message: SimulatedMessage, answer: Answer) -> None:
        self._in_progress -= 1
        is_acknowledged = self._handler.succeeded(message, answer)
        self._share += NEWEST_WEIGHT * ((not is_acknowledged) - self._share)
        if is_acknowledged:
            self._end(message, self._handler.done)
            if self._policy.window == "adaptive":
                self._window = min(self._slow, self._window + 1)
        else:
            if self._policy.window == "adaptive":
                self._window = max(1.0, self._window - 1)
                shortest, longest = self._pauses
                self._paused_until = self._env.now + shortest * (longest / shortest) ** self._share
            if message.attempts >= self._policy.max_attempts:
                self._end(message, self._handler.dead)
            else:
                pause = self._policy.backoff.pause_seconds(message.attempts)
                call_after(self._env, pause, lambda: self._redeliver(message))
        self._deliver_ready()

    def _redeliver(self, message: SimulatedMessage) -> None:
        self._ready.append(message)
        self._deliver_ready()

    def _end(self, message: SimulatedMessage, callback: Callable[[SimulatedMessage], None]) -> None:
        if message.has_ended:
            raise RuntimeError("a message ended twice")
        message.has_ended = True
        self.unfinished -= 1
        self._record_backlog()
        callback(message)

    def _record_backlog(self) -> None:
        """Record the backlog at most once a minute, which is enough for a plot."""
        if self._env.now - self.backlog[-1][0] >= 60:
            self.backlog.append((self._env.now, self.unfinished))
