"""The settings of a subscription: checked, completed with Pub/Sub's defaults, and as plain values.

Ranges and defaults: google/pubsub_v1/types/pubsub.py, the messages Subscription, RetryPolicy, DeadLetterPolicy.
"""

from dataclasses import dataclass
from datetime import timedelta

import urllib3.exceptions
import urllib3.util
from google.pubsub_v1.types import DeadLetterPolicy, PushConfig, Subscription
from google.pubsub_v1.types import RetryPolicy as RetryPolicyMessage

from defacer.pipeline.topology import RetryPolicy
from defacer_emulator.pubsub.call_errors import InvalidArgumentError
from defacer_emulator.pubsub.checks import check_fields, check_name

# A label, because a subscription has no field for it: Pub/Sub computes its window itself.
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
    "message_retention_duration",  # ignored: the minimum is 10 min, and an emulator runs for hours
    "expiration_policy",
}
_PUSH_FIELDS = {"push_endpoint", "attributes", "pubsub_wrapper"}


# Pub/Sub applies its push backoff, 100 ms to 60 s (cloud.google.com/pubsub/docs/push#push_backoff), to the whole
# subscription. Here it applies to each message, so that one bad message does not slow down the others.
PUSH_BACKOFF = RetryPolicy(0.1, 60.0)
NO_BACKOFF = RetryPolicy(0.0, 0.0)


@dataclass(frozen=True)
class DeadLetters:
    """The topic for messages without an acknowledgement after `max_attempts` deliveries."""

    topic: str
    max_attempts: int


@dataclass(frozen=True)
class Push:
    """The endpoint for messages, and the maximum of unanswered ones."""

    endpoint: str
    max_outstanding: int


@dataclass(frozen=True)
class DeliveryPolicy:
    """The delivery settings of a subscription."""

    ack_deadline_seconds: int
    backoff: RetryPolicy
    dead_letters: DeadLetters | None
    push: Push | None


def fill_defaults(asked: Subscription) -> Subscription:
    """Return a copy of `asked` with Pub/Sub's defaults. Raise RefusedError for names and fields not supported."""
    check_name("subscriptions", asked.name)
    check_name("topics", asked.topic)
    check_fields(asked.name, asked, _SUBSCRIPTION_FIELDS)
    check_fields(asked.name, asked.push_config, _PUSH_FIELDS)
    subscription = Subscription(asked)
    subscription.push_config = PushConfig(asked.push_config)
    subscription.ack_deadline_seconds = asked.ack_deadline_seconds or ACK_DEADLINE_SECONDS[0]
    subscription.message_retention_duration = asked.message_retention_duration or RETENTION
    if "retry_policy" in asked:
        subscription.retry_policy = _fill_retry_defaults(asked.retry_policy)
    if "dead_letter_policy" in asked:
        subscription.dead_letter_policy = DeadLetterPolicy(
            dead_letter_topic=asked.dead_letter_policy.dead_letter_topic,
            max_delivery_attempts=asked.dead_letter_policy.max_delivery_attempts or DELIVERY_ATTEMPTS[0],
        )
    return subscription


def parse_delivery_policy(subscription: Subscription) -> DeliveryPolicy:
    """Return the policy of a subscription with defaults. Raise InvalidArgumentError for a value out of range."""
    name = subscription.name
    _check_range(name, "ack_deadline_seconds", subscription.ack_deadline_seconds, ACK_DEADLINE_SECONDS)
    push = _push(subscription)
    dead_letters = None
    if "dead_letter_policy" in subscription:
        asked = subscription.dead_letter_policy
        check_name("topics", asked.dead_letter_topic)
        _check_range(name, "max_delivery_attempts", asked.max_delivery_attempts, DELIVERY_ATTEMPTS)
        dead_letters = DeadLetters(asked.dead_letter_topic, asked.max_delivery_attempts)
    return DeliveryPolicy(subscription.ack_deadline_seconds, _backoff(subscription, push), dead_letters, push)


def _fill_retry_defaults(asked: RetryPolicyMessage) -> RetryPolicyMessage:
    minimum, maximum = (timedelta(seconds=seconds) for seconds in DEFAULT_BACKOFF_SECONDS)
    return RetryPolicyMessage(
        minimum_backoff=asked.minimum_backoff if "minimum_backoff" in asked else minimum,
        maximum_backoff=asked.maximum_backoff if "maximum_backoff" in asked else maximum,
    )


def _backoff(subscription: Subscription, push: Push | None) -> RetryPolicy:
    if "retry_policy" not in subscription:
        return PUSH_BACKOFF if push else NO_BACKOFF
    minimum = subscription.retry_policy.minimum_backoff.total_seconds()
    maximum = subscription.retry_policy.maximum_backoff.total_seconds()
    _check_range(subscription.name, "minimum_backoff", minimum, BACKOFF_SECONDS)
    _check_range(subscription.name, "maximum_backoff", maximum, BACKOFF_SECONDS)
    if maximum < minimum:
        raise InvalidArgumentError(
            f"{subscription.name}: maximum_backoff is {maximum:g} s. Set it to {minimum:g} s (minimum_backoff) or more."
        )
    # Without a pause, a dead endpoint would receive pushes as fast as the machine can send.
    floor = PUSH_BACKOFF.minimum_seconds if push else 0.0
    return RetryPolicy(max(minimum, floor), max(maximum, floor))


def _push(subscription: Subscription) -> Push | None:
    endpoint = subscription.push_config.push_endpoint
    if not endpoint:
        return None
    try:
        url = urllib3.util.parse_url(endpoint)
    except urllib3.exceptions.LocationParseError as error:
        raise InvalidArgumentError(
            f"{subscription.name}: push_endpoint: {error}. Set it to http://HOST:PORT/PATH."
        ) from error
    if url.scheme not in {"http", "https"} or not url.host:
        raise InvalidArgumentError(
            f"{subscription.name}: push_endpoint is {endpoint!r}. Set it to http://HOST:PORT/PATH."
        )
    return Push(endpoint, _max_outstanding(subscription))


def _max_outstanding(subscription: Subscription) -> int:
    label = subscription.labels.get(MAX_OUTSTANDING_LABEL, "1")
    if not label.isdecimal() or not 1 <= int(label) <= MAX_OUTSTANDING:
        raise InvalidArgumentError(
            f"{subscription.name}: the label {MAX_OUTSTANDING_LABEL} is {label!r}. Set it to a number from 1 to "
            f"{MAX_OUTSTANDING}."
        )
    return int(label)


def _check_range(name: str, field: str, value: float, limits: tuple[float, float]) -> None:
    low, high = limits
    if not low <= value <= high:
        raise InvalidArgumentError(f"{name}: {field} is {value:g}. Set it to {low:g} to {high:g}.")
