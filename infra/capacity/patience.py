"""How long a segment can wait before its deliveries are exhausted, and how long a job can take."""

from defacer.pipeline.lifecycle.segments import MAX_SPLITS
from defacer.pipeline.topology import (
    CLOUD_RETRIES,
    FUNCTIONS,
    MAX_OTHER_REQUEUES,
    MAX_TASK_REQUEUES,
    Function,
    RetryPolicy,
)

BY_NAME = {function.name: function for function in FUNCTIONS}
ATTEMPTS = BY_NAME["worker"].max_delivery_attempts
CHOICES = (
    (CLOUD_RETRIES, ATTEMPTS),
    (CLOUD_RETRIES, 10),
    (RetryPolicy(60, 600), 100),
    (RetryPolicy(600, 600), 100),
)


def min_wait_hours(retries: RetryPolicy, attempts: int) -> float:
    """Return the sum of the pauses without the deliveries, the minimum time until a message is exhausted."""
    return sum(retries.pause_seconds(attempt) for attempt in range(1, attempts)) / 3600


def round_seconds(function: Function) -> float:
    """Return the time from the first delivery to the last response, if each delivery uses its whole deadline."""
    pauses = min_wait_hours(CLOUD_RETRIES, function.max_delivery_attempts) * 3600
    return function.max_delivery_attempts * function.ack_deadline_seconds + pauses


def max_job_days(*, splits: int = MAX_SPLITS, dead_letter_rounds: int = 1) -> float:
    """Return the maximum time from an upload to its job's end (functions/defacer/pipeline/README.md).

    The messages follow one another: the upload's, then in each step a segment's task, those of its halves (`splits`
    times), and the last completion. Each message is exhausted once per requeue and once more. Each time, dead_letter
    succeeds only with its last delivery, or at once if `dead_letter_rounds` is 0.
    """

    def message_seconds(function: str, requeues: int) -> float:
        dead_letter = dead_letter_rounds * round_seconds(BY_NAME["dead_letter"])
        return (requeues + 1) * (round_seconds(BY_NAME[function]) + dead_letter)

    step = (splits + 1) * message_seconds("worker", MAX_TASK_REQUEUES) + message_seconds(
        "merge", MAX_OTHER_REQUEUES
    )
    return (message_seconds("ingest", MAX_OTHER_REQUEUES) + 2 * step) / 86_400
