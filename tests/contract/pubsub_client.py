"""What the contract's tests say to a Pub/Sub emulator, through the official clients."""

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
    """A retry policy, in seconds."""
    return {"minimum_backoff": timedelta(seconds=minimum), "maximum_backoff": timedelta(seconds=maximum)}


@dataclass(frozen=True)
class Client:
    """The official clients, and short ways to say what most tests need. Names are unique to a test."""

    project: str
    publisher: pubsub_v1.PublisherClient
    subscriber: pubsub_v1.SubscriberClient

    def topic(self) -> str:
        """A new topic's full name."""
        name = self.topic_name()
        self.publisher.create_topic(name=name, timeout=10)
        return name

    def topic_name(self) -> str:
        return f"projects/{self.project}/topics/t{uuid.uuid4().hex[:12]}"

    def subscription(self, topic: str, endpoint: str = "", **fields: Any) -> str:
        """A new subscription's full name; with an endpoint it pushes."""
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
        """Returns the message id."""
        return str(self.publisher.publish(topic, data, **attributes).result(timeout=10))

    def publish_raw(self, topic: str, *messages: dict[str, Any]) -> list[str]:
        """Publishes in one call, past the checks that the publisher makes itself; returns the message ids."""
        request = {"topic": topic, "messages": list(messages)}
        return list(PublisherClient.publish(self.publisher, request=request, timeout=10).message_ids)

    def pull(self, subscription: str, maximum: int = 10, seconds: float = 20) -> list[ReceivedMessage]:
        """Waits for messages; an AssertionError if none comes."""
        request = {"subscription": subscription, "max_messages": maximum}
        deadline = time.monotonic() + seconds
        # One call may return empty-handed: Google's emulator does after a while, and Pub/Sub may.
        while (remaining := deadline - time.monotonic()) > 0.5:
            if messages := self.subscriber.pull(request=request, timeout=remaining).received_messages:
                return list(messages)
        raise AssertionError(f"nothing came to {subscription} in {seconds} s")

    def look(self, subscription: str) -> list[ReceivedMessage]:
        """What is there now."""
        request = {"subscription": subscription, "max_messages": 100, "return_immediately": True}
        with warnings.catch_warnings():
            # return_immediately is deprecated for those who would poll with it.
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
