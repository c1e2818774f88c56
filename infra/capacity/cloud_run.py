"""A Cloud Run service: instances that start cold, wait, linger, are billed, and sometimes die.

A request that finds no instance free waits; if none gets free in time it is refused, as with 429. Who may start an
instance does: Cloud Run starts as many as requests wait for, up to the service's maximum.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from random import Random

import simpy

from infra.capacity.inputs import inputs


class Answer(Enum):
    """How a request ended: answered, refused because nobody was free, or cut off because its instance died."""

    DONE = auto()
    BUSY = auto()
    DIED = auto()


@dataclass(frozen=True)
class Request:
    """`seconds` is asked when an instance takes the request; `ended` is called once."""

    seconds: Callable[[], float]
    ended: Callable[[Answer], None]


@dataclass(frozen=True)
class Service:
    """Its settings. `deaths_per_hour` is for each instance that works."""

    maximum: int
    start_seconds: float
    concurrency: int = 1
    deaths_per_hour: float = 0.0


@dataclass(eq=False)
class _Instance:
    started_at: float
    requests: int = 0
    idle_since: float | None = None


class CloudRun:
    """The service at work. It counts the seconds that instances lived, worked and started; `count` is their history."""

    def __init__(self, env: simpy.Environment, random: Random, service: Service):
        self._env, self._random, self._service = env, random, service
        table = inputs()
        self._linger = (table["linger_min"], table["linger_max"])
        self._pending = table["pending_seconds"]
        self._pending_at_start = max(self._pending, table["pending_of_start"] * service.start_seconds)
        self._waiting: deque[tuple[float, Request]] = deque()
        self._free: list[_Instance] = []  # the one used last is at the end, and is taken first
        self._instances = self._starting = 0
        self._watching = False
        self.lived_seconds = self.busy_seconds = self.start_seconds = 0.0
        self.count: list[tuple[float, int]] = [(0.0, 0)]

    def submit(self, request: Request) -> None:
        if self._free:
            self._give(self._free[-1], request)
            return
        capacity = self._starting * self._service.concurrency
        if self._instances < self._service.maximum and len(self._waiting) >= capacity:
            self._start()
        patience = self._pending_at_start if self._starting else self._pending
        self._waiting.append((self._env.now + patience, request))
        self._watch()

    def _after(self, seconds: float, then: Callable[[], None]) -> None:
        self._env.timeout(seconds).callbacks.append(lambda _: then())

    def _start(self) -> None:
        instance = _Instance(self._env.now)
        self._starting += 1
        self.start_seconds += self._service.start_seconds
        self._change(1)

        def ready() -> None:
            self._starting -= 1
            self._free.append(instance)
            self._serve(instance)

        self._after(self._service.start_seconds, ready)

    def _change(self, by: int) -> None:
        self._instances += by
        self.count.append((self._env.now, self._instances))

    def _give(self, instance: _Instance, request: Request) -> None:
        instance.requests += 1
        instance.idle_since = None
        if instance.requests == self._service.concurrency:
            self._free.remove(instance)
        seconds = request.seconds()
        lives = (
            self._random.expovariate(self._service.deaths_per_hour / 3600)
            if self._service.deaths_per_hour
            else seconds
        )
        self.busy_seconds += min(seconds, lives)
        if lives < seconds:
            self._after(lives, lambda: self._died(instance, request))
        else:
            self._after(seconds, lambda: self._done(instance, request))

    def _done(self, instance: _Instance, request: Request) -> None:
        if instance.requests == self._service.concurrency:
            self._free.append(instance)
        instance.requests -= 1
        self._serve(instance)
        request.ended(Answer.DONE)

    def _died(self, instance: _Instance, request: Request) -> None:
        """Only services of concurrency one have deaths: there is no other request on the instance."""
        self._end(instance)
        if len(self._waiting) > self._starting:
            self._start()
        request.ended(Answer.DIED)

    def _serve(self, instance: _Instance) -> None:
        """Let an instance that has become free take who waits, or begin to linger."""
        self._refuse_late()
        while self._waiting and instance.requests < self._service.concurrency:
            self._give(instance, self._waiting.popleft()[1])
        if instance.requests == 0:
            instance.idle_since = since = self._env.now

            def too_long() -> None:
                if instance.idle_since == since:
                    self._free.remove(instance)
                    self._end(instance)

            self._after(self._random.uniform(*self._linger), too_long)

    def _end(self, instance: _Instance) -> None:
        self.lived_seconds += self._env.now - instance.started_at
        self._change(-1)

    def _watch(self) -> None:
        """Wake up when the patience of the first who waits is over."""
        if self._watching or not self._waiting:
            return
        self._watching = True

        def look() -> None:
            self._watching = False
            self._refuse_late()
            self._watch()

        self._after(max(0.0, self._waiting[0][0] - self._env.now), look)

    def _refuse_late(self) -> None:
        late = []
        while self._waiting and self._waiting[0][0] <= self._env.now:
            late.append(self._waiting.popleft()[1])
        for request in late:
            request.ended(Answer.BUSY)
