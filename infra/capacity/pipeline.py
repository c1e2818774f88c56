"""The pipeline at work: uploads go through ingest, detect, link, redact and join, as the functions do it.

Simulated message by message are uploads and segments, and of the messages to merge the ones that have something to do:
the last of each step. The others take a fifth of a second each and are only counted. Ingest and merge never die here.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random

import simpy

from defacer.pipeline.topology import CLOUD_RETRIES, FUNCTIONS, MAX_TASK_REQUEUES, RetryPolicy
from infra.capacity.cloud_run import Answer, CloudRun, Service
from infra.capacity.inputs import inputs
from infra.capacity.pubsub import Handler, Message, Policy, Subscription, Window
from infra.capacity.speed import (
    Kind,
    Step,
    second_price,
    seconds_per_video_second,
    small_price,
    storage_price,
)
from infra.capacity.uploads import Upload, settings

BY_NAME = {function.name: function for function in FUNCTIONS}
SMALL_MAXIMUM = 20  # instances of ingest and of merge
SMALL_CPU, SMALL_GIB = 1, 1
REFUSED_SECONDS = 0.3  # to answer that somebody else holds the claim


@dataclass(frozen=True)
class Scenario:
    """What to simulate."""

    kind: Kind
    maximum: int
    window: Window = "adaptive"
    retries: RetryPolicy = CLOUD_RETRIES
    max_attempts: int = BY_NAME["worker"].max_delivery_attempts
    seed: int = 1


@dataclass(eq=False)
class _Job:
    upload: Upload
    lengths: tuple[float, ...]
    missing: int = 0
    failed: bool = False


@dataclass(frozen=True)
class _Task:
    """One segment's step. `waited` is how often its message began anew, `since` when it was first published."""

    job: _Job
    step: Step
    seconds: float
    waited: int = 0
    since: float | None = None


@dataclass(frozen=True)
class _Last:
    """The message of the last segment of a step: merge links, or joins and publishes."""

    job: _Job
    step: Step
    seconds: float


@dataclass
class Outcome:
    """What came of it. Times in seconds, money in USD; a segment message is one step of one segment.

    `anew` are messages that met nobody with time until they gave up, and that dead_letter published again.
    """

    scenario: Scenario
    jobs: int = 0
    completed: int = 0
    failed: int = 0
    segment_messages: int = 0
    done: int = 0
    dead: int = 0
    anew: int = 0
    poisoned: int = 0
    deliveries: int = 0
    refused: int = 0
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
        """Which share of the workers' lives was work."""
        return self.worked / self.lived if self.lived else 0.0

    @property
    def cost(self) -> float:
        """Workers by what bills them, ingest and merge as if they took one message at a time, and storage requests."""
        seconds = self.lived if self.scenario.kind == "gpu" else self.worked + self.started
        requests = (self.deliveries + self.done) * inputs()["request"]
        small = self.small_worked * small_price(SMALL_CPU, SMALL_GIB)
        return (
            seconds * second_price(self.scenario.kind)
            + small
            + requests
            + storage_price(self.segment_messages / 2)
        )


def simulate(uploads: Sequence[Upload], scenario: Scenario) -> Outcome:
    """Run until everything has come to an end."""
    return _Pipeline(uploads, scenario).run()


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which that share lies (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


class _Pipeline:
    def __init__(self, uploads: Sequence[Upload], scenario: Scenario):
        table = inputs()
        self._env = simpy.Environment()
        self._random = Random(scenario.seed)
        self._scenario, self._uploads = scenario, uploads
        self._out = Outcome(scenario, jobs=len(uploads), video_seconds=sum(one.seconds for one in uploads))
        self._start_seconds = table[f"cold_start_{scenario.kind}"]
        self._worker = CloudRun(
            self._env,
            self._random,
            Service(scenario.maximum, self._start_seconds, deaths_per_hour=table["deaths_per_hour"]),
        )
        self._segments = Subscription(
            self._env,
            Policy(scenario.retries, scenario.max_attempts, scenario.window),
            self._worker,
            scenario.maximum,
            Handler(self._segment_seconds, self._segment_succeeded, self._segment_done, self._segment_dead),
        )
        self._small: list[CloudRun] = []
        self._ingest = self._small_function("ingest", lambda _: table["ingest_seconds"], self._planned)
        self._merge = self._small_function("merge", lambda message: message.of.seconds, self._merged)

    def run(self) -> Outcome:
        for upload in self._uploads:
            self._at(upload.at, partial(self._arrive, upload))
        self._env.run()
        out = self._out
        out.deliveries, out.refused = self._segments.deliveries, self._segments.refused
        worker, small = self._worker, self._small
        out.lived, out.worked, out.started = worker.lived_seconds, worker.busy_seconds, worker.start_seconds
        others = max(0, out.done - 2 * out.completed) * inputs()["merge_message_seconds"]
        out.small_worked = others + sum(one.busy_seconds + one.start_seconds for one in small)
        out.instances = self._worker.count
        out.backlog = [*self._segments.backlog, (out.ended_at, self._segments.unfinished)]
        return out

    def _small_function(
        self, name: str, seconds: Callable[[Message], float], done: Callable[[Message], None]
    ) -> Subscription:
        """Ingest or merge: what they do is quick, and nothing of it fails here."""
        function = BY_NAME[name]
        service = CloudRun(
            self._env,
            self._random,
            Service(SMALL_MAXIMUM, inputs()["cold_start_cpu"], concurrency=function.concurrency),
        )
        self._small.append(service)
        policy = Policy(CLOUD_RETRIES, function.max_delivery_attempts, "adaptive")
        handler = Handler(seconds, lambda _, answer: answer is Answer.DONE, done, self._small_dead)
        return Subscription(self._env, policy, service, SMALL_MAXIMUM, handler)

    def _at(self, delay: float, then: Callable[[], None]) -> None:
        event = self._env.timeout(delay)
        event.callbacks.append(lambda _: then())

    def _arrive(self, upload: Upload) -> None:
        self._ingest.publish([_Job(upload, upload.segments())])

    def _planned(self, message: Message) -> None:
        self._fan_out(message.of, "detect")

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

    def _segment_seconds(self, message: Message) -> float:
        task: _Task = message.of
        if self._env.now < message.claimed_until or task.job.failed:
            return REFUSED_SECONDS
        message.started_at = self._env.now
        return task.seconds

    def _segment_succeeded(self, message: Message, answer: Answer) -> bool:
        """As functions/defacer/pipeline/lifecycle/lease.py has it: who died holds the segment until the
        lease runs out."""
        task: _Task = message.of
        if answer is Answer.DIED:
            message.deaths += 1
            message.started_at = None
            lease = settings().lease_seconds  # renewed in each third of it
            message.claimed_until = self._env.now + lease * self._random.uniform(2 / 3, 1)
        if answer is not Answer.DONE:
            return False
        if message.started_at is None:  # it was only told that somebody else is at it
            return task.job.failed
        started, message.started_at = message.started_at, None
        if self._random.random() < inputs()["transient_error_share"]:
            return False
        self._out.waits.append(started - (message.published_at if task.since is None else task.since))
        return True

    def _segment_done(self, message: Message) -> None:
        self._out.done += 1
        self._out.attempts[message.attempts] += 1
        job = message.of.job
        if message.deaths >= settings().max_segment_attempts:
            self._out.poisoned += 1
        job.missing -= 1
        if job.missing == 0 and not job.failed:
            is_detection = message.of.step == "detect"
            table = inputs()
            seconds = (
                job.upload.seconds * table["link_ms_per_video_second"] / 1000
                if is_detection
                else job.upload.gigabytes * table["join_seconds_per_gb"]
            )
            self._merge.publish([_Last(job, message.of.step, seconds + table["segment_overhead_seconds"])])

    def _segment_dead(self, message: Message) -> None:
        """It begins anew, some times; else the job fails: its other messages are acknowledged at once."""
        task: _Task = message.of
        self._out.attempts[message.attempts] += 1
        if not task.job.failed and task.waited < MAX_TASK_REQUEUES:
            self._out.anew += 1
            since = message.published_at if task.since is None else task.since
            self._segments.publish([replace(task, waited=task.waited + 1, since=since)])
            return
        self._out.dead += 1
        self._fail(task.job)

    def _small_dead(self, message: Message) -> None:
        self._fail(message.of if isinstance(message.of, _Job) else message.of.job)

    def _fail(self, job: _Job) -> None:
        if not job.failed:
            job.failed = True
            self._out.failed += 1
            self._out.ended_at = self._env.now

    def _merged(self, message: Message) -> None:
        last: _Last = message.of
        if last.step == "detect":
            self._fan_out(last.job, "redact")
            return
        self._out.completed += 1
        self._out.job_seconds.append(self._env.now - last.job.upload.at)
        self._out.ended_at = self._env.now
