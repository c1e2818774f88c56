"""What the pipeline is made of: buckets, topics, push subscriptions and the functions behind them.

The emulator creates this, and infra/ describes the same for Google Cloud. Limits of Pub/Sub that shape it
(google/pubsub_v1/types/pubsub.py): an acknowledgement deadline is 10 to 600 s and, for push, the time that
the function has to answer; a dead-letter policy allows 5 to 100 deliveries; a name has 3 characters or more.
"""

from collections.abc import Mapping
from dataclasses import dataclass

UPLOADS = "uploads"
SEGMENTS = "segments"
SEGMENTS_DONE = "segments-done"
DEAD_LETTERS = "dead-letters"
LOST_LETTERS = "lost-letters"
JOB_EVENTS = "job-events"
TOPICS = (UPLOADS, SEGMENTS, SEGMENTS_DONE, DEAD_LETTERS, LOST_LETTERS, JOB_EVENTS)
# The subscription that nothing reads: it keeps what even dead_letter could not deal with, for a person to look at.
KEEPER = "lost-letters"


@dataclass(frozen=True)
class RetryPolicy:
    """How long Pub/Sub waits before it delivers a message again: between these two, growing."""

    minimum_seconds: int
    maximum_seconds: int


CLOUD_RETRIES = RetryPolicy(10, 600)
LOCAL_RETRIES = RetryPolicy(1, 10)


@dataclass(frozen=True)
class Function:
    """A function and the push subscription that calls it.

    `concurrency` is how many messages one instance takes at a time.
    """

    name: str
    topic: str
    acknowledge_seconds: int
    concurrency: int
    max_delivery_attempts: int

    @property
    def subscription(self) -> str:
        return self.name.replace("_", "-")

    @property
    def dead_letter_topic(self) -> str:
        """Where a message goes that gives up; for the function that takes those, one topic further."""
        return LOST_LETTERS if self.topic == DEAD_LETTERS else DEAD_LETTERS

    @property
    def source(self) -> str:
        """The file that holds the function, below the folder of all functions."""
        return f"{self.name}/main.py"


FUNCTIONS = (
    Function("ingest", UPLOADS, 600, concurrency=4, max_delivery_attempts=10),
    # Every "no instance is free" costs a segment one delivery, so the limit is the highest that Pub/Sub has.
    # Real failures are counted by the worker itself, in the segment's claim.
    Function("worker", SEGMENTS, 600, concurrency=1, max_delivery_attempts=100),
    # Waiting for a claim whose holder was killed costs deliveries too: until its lease is over.
    Function("merge", SEGMENTS_DONE, 600, concurrency=4, max_delivery_attempts=20),
    Function("dead_letter", DEAD_LETTERS, 60, concurrency=4, max_delivery_attempts=100),
)
# Runs only where somebody is to be told of a job's end. A receiver may be away for a night: 16 hours on the cloud.
WEBHOOK = Function("webhook", JOB_EVENTS, 60, concurrency=4, max_delivery_attempts=100)


@dataclass(frozen=True)
class Resources:
    """All of it, for one project. Bucket names are global on Google Cloud: the project makes them unique."""

    project: str
    retries: RetryPolicy
    topics: tuple[str, ...] = TOPICS
    functions: tuple[Function, ...] = FUNCTIONS

    @property
    def intake(self) -> str:
        return f"{self.project}-intake"

    @property
    def work(self) -> str:
        return f"{self.project}-work"

    @property
    def output(self) -> str:
        return f"{self.project}-output"

    @property
    def buckets(self) -> tuple[str, str, str]:
        return self.intake, self.work, self.output

    def environment(self) -> Mapping[str, str]:
        """The variables that every function reads (functions/defacer/pipeline/settings.py)."""
        return {
            "DEFACER_PROJECT": self.project,
            "DEFACER_INTAKE_BUCKET": self.intake,
            "DEFACER_WORK_BUCKET": self.work,
            "DEFACER_OUTPUT_BUCKET": self.output,
            "DEFACER_UPLOADS_TOPIC": UPLOADS,
            "DEFACER_SEGMENTS_TOPIC": SEGMENTS,
            "DEFACER_SEGMENTS_DONE_TOPIC": SEGMENTS_DONE,
            "DEFACER_JOB_EVENTS_TOPIC": JOB_EVENTS,
        }
