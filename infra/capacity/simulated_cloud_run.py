"""A simulated Cloud Run service, whose instances start cold, stay idle, are billed, and sometimes die.

A request waits for a free instance, and is rejected (429) if none becomes free in time. Cloud Run starts as many
instances as requests wait for, up to the service's maximum.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from random import Random

import simpy

from infra.capacity.inputs import inputs


class Answer(Enum):
    """How a request ended: with a response, rejected without a free instance, or lost with its instance."""

    DONE = auto()
    BUSY = auto()
    DIED = auto()


@dataclass(frozen=True)
class SimulatedRequest:
    """A request. `seconds` is called when an instance starts it, `ended` once at its end."""

    seconds: Callable[[], float]
    ended: Callable[[Answer], None]


def call_after(env: simpy.Environment, seconds: float, then: Callable[[], None]) -> None:
    """Call a function after this time of the simulation."""
    env.timeout(seconds).callbacks.append(lambda _: then())


@dataclass(frozen=True)
class Service:
    """The service's settings. `deaths_per_hour` is the rate of each busy instance."""

    maximum: int
    start_seconds: float
    concurrency: int = 1
    deaths_per_hour: float = 0.0


@dataclass(eq=False)
class _Instance:
    started_at: float
    requests: int = 0
    idle_since: float | None = None


class SimulatedCloudRun:
    """The running service. It sums up the instances' seconds of life, work and start. `count` is their history."""

    def __init__(self, env: simpy.Environment, random: Random, service: Service):
        self._env, self._random, self._service = env, random, service
        table = inputs()
        self._linger = (table["linger_min"], table["linger_max"])
        self._pending = table["pending_seconds"]
        self._pending_at_start = max(self._pending, table["pending_of_start"] * service.start_seconds)
        self._waiting: deque[tuple[float, SimulatedRequest]] = deque()
        self._free: list[_Instance] = []  # the most recently used is last, and is used first
        self._instances = self._starting = 0
        self._is_timeout_scheduled = False
        self.lived_seconds = self.busy_seconds = self.start_seconds = 0.0
        self.count: list[tuple[float, int]] = [(0.0, 0)]

    def submit(self, request: SimulatedRequest) -> None:
        if self._free:
            self._assign(self._free[-1], request)
            return
        capacity = self._starting * self._service.concurrency
        if self._instances < self._service.maximum and len(self._waiting) >= capacity:
            self._start()
        patience = self._pending_at_start if self._starting else self._pending
        self._waiting.append((self._env.now + patience, request))
        self._schedule_timeout()

    def _start(self) -> None:
        instance = _Instance(self._env.now)
        self._starting += 1
        self.start_seconds += self._service.start_seconds
        self._count_instances(1)

        def ready() -> None:
            self._starting -= 1
            self._free.append(instance)
            self._serve(instance)

        call_after(self._env, self._service.start_seconds, ready)

    def _count_instances(self, by: int) -> None:
        self._instances += by
        self.count.append((self._env.now, self._instances))

    def _assign(self, instance: _Instance, request: SimulatedRequest) -> None:
        instance.requests += 1
        instance.idle_since = None
        if instance.requests == self._service.concurrency:
            self._free.remove(instance)
        seconds = request.seconds()
        lifetime = (
            self._random.expovariate(self._service.deaths_per_hour / 3600)
            if self._service.deaths_per_hour
            else seconds
        )
        self.busy_seconds += min(seconds, lifetime)
        if lifetime < seconds:
            call_after(self._env, lifetime, lambda: self._end_by_death(instance, request))
        else:
            call_after(self._env, seconds, lambda: self._finish(instance, request))

    def _finish(self, instance: _Instance, request: SimulatedRequest) -> None:
        if instance.requests == self._service.concurrency:
            self._free.append(instance)
        instance.requests -= 1
        self._serve(instance)
        request.ended(Answer.DONE)

    def _end_by_death(self, instance: _Instance, request: SimulatedRequest) -> None:
        """End an instance and its request. Only services with a concurrency of 1 have deaths."""
        self._end(instance)
        if len(self._waiting) > self._starting:
            self._start()
        request.ended(Answer.DIED)

    def _serve(self, instance: _Instance) -> None:
        """Assign waiting requests to an instance that became free, or let it idle until it is removed."""
        self._reject_timed_out()
        while self._waiting and instance.requests < self._service.concurrency:
            self._assign(instance, self._waiting.popleft()[1])
        if instance.requests == 0:
            instance.idle_since = since = self._env.now

            def end_if_still_idle() -> None:
                if instance.idle_since == since:
                    self._free.remove(instance)
                    self._end(instance)

            call_after(self._env, self._random.uniform(*self._linger), end_if_still_idle)

    def _end(self, instance: _Instance) -> None:
        self.lived_seconds += self._env.now - instance.started_at
        self._count_instances(-1)

    def _schedule_timeout(self) -> None:
        """Schedule the rejection of the request that has waited longest."""
        if self._is_timeout_scheduled or not self._waiting:
            return
        self._is_timeout_scheduled = True

        def time_out() -> None:
            self._is_timeout_scheduled = False
            self._reject_timed_out()
            self._schedule_timeout()

        call_after(self._env, max(0.0, self._waiting[0][0] - self._env.now), time_out)

    def _reject_timed_out(self) -> None:
        timed_out = []
        while self._waiting and self._waiting[0][0] <= self._env.now:
            timed_out.append(self._waiting.popleft()[1])
        for request in timed_out:
            request.ended(Answer.BUSY)
