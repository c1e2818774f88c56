"""How long a healthy segment may wait before Pub/Sub gives it up, and how long a job takes at most."""

from defacer.pipeline.lifecycle.segments import MAX_SPLITS
from defacer.pipeline.topology import (
    CLOUD_RETRIES,
    MAX_OTHER_REQUEUES,
    MAX_TASK_REQUEUES,
    Function,
    RetryPolicy,
)
from infra.capacity.pipeline import BY_NAME

ATTEMPTS = BY_NAME["worker"].max_delivery_attempts
CHOICES = (
    (CLOUD_RETRIES, ATTEMPTS),
    (CLOUD_RETRIES, 10),
    (RetryPolicy(60, 600), 100),
    (RetryPolicy(600, 600), 100),
)


def least_hours(retries: RetryPolicy, attempts: int) -> float:
    """The pauses alone, without what a delivery itself waits: nothing is given up sooner."""
    return sum(retries.pause_seconds(attempt) for attempt in range(1, attempts)) / 3600


def round_seconds(function: Function) -> float:
    """From a message's first delivery to its last answer, if each takes all the time that it has."""
    pauses = least_hours(CLOUD_RETRIES, function.max_delivery_attempts) * 3600
    return function.max_delivery_attempts * function.ack_deadline_seconds + pauses


def longest_days(*, splits: int = MAX_SPLITS, dead_letter_rounds: int = 1) -> float:
    """From an upload to its job's end, at most: published or failed (functions/defacer/pipeline/README.md, "How long").

    One after the other come the upload's message, then for each step a segment's task, those of its halves `splits`
    times over, and the news of the last one. Each is given up as often as it starts anew and once more, and each time
    dead_letter gets to it with its last delivery only; with no `dead_letter_rounds`, at once.
    """

    def message_seconds(function: str, waits: int) -> float:
        given_up = dead_letter_rounds * round_seconds(BY_NAME["dead_letter"])
        return (waits + 1) * (round_seconds(BY_NAME[function]) + given_up)

    step = (splits + 1) * message_seconds("worker", MAX_TASK_REQUEUES) + message_seconds(
        "merge", MAX_OTHER_REQUEUES
    )
    return (message_seconds("ingest", MAX_OTHER_REQUEUES) + 2 * step) / 86_400
