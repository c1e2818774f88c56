"""Short calls to a Pub/Sub emulator through the official clients, for the contract tests."""

import time
import uuid
import warnings
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from google.cloud import pubsub_v1
from google.pubsub_v1 import PublisherClient
from google.pubsub_v1.types import ReceivedMessage


def retry(minimum: float, maximum: float) -> dict[str, timedelta]:
    """Return a retry policy with backoffs in seconds."""
    return {"minimum_backoff": timedelta(seconds=minimum), "maximum_backoff": timedelta(seconds=maximum)}


@dataclass(frozen=True)
class Client:
    """The official clients of one test's project. Names are unique to a test."""

    project: str
    publisher: pubsub_v1.PublisherClient
    subscriber: pubsub_v1.SubscriberClient

    def topic(self) -> str:
        """Create a topic and return its full name."""
        name = self.topic_name()
        self.publisher.create_topic(name=name, timeout=10)
        return name

    def topic_name(self) -> str:
        return f"projects/{self.project}/topics/t{uuid.uuid4().hex[:12]}"

    def subscription(self, topic: str, endpoint: str = "", **fields: Any) -> str:
        """Create a subscription and return its full name. With an endpoint it is a push subscription."""
        request = {"name": self.subscription_name(), "topic": topic, **fields}
        if endpoint:
            request["push_config"] = {"push_endpoint": endpoint}
        self.subscriber.create_subscription(request=request, timeout=10)
        return str(request["name"])

    def subscription_name(self) -> str:
        return f"projects/{self.project}/subscriptions/s{uuid.uuid4().hex[:12]}"

    def delete_subscriptions(self) -> None:
        for subscription in self.subscriber.list_subscriptions(
            project=f"projects/{self.project}", timeout=10
        ):
            self.subscriber.delete_subscription(subscription=subscription.name, timeout=10)

    def publish(self, topic: str, data: bytes = b"data", **attributes: str) -> str:
        """Publish a message and return its id."""
        return str(self.publisher.publish(topic, data, **attributes).result(timeout=10))

    def publish_raw(self, topic: str, *messages: dict[str, Any]) -> list[str]:
        """Publish in one call, without the publisher's own checks, and return the message ids."""
        request = {"topic": topic, "messages": list(messages)}
        return list(PublisherClient.publish(self.publisher, request=request, timeout=10).message_ids)

    def pull(self, subscription: str, maximum: int = 10, seconds: float = 20) -> list[ReceivedMessage]:
        """Wait for messages and return them. Raise an AssertionError if none arrives in time."""
        request = {"subscription": subscription, "max_messages": maximum}
        deadline = time.monotonic() + seconds
        # Google's emulator and Pub/Sub can return an empty response before the timeout.
        while (remaining := deadline - time.monotonic()) > 0.5:
            if messages := self.subscriber.pull(request=request, timeout=remaining).received_messages:
                return list(messages)
        raise AssertionError(f"no message arrived on {subscription} within {seconds} s")

    def pull_now(self, subscription: str) -> list[ReceivedMessage]:
        """Return the messages that are available now."""
        request = {"subscription": subscription, "max_messages": 100, "return_immediately": True}
        with warnings.catch_warnings():
            # return_immediately is deprecated because clients polled with it. This is a single call.
            warnings.simplefilter("ignore", DeprecationWarning)
            return list(self.subscriber.pull(request=request, timeout=10).received_messages)

    def acknowledge(self, subscription: str, *messages: ReceivedMessage) -> None:
        ack_ids = [message.ack_id for message in messages]
        self.subscriber.acknowledge(subscription=subscription, ack_ids=ack_ids, timeout=10)

    def set_deadline(self, subscription: str, seconds: int, *messages: ReceivedMessage) -> None:
        ack_ids = [message.ack_id for message in messages]
        self.subscriber.modify_ack_deadline(
            subscription=subscription, ack_ids=ack_ids, ack_deadline_seconds=seconds, timeout=10
        )
