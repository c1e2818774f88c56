"""Continue the contract of test_pubsub.py: publish, pull, acknowledge."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.api_core import exceptions
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from google.pubsub_v1.types import GetSubscriptionRequest, PullRequest

from tests.contract.pubsub_client import Client
from tests.contract.pubsub_servers import PubSub


class TestPull:
    def test_published_message_is_pulled(self, client: Client) -> None:
        topic = client.topic()
        subscription = client.subscription(topic)
        before = datetime.now(UTC) - timedelta(seconds=1)
        message_id = client.publish(topic, b"\x00data\xff", kind="test")
        (received,) = client.pull(subscription)
        message = received.message
        assert (message.message_id, message.data) == (message_id, b"\x00data\xff")
        assert dict(message.attributes) == {"kind": "test"}
        assert before < message.publish_time < datetime.now(UTC)
        assert received.delivery_attempt == 0  # no dead-letter policy

    def test_expired_message_is_redelivered_and_acknowledged_is_not(self, client: Client) -> None:
        topic = client.topic()
        subscription = client.subscription(topic)
        client.publish_raw(topic, {"data": b"done"}, {"data": b"not done"})
        messages = client.pull(subscription)
        assert {message.message.data for message in messages} == {b"done", b"not done"}
        pulled = time.monotonic()
        client.set_deadline(subscription, 1, *messages)
        client.acknowledge(
            subscription, *(message for message in messages if message.message.data == b"done")
        )
        (redelivered,) = client.pull(subscription)
        assert redelivered.message.data == b"not done"
        assert time.monotonic() - pulled > 0.95
        assert redelivered.ack_id not in {message.ack_id for message in messages}
        assert client.pull_now(subscription) == []

    def test_nacked_message_is_redelivered_at_once(self, client: Client) -> None:
        topic = client.topic()
        subscription = client.subscription(topic)
        client.publish(topic, b"again")
        (first,) = client.pull(subscription)
        assert client.pull_now(subscription) == []
        client.set_deadline(subscription, 0, first)
        (second,) = client.pull(subscription)
        assert second.message == first.message

    def test_late_acknowledgement_is_accepted(self, client: Client) -> None:
        topic = client.topic()
        subscription = client.subscription(topic)
        client.publish(topic)
        (first,) = client.pull(subscription)
        client.set_deadline(subscription, 0, first)
        client.acknowledge(subscription, first)

    def test_pull_waits_for_the_next_message(self, client: Client) -> None:
        topic = client.topic()
        subscription = client.subscription(topic)
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(client.pull, subscription)
            client.publish(topic, b"awaited")
            (message,) = waiting.result(timeout=20)
        assert message.message.data == b"awaited"

    @pytest.mark.serial
    def test_pull_without_messages_ends_without_an_error(self, client: Client) -> None:
        subscription = client.subscription(client.topic())
        started = time.monotonic()
        assert not client.subscriber.pull(
            subscription=subscription, max_messages=1, timeout=2
        ).received_messages
        assert 0.5 < time.monotonic() - started < 2

    def test_cancelled_pull_receives_no_message(self, client: Client, pubsub: PubSub) -> None:
        topic = client.topic()
        subscription = client.subscription(topic, ack_deadline_seconds=60)
        with grpc.insecure_channel(pubsub.address) as channel:
            transport = SubscriberGrpcTransport(channel=channel)
            waiting = transport.pull.future(  # type: ignore[attr-defined]
                PullRequest(subscription=subscription, max_messages=1)
            )
            # Calls on the same connection: after each response, the server has received the pull or its cancellation.
            transport.get_subscription(GetSubscriptionRequest(subscription=subscription))
            waiting.cancel()
            transport.get_subscription(GetSubscriptionRequest(subscription=subscription))
            client.publish(topic, b"for the next pull")
            (message,) = client.pull(subscription, seconds=50)  # less than the ack deadline
        assert message.message.data == b"for the next pull"

    def test_each_subscription_receives_its_topic_s_messages(self, client: Client) -> None:
        topic, other = client.topic(), client.topic()
        first, second, unrelated = (client.subscription(of) for of in (topic, topic, other))
        message_id = client.publish(topic)
        for subscription in (first, second):
            (received,) = client.pull(subscription)
            assert received.message.message_id == message_id
        assert client.pull_now(unrelated) == []

    def test_message_before_the_subscription_is_not_delivered(self, client: Client) -> None:
        topic = client.topic()
        client.publish(topic, b"before")
        subscription = client.subscription(topic)
        client.publish(topic, b"after")
        assert [received.message.data for received in client.pull(subscription)] == [b"after"]

    def test_invalid_requests_are_rejected(self, client: Client) -> None:
        topic = client.topic()
        subscription = client.subscription(topic)
        call = {"subscription": subscription}
        with pytest.raises(exceptions.InvalidArgument):
            client.subscriber.pull(request={**call, "max_messages": 0})
        with pytest.raises(exceptions.InvalidArgument):
            client.subscriber.acknowledge(request={**call, "ack_ids": []})
        with pytest.raises(exceptions.InvalidArgument):
            client.subscriber.acknowledge(request={**call, "ack_ids": ["not from a pull"]})
        client.publish(topic)
        (message,) = client.pull(subscription)
        with pytest.raises(exceptions.InvalidArgument):
            client.set_deadline(subscription, -1, message)

    def test_empty_messages_are_rejected(self, client: Client) -> None:
        topic = client.topic()
        batches: list[list[dict[str, bytes]]] = [[], [{}], [{"data": b"one"}, {"data": b""}]]
        for messages in batches:
            with pytest.raises(exceptions.InvalidArgument):
                client.publish_raw(topic, *messages)

    @pytest.mark.parametrize(
        "message",
        [
            {"data": b"x" * 10_500_000},
            {"data": b"x", "attributes": {str(number): "x" for number in range(101)}},
            {"data": b"x", "attributes": {"k" * 257: "x"}},
            {"data": b"x", "attributes": {"": "x"}},
            {"data": b"x", "attributes": {"k": "x" * 1025}},
        ],
        ids=["data", "attributes", "long key", "empty key", "long value"],
    )
    def test_message_limits_are_checked(
        self, client: Client, pubsub: PubSub, message: dict[str, Any]
    ) -> None:
        topic = client.topic()
        if pubsub.differences.checks_message_limits:
            with pytest.raises(exceptions.InvalidArgument):
                client.publish_raw(topic, message)
        else:
            assert len(client.publish_raw(topic, message)) == 1

    def test_message_is_a_dead_letter_after_its_last_attempt(self, client: Client, pubsub: PubSub) -> None:
        topic, dead = client.topic(), client.topic()
        policy = {"dead_letter_topic": dead, "max_delivery_attempts": 5}
        source, letters = client.subscription(topic, dead_letter_policy=policy), client.subscription(dead)
        client.publish(topic, b"exhausted")
        for attempt in range(1, 6):
            (message,) = client.pull(source)
            assert message.delivery_attempt == attempt
            client.set_deadline(source, 0, message)
        forwarded = client.pull_now(letters)
        assert len(forwarded) == pubsub.differences.dead_letters_at_last_nack
        assert client.pull_now(source) == []
        (letter,) = forwarded or client.pull(letters)
        assert letter.message.data == b"exhausted"

    def test_pull_from_a_push_subscription_is_rejected_by_ours(self, client: Client, pubsub: PubSub) -> None:
        subscription = client.subscription(client.topic(), "http://127.0.0.1:9/")
        if pubsub.differences.rejects_pull_from_push:
            with pytest.raises(exceptions.FailedPrecondition):
                client.pull_now(subscription)
        else:
            assert client.pull_now(subscription) == []
