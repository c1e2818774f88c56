"""The topics and subscriptions, in memory, protected by one lock."""

import itertools
import logging
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from google.pubsub_v1.types import PublishRequest, PubsubMessage, Topic
from google.pubsub_v1.types import Subscription as SubscriptionResource

from defacer_emulator.pubsub.call_errors import AlreadyExistsError, NotFoundError
from defacer_emulator.pubsub.checks import check_fields, check_messages, check_name, check_project
from defacer_emulator.pubsub.delivery_policy import fill_defaults, parse_delivery_policy
from defacer_emulator.pubsub.subscription import Clock, Subscription

# The attributes of a dead letter (cloud.google.com/pubsub/docs/dead-letter-topics#how_dead_letter_topics_work).
# Google's emulator adds the same four.
SOURCE_SUBSCRIPTION = "CloudPubSubDeadLetterSourceSubscription"
SOURCE_PROJECT = "CloudPubSubDeadLetterSourceSubscriptionProject"
SOURCE_DELIVERY_COUNT = "CloudPubSubDeadLetterSourceDeliveryCount"
SOURCE_PUBLISH_TIME = "CloudPubSubDeadLetterSourceTopicPublishTime"

_TOPIC_FIELDS = {"name", "labels", "message_storage_policy", "message_retention_duration"}

_log = logging.getLogger(__name__)


def format_rfc3339(moment: datetime) -> str:
    """Return a time as Pub/Sub writes it in JSON: RFC 3339, UTC, with milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Broker:
    """Stores topics and subscriptions by name, and distributes messages. Thread-safe. Raises RefusedError."""

    def __init__(self, clock: Clock = time.monotonic):
        self._clock = clock
        self._lock = threading.RLock()
        self._topics: dict[str, Topic] = {}
        self._subscriptions: dict[str, Subscription] = {}
        # Microseconds since 1970: 16 digits as in Pub/Sub, and unique across restarts of the emulator.
        self._message_ids = itertools.count(time.time_ns() // 1000)

    def create_topic(self, topic: Topic) -> Topic:
        check_name("topics", topic.name)
        check_fields(topic.name, topic, _TOPIC_FIELDS)
        with self._lock:
            if topic.name in self._topics:
                raise AlreadyExistsError(f"The topic {topic.name} already exists. Choose another name.")
            self._topics[topic.name] = topic
        return topic

    def list_topics(self, project: str) -> list[Topic]:
        """Return the topics of `projects/PROJECT`, sorted by name."""
        check_project(project)
        with self._lock:
            return [self._topics[name] for name in sorted(self._topics) if name.startswith(f"{project}/")]

    def publish(self, request: PublishRequest) -> list[str]:
        """Add an id and a time to each message, add it to every subscription, and return the ids in order."""
        messages = [PubsubMessage(message) for message in request.messages]
        check_name("topics", request.topic)
        check_messages(request.topic, messages, len(PublishRequest.serialize(request)))
        with self._lock:
            self._require_topic(request.topic)
            return self._publish(request.topic, messages)

    def create_subscription(self, request: SubscriptionResource) -> Subscription:
        resource = fill_defaults(request)
        delivery = parse_delivery_policy(resource)
        with self._lock:
            if resource.name in self._subscriptions:
                raise AlreadyExistsError(
                    f"The subscription {resource.name} already exists. Choose another name."
                )
            self._require_topic(resource.topic)
            if delivery.dead_letters:
                self._require_topic(delivery.dead_letters.topic)
            subscription = Subscription(resource, delivery, self._lock, self._dead_letter, self._clock)
            self._subscriptions[resource.name] = subscription
        return subscription

    def get_subscription(self, name: str) -> Subscription:
        check_name("subscriptions", name)
        with self._lock:
            if name not in self._subscriptions:
                raise NotFoundError(f"The subscription {name} does not exist. Create it first.")
            return self._subscriptions[name]

    def list_subscriptions(self, project: str) -> list[Subscription]:
        """Return the subscriptions of `projects/PROJECT`, sorted by name."""
        check_project(project)
        with self._lock:
            names = sorted(name for name in self._subscriptions if name.startswith(f"{project}/"))
            return [self._subscriptions[name] for name in names]

    def delete_subscription(self, name: str) -> None:
        """Delete a subscription and its messages. The response to a push in progress is ignored."""
        with self._lock:
            self.get_subscription(name).close()
            del self._subscriptions[name]

    def close(self) -> None:
        """End all waiting calls. The broker can't be used afterwards."""
        with self._lock:
            for subscription in self._subscriptions.values():
                subscription.close()

    def _require_topic(self, name: str) -> None:
        if name not in self._topics:
            raise NotFoundError(f"The topic {name} does not exist. Create it first.")

    def _subscriptions_of(self, name: str) -> list[Subscription]:
        return [found for found in self._subscriptions.values() if found.resource.topic == name]

    def _publish(self, topic: str, messages: Sequence[PubsubMessage]) -> list[str]:
        now = datetime.now(UTC)
        # Whole milliseconds, so that pull, push and the dead letter's attribute have the same time.
        publish_time = now.replace(microsecond=now.microsecond // 1000 * 1000)
        for message in messages:
            message.message_id = str(next(self._message_ids))
            message.publish_time = publish_time
        for subscription in self._subscriptions_of(topic):
            for message in messages:
                subscription.add(message)
        return [message.message_id for message in messages]

    def _dead_letter(self, source: Subscription, topic: str, message: PubsubMessage, attempts: int) -> None:
        _, project, _, identifier = source.name.split("/")
        attributes = {
            **message.attributes,
            SOURCE_SUBSCRIPTION: identifier,
            SOURCE_PROJECT: project,
            SOURCE_DELIVERY_COUNT: str(attempts),
            SOURCE_PUBLISH_TIME: format_rfc3339(message.publish_time),
        }
        letter = PubsubMessage(data=message.data, attributes=attributes, ordering_key=message.ordering_key)
        has_subscription = bool(self._subscriptions_of(topic))
        self._publish(topic, [letter])
        _log.warning(
            "message dead-lettered: %s of %s to %s after %d attempts%s",
            message.message_id,
            source.name,
            topic,
            attempts,
            "" if has_subscription else "; the topic has no subscription, so the message is lost",
        )
