"""The pipeline's topics, its functions with their push subscriptions, and the retry policies of both.

The emulator creates its Pub/Sub resources from this module. `infra/names.tf` repeats the values for Google Cloud, and
`tests/infra/test_topology.py` compares the two.

Limits of Pub/Sub (google/pubsub_v1/types/pubsub.py): an acknowledgement deadline is 10 to 600 s and, for push, the time
that the function has to answer. A dead-letter policy allows 5 to 100 deliveries. A name has at least 3 characters.
"""

from dataclasses import dataclass

UPLOADS = "uploads"
SEGMENTS = "segments"
SEGMENTS_DONE = "segments-done"
DEAD_LETTERS = "dead-letters"
LOST_LETTERS = "lost-letters"
JOB_EVENTS = "job-events"
TOPICS = (UPLOADS, SEGMENTS, SEGMENTS_DONE, DEAD_LETTERS, LOST_LETTERS, JOB_EVENTS)
# A pull subscription that no program reads. It stores the messages that even dead_letter exhausted, for an operator.
LOST_LETTERS_SUBSCRIPTION = "lost-letters"


@dataclass(frozen=True)
class RetryPolicy:
    """The pause before a message is redelivered: it doubles with each attempt, between two bounds.

    Pub/Sub documents "exponential backoff" without its base. The base 2 without jitter makes runs repeatable.
    """

    minimum_seconds: float
    maximum_seconds: float

    def pause_seconds(self, attempts: int) -> float:
        """Return the pause after `attempts` deliveries (at least 1) without an acknowledgement."""
        # 2 ** 32 times the smallest pause used here exceeds every maximum. A larger power would overflow a float.
        return min(self.maximum_seconds, self.minimum_seconds * 2.0 ** min(attempts - 1, 32))


CLOUD_RETRIES = RetryPolicy(10, 600)
# The emulator's retries are faster: faults and tests of retries end within minutes.
LOCAL_RETRIES = RetryPolicy(1, 10)


@dataclass(frozen=True)
class Function:
    """A function and the push subscription that calls it.

    `concurrency` is the number of messages that one instance processes at a time.
    """

    name: str
    topic: str
    ack_deadline_seconds: int
    concurrency: int
    max_delivery_attempts: int

    @property
    def subscription(self) -> str:
        return self.name.replace("_", "-")

    @property
    def dead_letter_topic(self) -> str:
        """Return the topic for messages whose attempts are used up. That of dead_letter itself is LOST_LETTERS."""
        return LOST_LETTERS if self.topic == DEAD_LETTERS else DEAD_LETTERS

    @property
    def source(self) -> str:
        """Return the function's entry point, relative to the folder of all functions."""
        return f"{self.name}/main.py"


FUNCTIONS = (
    Function("ingest", UPLOADS, 600, concurrency=4, max_delivery_attempts=10),
    # Each "no instance is free" uses up one delivery of a segment, so the limit is the highest that Pub/Sub accepts.
    # The worker itself counts real failures, in the segment's lease.
    Function("worker", SEGMENTS, 600, concurrency=1, max_delivery_attempts=100),
    # Deliveries are also used up while a killed holder's lease has not expired.
    Function("merge", SEGMENTS_DONE, 600, concurrency=4, max_delivery_attempts=20),
    Function("dead_letter", DEAD_LETTERS, 60, concurrency=4, max_delivery_attempts=100),
)
# Runs only where a webhook is configured. On Google Cloud it retries for 16 hours: a receiver can be down overnight.
WEBHOOK = Function("webhook", JOB_EVENTS, 60, concurrency=4, max_delivery_attempts=100)
# How often dead_letter requeues a message. A task is requeued several times, as when no worker was free for days. Any
# other message is requeued once, as when storage was down for hours: dead_letter needs storage too, so storage is back
# when dead_letter requeues a message.
MAX_TASK_REQUEUES, MAX_OTHER_REQUEUES = 3, 1
