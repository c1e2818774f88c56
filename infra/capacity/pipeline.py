"""The simulated pipeline: uploads pass through ingest, detect, link, redact and join.

Uploads and segments are simulated message by message, and so is the last message of each step to merge. The other
messages to merge take a fifth of a second each and are only counted. Instances of ingest and merge never die here.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random

import simpy

from defacer.pipeline.topology import CLOUD_RETRIES, FUNCTIONS, MAX_TASK_REQUEUES, RetryPolicy
from infra.capacity.inputs import inputs
from infra.capacity.simulated_cloud_run import Answer, Service, SimulatedCloudRun, call_after
from infra.capacity.simulated_pubsub import (
    PushWindow,
    SimulatedHandler,
    SimulatedMessage,
    SimulatedSubscription,
    SubscriptionSettings,
)
from infra.capacity.simulated_uploads import SimulatedUpload, default_settings
from infra.capacity.speed import (
    Kind,
    Step,
    second_price,
    seconds_per_video_second,
    small_price,
    storage_price,
)

BY_NAME = {function.name: function for function in FUNCTIONS}
SMALL_MAXIMUM = 20  # instances of ingest and of merge
SMALL_CPU, SMALL_GIB = 1, 1
LEASE_TAKEN_SECONDS = 0.3  # the duration of a delivery while another instance has the lease


@dataclass(frozen=True)
class Scenario:
    """The settings of a simulation."""

    kind: Kind
    maximum: int
    window: PushWindow = "adaptive"
    retries: RetryPolicy = CLOUD_RETRIES
    max_attempts: int = BY_NAME["worker"].max_delivery_attempts
    seed: int = 1


@dataclass(eq=False)
class _Job:
    upload: SimulatedUpload
    lengths: tuple[float, ...]
    missing: int = 0
    failed: bool = False


@dataclass(frozen=True)
class _Task:
    """A step of a segment. `requeues` counts its message's requeues, `since` is its first publication."""

    job: _Job
    step: Step
    seconds: float
    requeues: int = 0
    since: float | None = None


@dataclass(frozen=True)
class _StepEnd:
    """The message of a step's last segment. Merge then links, or joins and publishes."""

    job: _Job
    step: Step
    seconds: float


@dataclass
class Outcome:
    """The result of a simulation. Times are in seconds, costs in USD. A segment message is a step of a segment.

    `requeued` counts messages that found no free instance until they were exhausted, and that dead_letter requeued.
    """

    scenario: Scenario
    jobs: int = 0
    completed: int = 0
    failed: int = 0
    segment_messages: int = 0
    done: int = 0
    dead: int = 0
    requeued: int = 0
    deliveries: int = 0
    ended_at: float = 0.0
    waits: list[float] = field(default_factory=list, repr=False)
    job_seconds: list[float] = field(default_factory=list, repr=False)
    attempts: Counter[int] = field(default_factory=Counter, repr=False)
    lived: float = 0.0
    worked: float = 0.0
    started: float = 0.0
    small_worked: float = 0.0
    video_seconds: float = 0.0
    instances: list[tuple[float, int]] = field(default_factory=list, repr=False)
    backlog: list[tuple[float, int]] = field(default_factory=list, repr=False)

    @property
    def use(self) -> float:
        """Return the workers' utilization: the share of their lifetime that was work."""
        return self.worked / self.lived if self.lived else 0.0

    @property
    def cost(self) -> float:
        """Return the cost of the workers, of ingest and merge with one message at a time, and of storage requests."""
        seconds = self.lived if self.scenario.kind == "gpu" else self.worked + self.started
        requests = (self.deliveries + self.done) * inputs()["request"]
        small = self.small_worked * small_price(SMALL_CPU, SMALL_GIB)
        return (
            seconds * second_price(self.scenario.kind)
            + small
            + requests
            + storage_price(self.segment_messages / 2)
        )


def simulate(uploads: Sequence[SimulatedUpload], scenario: Scenario) -> Outcome:
    """Simulate until every message and every job has ended."""
    return _Pipeline(uploads, scenario).run()


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which this share of the values is (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


class _Pipeline:
    def __init__(self, uploads: Sequence[SimulatedUpload], scenario: Scenario):
        table = inputs()
        self._env = simpy.Environment()
        self._random = Random(scenario.seed)
        self._scenario, self._uploads = scenario, uploads
        self._out = Outcome(
            scenario, jobs=len(uploads), video_seconds=sum(upload.seconds for upload in uploads)
        )
        self._worker = SimulatedCloudRun(
            self._env,
            self._random,
            Service(
                scenario.maximum,
                table[f"cold_start_{scenario.kind}"],
                deaths_per_hour=table["deaths_per_hour"],
            ),
        )
        self._segments = SimulatedSubscription(
            self._env,
            SubscriptionSettings(scenario.retries, scenario.max_attempts, scenario.window),
            self._worker,
            scenario.maximum,
            SimulatedHandler(
                self._segment_seconds, self._segment_succeeded, self._segment_done, self._segment_dead
            ),
        )
        self._small_services: list[SimulatedCloudRun] = []
        self._ingest = self._small_function("ingest", lambda _: table["ingest_seconds"], self._planned)
        self._merge = self._small_function("merge", lambda message: message.subject.seconds, self._merged)

    def run(self) -> Outcome:
        for upload in self._uploads:
            call_after(self._env, upload.at, partial(self._arrive, upload))
        self._env.run()
        out = self._out
        out.deliveries = self._segments.deliveries
        worker, small = self._worker, self._small_services
        out.lived, out.worked, out.started = worker.lived_seconds, worker.busy_seconds, worker.start_seconds
        others = max(0, out.done - 2 * out.completed) * inputs()["merge_message_seconds"]
        out.small_worked = others + sum(service.busy_seconds + service.start_seconds for service in small)
        out.instances = self._worker.count
        out.backlog = [*self._segments.backlog, (out.ended_at, self._segments.unfinished)]
        return out

    def _small_function(
        self,
        name: str,
        seconds: Callable[[SimulatedMessage], float],
        done: Callable[[SimulatedMessage], None],
    ) -> SimulatedSubscription:
        """Return the subscription of ingest or merge, whose deliveries are short and always succeed."""
        function = BY_NAME[name]
        service = SimulatedCloudRun(
            self._env,
            self._random,
            Service(SMALL_MAXIMUM, inputs()["cold_start_cpu"], concurrency=function.concurrency),
        )
        self._small_services.append(service)
        policy = SubscriptionSettings(CLOUD_RETRIES, function.max_delivery_attempts, "adaptive")
        handler = SimulatedHandler(seconds, lambda _, answer: answer is Answer.DONE, done, self._small_dead)
        return SimulatedSubscription(self._env, policy, service, SMALL_MAXIMUM, handler)

    def _arrive(self, upload: SimulatedUpload) -> None:
        self._ingest.publish([_Job(upload, upload.segments())])

    def _planned(self, message: SimulatedMessage) -> None:
        self._fan_out(message.subject, "detect")

    def _fan_out(self, job: _Job, step: Step) -> None:
        job.missing = len(job.lengths)
        self._out.segment_messages += job.missing
        factor = seconds_per_video_second(self._scenario.kind, step, job.upload.size)
        overhead, spread = inputs()["segment_overhead_seconds"], inputs()["duration_spread"]
        self._segments.publish(
            _Task(
                job, step, overhead + length * factor * self._random.lognormvariate(-(spread**2) / 2, spread)
            )
            for length in job.lengths
        )

    def _segment_seconds(self, message: SimulatedMessage) -> float:
        task: _Task = message.subject
        if self._env.now < message.leased_until or task.job.failed:
            return LEASE_TAKEN_SECONDS
        message.started_at = self._env.now
        return task.seconds

    def _segment_succeeded(self, message: SimulatedMessage, answer: Answer) -> bool:
        """Return whether the delivery succeeded. The lease of a dead instance blocks the segment."""
        task: _Task = message.subject
        if answer is Answer.DIED:
            message.started_at = None
            lease = default_settings().lease_seconds  # renewed every third of it
            message.leased_until = self._env.now + lease * self._random.uniform(2 / 3, 1)
        if answer is not Answer.DONE:
            return False
        if message.started_at is None:  # another instance had the lease
            return task.job.failed
        started, message.started_at = message.started_at, None
        if self._random.random() < inputs()["transient_error_share"]:
            return False
        self._out.waits.append(started - (message.published_at if task.since is None else task.since))
        return True

    def _segment_done(self, message: SimulatedMessage) -> None:
        self._out.done += 1
        self._out.attempts[message.attempts] += 1
        job = message.subject.job
        job.missing -= 1
        if job.missing == 0 and not job.failed:
            is_detection = message.subject.step == "detect"
            table = inputs()
            seconds = (
                job.upload.seconds * table["link_ms_per_video_second"] / 1000
                if is_detection
                else job.upload.gigabytes * table["join_seconds_per_gb"]
            )
            self._merge.publish(
                [_StepEnd(job, message.subject.step, seconds + table["segment_overhead_seconds"])]
            )

    def _segment_dead(self, message: SimulatedMessage) -> None:
        """Requeue the message a limited number of times, then fail its job, whose other messages end at once."""
        task: _Task = message.subject
        self._out.attempts[message.attempts] += 1
        if not task.job.failed and task.requeues < MAX_TASK_REQUEUES:
            self._out.requeued += 1
            since = message.published_at if task.since is None else task.since
            self._segments.publish([replace(task, requeues=task.requeues + 1, since=since)])
            return
        self._out.dead += 1
        self._fail(task.job)

    def _small_dead(self, message: SimulatedMessage) -> None:
        self._fail(message.subject if isinstance(message.subject, _Job) else message.subject.job)

    def _fail(self, job: _Job) -> None:
        if not job.failed:
            job.failed = True
            self._out.failed += 1
            self._out.ended_at = self._env.now

    def _merged(self, message: SimulatedMessage) -> None:
        end: _StepEnd = message.subject
        if end.step == "detect":
            self._fan_out(end.job, "redact")
            return
        self._out.completed += 1
        self._out.job_seconds.append(self._env.now - end.job.upload.at)
        self._out.ended_at = self._env.now
