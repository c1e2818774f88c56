"""What a subscription asks for: checked, filled with Pub/Sub's defaults, and as plain values.

Ranges and defaults: google/pubsub_v1/types/pubsub.py, the messages Subscription, RetryPolicy, DeadLetterPolicy.
"""

from dataclasses import dataclass
from datetime import timedelta

import urllib3.exceptions
import urllib3.util
from google.pubsub_v1.types import DeadLetterPolicy, PushConfig, RetryPolicy, Subscription

from defacer_emulator.pubsub.checks import check_fields, check_name
from defacer_emulator.pubsub.errors import InvalidArgumentError

# A label may hold it, because a subscription has no field for it: Pub/Sub finds its window out by itself.
MAX_OUTSTANDING_LABEL = "max-outstanding"
MAX_OUTSTANDING = 100

ACK_DEADLINE_SECONDS = (10, 600)
DELIVERY_ATTEMPTS = (5, 100)
BACKOFF_SECONDS = (0.0, 600.0)
DEFAULT_BACKOFF_SECONDS = (10.0, 600.0)
RETENTION = timedelta(days=7)

_SUBSCRIPTION_FIELDS = {
    "name",
    "topic",
    "push_config",
    "ack_deadline_seconds",
    "retry_policy",
    "dead_letter_policy",
    "labels",
    "message_retention_duration",  # nothing expires here: this emulator lives for hours, the shortest is 10 min
    "expiration_policy",
}
_PUSH_FIELDS = {"push_endpoint", "attributes", "pubsub_wrapper"}


@dataclass(frozen=True)
class Backoff:
    """The pause before a message is delivered again: it doubles with each attempt between two limits, in seconds.

    Pub/Sub says "exponential" and leaves the base open; 2 without jitter makes a run repeatable.
    """

    minimum: float
    maximum: float

    def seconds(self, attempts: int) -> float:
        """The pause after `attempts` deliveries (1 or more) that were not acknowledged."""
        # 2 ** 32 times the smallest pause used here is beyond every maximum; more would overflow a float.
        return min(self.maximum, self.minimum * 2.0 ** min(attempts - 1, 32))


# Pub/Sub's push back-off, 100 ms to 60 s (cloud.google.com/pubsub/docs/push#push_backoff), is over the whole
# subscription; here it is each message's, so that one bad message does not slow the healthy ones.
PUSH_BACKOFF = Backoff(0.1, 60.0)
NO_BACKOFF = Backoff(0.0, 0.0)


@dataclass(frozen=True)
class DeadLetters:
    """Where a message goes that was delivered `max_attempts` times and never acknowledged."""

    topic: str
    max_attempts: int


@dataclass(frozen=True)
class Push:
    """Where messages are sent, and how many may be unanswered at a time."""

    endpoint: str
    max_outstanding: int


@dataclass(frozen=True)
class Policy:
    """How a subscription's messages are delivered."""

    ack_deadline_seconds: int
    backoff: Backoff
    dead_letters: DeadLetters | None
    push: Push | None


def filled(asked: Subscription) -> Subscription:
    """A copy of `asked` with the defaults that Pub/Sub fills in. Raises RefusedError if it can't be honoured."""
    check_name("subscriptions", asked.name)
    check_name("topics", asked.topic)
    check_fields(asked.name, asked, _SUBSCRIPTION_FIELDS)
    check_fields(asked.name, asked.push_config, _PUSH_FIELDS)
    subscription = Subscription(asked)
    subscription.push_config = PushConfig(asked.push_config)
    subscription.ack_deadline_seconds = asked.ack_deadline_seconds or ACK_DEADLINE_SECONDS[0]
    subscription.message_retention_duration = asked.message_retention_duration or RETENTION
    if "retry_policy" in asked:
        subscription.retry_policy = _filled_retry(asked.retry_policy)
    if "dead_letter_policy" in asked:
        subscription.dead_letter_policy = DeadLetterPolicy(
            dead_letter_topic=asked.dead_letter_policy.dead_letter_topic,
            max_delivery_attempts=asked.dead_letter_policy.max_delivery_attempts or DELIVERY_ATTEMPTS[0],
        )
    return subscription


def policy(subscription: Subscription, default_max_outstanding: int) -> Policy:
    """The policy in a subscription that is `filled`. Raises InvalidArgumentError for a value out of range."""
    name = subscription.name
    _check_range(name, "ack_deadline_seconds", subscription.ack_deadline_seconds, ACK_DEADLINE_SECONDS)
    push = _push(subscription, default_max_outstanding)
    dead_letters = None
    if "dead_letter_policy" in subscription:
        asked = subscription.dead_letter_policy
        check_name("topics", asked.dead_letter_topic)
        _check_range(name, "max_delivery_attempts", asked.max_delivery_attempts, DELIVERY_ATTEMPTS)
        dead_letters = DeadLetters(asked.dead_letter_topic, asked.max_delivery_attempts)
    return Policy(subscription.ack_deadline_seconds, _backoff(subscription, push), dead_letters, push)


def _filled_retry(asked: RetryPolicy) -> RetryPolicy:
    minimum, maximum = (timedelta(seconds=seconds) for seconds in DEFAULT_BACKOFF_SECONDS)
    return RetryPolicy(
        minimum_backoff=asked.minimum_backoff if "minimum_backoff" in asked else minimum,
        maximum_backoff=asked.maximum_backoff if "maximum_backoff" in asked else maximum,
    )


def _backoff(subscription: Subscription, push: Push | None) -> Backoff:
    if "retry_policy" not in subscription:
        return PUSH_BACKOFF if push else NO_BACKOFF
    minimum = subscription.retry_policy.minimum_backoff.total_seconds()
    maximum = subscription.retry_policy.maximum_backoff.total_seconds()
    _check_range(subscription.name, "minimum_backoff", minimum, BACKOFF_SECONDS)
    _check_range(subscription.name, "maximum_backoff", maximum, BACKOFF_SECONDS)
    if maximum < minimum:
        raise InvalidArgumentError(
            f"{subscription.name}: found maximum_backoff {maximum:g} s, expected {minimum:g} s (minimum_backoff) "
            "or more."
        )
    # A pause of 0 would push to a dead endpoint as fast as the machine can.
    floor = PUSH_BACKOFF.minimum if push else 0.0
    return Backoff(max(minimum, floor), max(maximum, floor))


def _push(subscription: Subscription, default_max_outstanding: int) -> Push | None:
    endpoint = subscription.push_config.push_endpoint
    if not endpoint:
        return None
    try:
        url = urllib3.util.parse_url(endpoint)
    except urllib3.exceptions.LocationParseError as error:
        raise InvalidArgumentError(f"{subscription.name}: push_endpoint: {error}.") from error
    if url.scheme not in {"http", "https"} or not url.host:
        raise InvalidArgumentError(
            f"{subscription.name}: found push_endpoint {endpoint!r}, expected http://HOST:PORT/PATH."
        )
    return Push(endpoint, _max_outstanding(subscription, default_max_outstanding))


def _max_outstanding(subscription: Subscription, default: int) -> int:
    label = subscription.labels.get(MAX_OUTSTANDING_LABEL)
    if label is None:
        return default
    if not label.isdecimal() or not 1 <= int(label) <= MAX_OUTSTANDING:
        raise InvalidArgumentError(
            f"{subscription.name}: found the label {MAX_OUTSTANDING_LABEL}={label!r}, expected a number from 1 to "
            f"{MAX_OUTSTANDING}."
        )
    return int(label)


def _check_range(name: str, field: str, value: float, limits: tuple[float, float]) -> None:
    low, high = limits
    if not low <= value <= high:
        raise InvalidArgumentError(f"{name}: found {field} {value:g}, expected {low:g} to {high:g}.")
