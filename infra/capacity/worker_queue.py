"""The simulated workers: segments wait in one queue, and instances start on demand, linger and are removed.

The queue is first come, first served, as with a pull subscription. A channel has its share of the queue, as
`functions/defacer/pipeline/admission.py` says. Pub/Sub's push window, rejected deliveries and dead
instances are not simulated. `patience.py` says how long a message can wait.
"""

import heapq
import sys
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from infra.capacity.inputs import inputs
from infra.capacity.speed import (
    Kind,
    Step,
    second_price,
    seconds_per_video_second,
    small_price,
    storage_price,
)
from infra.capacity.uploads import SimulatedUpload

SMALL_CPU, SMALL_GIB = 1, 1  # of ingest and merge
SHARE_OF_WORKERS = 2  # of a channel in the queue, by the number of workers (infra/names.tf)


@dataclass
class Outcome:
    """The result of a simulation. Times are in seconds, costs in USD.

    An instance is `started` for its cold start, `worked` while it has a segment, and `lived` from start to removal.
    """

    kind: Kind
    maximum: int
    video_seconds: float = 0.0
    segments: int = 0
    used: int = 0
    ended_at: float = 0.0
    started: float = 0.0
    worked: float = 0.0
    lived: float = 0.0
    small_worked: float = 0.0
    waits: list[float] = field(default_factory=list, repr=False)
    published: list[tuple[SimulatedUpload, float]] = field(default_factory=list, repr=False)

    @property
    def job_seconds(self) -> list[float]:
        """Return the time from upload to published of each video."""
        return [at - upload.at for upload, at in self.published]

    @property
    def use(self) -> float:
        """Return the workers' utilization: the share of their lifetime that was work."""
        return self.worked / self.lived

    @property
    def cost(self) -> float:
        """Return the cost of the workers, of ingest and merge with one message at a time, and of storage requests."""
        seconds = self.lived if self.kind == "gpu" else self.worked + self.started
        requests = 4 * self.segments * inputs()["request"]  # a task and its completion, in both steps
        small = self.small_worked * small_price(SMALL_CPU, SMALL_GIB)
        return seconds * second_price(self.kind) + small + requests + storage_price(self.segments)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which this share of the values is (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@dataclass
class _Job:
    upload: SimulatedUpload
    lengths: tuple[float, ...]
    window: int
    missing: int = 0
    unpublished: deque[float] = field(default_factory=deque)

    @property
    def in_queue(self) -> int:
        return min(len(self.lengths), self.window)


@dataclass
class _Channel:
    """The jobs of a channel that wait for their turn, and the segments of its other jobs in the queue."""

    waiting: deque[_Job] = field(default_factory=deque)
    in_queue: int = 0


def simulate(
    uploads: Sequence[SimulatedUpload], kind: Kind, maximum: int, *, has_shares: bool = True
) -> Outcome:
    """Simulate until every job is published. Without shares, all tasks are published at once."""
    share = SHARE_OF_WORKERS * maximum if has_shares else sys.maxsize
    return _Simulation(kind, maximum, share).run(uploads)


class _Simulation:
    """`_idle` has the times since when instances are idle, oldest first, and `_waiting` the segments in the queue."""

    def __init__(self, kind: Kind, maximum: int, share: int):
        self._share = share
        self._channels: defaultdict[object, _Channel] = defaultdict(_Channel)
        self._out = Outcome(kind, maximum)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0
        self._now = 0.0
        self._busy = 0
        self._idle: deque[float] = deque()
        self._waiting: deque[tuple[float, _Job, Step, float]] = deque()
        self._linger = (inputs()["linger_min"] + inputs()["linger_max"]) / 2

    def run(self, uploads: Sequence[SimulatedUpload]) -> Outcome:
        for upload in uploads:
            job = _Job(upload, upload.segments(), max(1, self._share // 2))
            self._out.segments += len(job.lengths)
            self._out.video_seconds += upload.seconds
            self._out.small_worked += inputs()["ingest_seconds"]
            self._after(upload.at + inputs()["ingest_seconds"], partial(self._arrive, job))
        while self._events:
            self._now, _, happen = heapq.heappop(self._events)
            happen()
        self._remove_idle(float("inf"))
        return self._out

    def _after(self, seconds: float, happen: Callable[[], None]) -> None:
        self._number += 1  # events of the same moment happen in their order
        heapq.heappush(self._events, (self._now + seconds, self._number, happen))

    def _channel_of(self, job: _Job) -> _Channel:
        return self._channels[job.upload.channel or id(job)]

    def _arrive(self, job: _Job) -> None:
        channel = self._channel_of(job)
        channel.waiting.append(job)
        self._admit(channel)

    def _admit(self, channel: _Channel) -> None:
        while channel.waiting and channel.in_queue < self._share:
            job = channel.waiting.popleft()
            channel.in_queue += job.in_queue
            self._dispatch(job, "detect")

    def _dispatch(self, job: _Job, step: Step) -> None:
        job.missing = len(job.lengths)
        job.unpublished.extend(job.lengths)
        for _ in range(job.in_queue):
            self._publish(job, step)
        self._remove_idle(self._now)
        self._assign()

    def _publish(self, job: _Job, step: Step) -> None:
        """Publish the next task of the job, if any."""
        if job.unpublished:
            factor = seconds_per_video_second(self._out.kind, step, job.upload.size)
            seconds = inputs()["segment_overhead_seconds"] + job.unpublished.popleft() * factor
            self._waiting.append((self._now, job, step, seconds))

    def _assign(self) -> None:
        """Give waiting segments to idle instances, the last used one first, and start instances for the rest."""
        while self._waiting and (self._idle or self._busy < self._out.maximum):
            start = 0.0
            if self._idle:
                self._out.lived += self._now - self._idle.pop()
            else:
                start = inputs()[f"cold_start_{self._out.kind}"]
            self._busy += 1
            self._out.used = max(self._out.used, self._busy)
            self._work(start)

    def _work(self, start: float = 0.0) -> None:
        since, job, step, seconds = self._waiting.popleft()
        self._out.waits.append(self._now + start - since)
        self._out.started += start
        self._out.worked += seconds
        self._out.lived += start + seconds
        self._after(start + seconds, partial(self._finish, job, step))

    def _finish(self, job: _Job, step: Step) -> None:
        self._publish(job, step)
        if self._waiting:
            self._work()
        else:
            self._busy -= 1
            self._idle.append(self._now)
        job.missing -= 1
        if job.missing:
            self._out.small_worked += inputs()["merge_message_seconds"]
            return
        table, upload = inputs(), job.upload
        seconds = table["segment_overhead_seconds"] + (
            upload.seconds * table["link_ms_per_video_second"] / 1000
            if step == "detect"
            else upload.gigabytes * table["join_seconds_per_gb"]
        )
        self._out.small_worked += seconds
        self._after(
            seconds, partial(self._dispatch, job, "redact") if step == "detect" else partial(self._end, job)
        )

    def _end(self, job: _Job) -> None:
        self._out.published.append((job.upload, self._now))
        self._out.ended_at = self._now
        channel = self._channel_of(job)
        channel.in_queue -= job.in_queue
        self._admit(channel)

    def _remove_idle(self, now: float) -> None:
        while self._idle and self._idle[0] + self._linger <= now:
            self._idle.popleft()
            self._out.lived += self._linger
