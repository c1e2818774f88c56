"""How long a healthy segment may wait before Pub/Sub gives it up, if every delivery meets no free worker."""

from infra.capacity.pipeline import BY_NAME
from local_emulator.pubsub.policy import Backoff
from local_emulator.resources import CLOUD_RETRIES, RetryPolicy

ATTEMPTS = BY_NAME["worker"].max_delivery_attempts
CHOICES = (
    (CLOUD_RETRIES, ATTEMPTS),
    (CLOUD_RETRIES, 10),
    (RetryPolicy(60, 600), 100),
    (RetryPolicy(600, 600), 100),
)


def least_hours(retries: RetryPolicy, attempts: int) -> float:
    """The pauses alone, without what a delivery itself waits: nothing is given up sooner."""
    backoff = Backoff(retries.minimum_seconds, retries.maximum_seconds)
    return sum(backoff.seconds(attempt) for attempt in range(1, attempts)) / 3600
