"""The contract of test_pubsub.py, continued: publish, pull, acknowledge."""

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
    def test_a_message_is_published_and_pulled(self, client: Client) -> None:
        topic = client.topic()
        subscription = client.subscription(topic)
        before = datetime.now(UTC) - timedelta(seconds=1)
        message_id = client.publish(topic, b"\x00data\xff", kind="test")
        (received,) = client.pull(subscription)
        message = received.message
        assert (message.message_id, message.data) == (message_id, b"\x00data\xff")
        assert dict(message.attributes) == {"kind": "test"}
        assert before < message.publish_time < datetime.now(UTC)
        assert received.delivery_attempt == 0  # it has no dead-letter policy

    def test_an_acknowledged_message_does_not_come_again_and_an_expired_one_does(
        self, client: Client
    ) -> None:
        topic = client.topic()
        subscription = client.subscription(topic)
        client.publish_raw(topic, {"data": b"done"}, {"data": b"not done"})
        messages = client.pull(subscription)
        assert {one.message.data for one in messages} == {b"done", b"not done"}
        pulled = time.monotonic()
        client.set_deadline(subscription, 1, *messages)
        client.acknowledge(subscription, *(one for one in messages if one.message.data == b"done"))
        (again,) = client.pull(subscription)
        assert again.message.data == b"not done"
        assert time.monotonic() - pulled > 0.95
        assert again.ack_id not in {one.ack_id for one in messages}
        assert client.look(subscription) == []

    def test_a_message_given_back_comes_again_at_once(self, client: Client) -> None:
        topic = client.topic()
        subscription = client.subscription(topic)
        client.publish(topic, b"again")
        (first,) = client.pull(subscription)
        assert client.look(subscription) == []
        client.set_deadline(subscription, 0, first)
        (second,) = client.pull(subscription)
        assert second.message == first.message

    def test_a_late_acknowledgement_is_no_error(self, client: Client) -> None:
        topic = client.topic()
        subscription = client.subscription(topic)
        client.publish(topic)
        (first,) = client.pull(subscription)
        client.set_deadline(subscription, 0, first)
        client.acknowledge(subscription, first)

    def test_a_pull_waits_for_the_next_message(self, client: Client) -> None:
        topic = client.topic()
        subscription = client.subscription(topic)
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(client.pull, subscription)
            client.publish(topic, b"awaited")
            (message,) = waiting.result(timeout=20)
        assert message.message.data == b"awaited"

    def test_a_pull_in_vain_ends_without_an_error(self, client: Client) -> None:
        subscription = client.subscription(client.topic())
        started = time.monotonic()
        assert not client.subscriber.pull(
            subscription=subscription, max_messages=1, timeout=2
        ).received_messages
        assert 0.5 < time.monotonic() - started < 2

    def test_a_caller_who_went_away_gets_no_message(self, client: Client, pubsub: PubSub) -> None:
        topic = client.topic()
        subscription = client.subscription(topic)
        with grpc.insecure_channel(pubsub.address) as channel:
            transport = SubscriberGrpcTransport(channel=channel)
            waiting = transport.pull.future(PullRequest(subscription=subscription, max_messages=1))
            # An answer on the same connection: the pull before it has arrived, and later its cancellation.
            transport.get_subscription(GetSubscriptionRequest(subscription=subscription))
            waiting.cancel()
            transport.get_subscription(GetSubscriptionRequest(subscription=subscription))
            client.publish(topic, b"for who is there")
            (message,) = client.pull(subscription, seconds=8)  # less than the ack deadline
        assert message.message.data == b"for who is there"

    def test_each_subscription_gets_every_message_and_no_others(self, client: Client) -> None:
        topic, other = client.topic(), client.topic()
        one, two, stranger = (client.subscription(of) for of in (topic, topic, other))
        message_id = client.publish(topic)
        for subscription in (one, two):
            (received,) = client.pull(subscription)
            assert received.message.message_id == message_id
        assert client.look(stranger) == []

    def test_a_message_from_before_the_subscription_does_not_come(self, client: Client) -> None:
        topic = client.topic()
        client.publish(topic, b"nobody listens")
        subscription = client.subscription(topic)
        client.publish(topic, b"first heard")
        assert [one.message.data for one in client.pull(subscription)] == [b"first heard"]

    def test_bad_requests_are_refused(self, client: Client) -> None:
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

    def test_empty_messages_are_refused(self, client: Client) -> None:
        topic = client.topic()
        for messages in ([], [{}], [{"data": b"one"}, {"data": b""}]):
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
    def test_the_limits_of_a_message(self, client: Client, pubsub: PubSub, message: dict[str, Any]) -> None:
        topic = client.topic()
        if pubsub.differences.checks_message_limits:
            with pytest.raises(exceptions.InvalidArgument):
                client.publish_raw(topic, message)
        else:
            assert len(client.publish_raw(topic, message)) == 1

    def test_after_the_last_attempt_it_is_a_dead_letter(self, client: Client, pubsub: PubSub) -> None:
        topic, dead = client.topic(), client.topic()
        policy = {"dead_letter_topic": dead, "max_delivery_attempts": 5}
        source, letters = client.subscription(topic, dead_letter_policy=policy), client.subscription(dead)
        client.publish(topic, b"nobody wants me")
        for attempt in range(1, 6):
            (message,) = client.pull(source)
            assert message.delivery_attempt == attempt
            client.set_deadline(source, 0, message)
        given_up = client.look(letters)
        assert len(given_up) == pubsub.differences.gives_up_at_last_refusal
        assert client.look(source) == []
        (letter,) = given_up or client.pull(letters)
        assert letter.message.data == b"nobody wants me"

    def test_pull_from_a_push_subscription(self, client: Client, pubsub: PubSub) -> None:
        subscription = client.subscription(client.topic(), "http://127.0.0.1:9/")
        if pubsub.differences.refuses_pull_from_push:
            with pytest.raises(exceptions.FailedPrecondition):
                client.look(subscription)
        else:
            assert client.look(subscription) == []
