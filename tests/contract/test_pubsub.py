"""One contract for our Pub/Sub emulator and Google's. Where they differ, the tests assert the difference.

This module covers topics, subscriptions and clients of other programs. test_pubsub_pull.py and test_pubsub_push.py
cover delivery.
"""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from google.api_core import exceptions

from tests.contract.pubsub_client import Client, retry
from tests.contract.pubsub_servers import PubSub, storage_with_notifications

BAD_NAMES = ["ab", "1abc", "google-things", "has space", "a" * 256]


class TestTopics:
    def test_topic_is_created_and_listed(self, client: Client) -> None:
        name = client.topic_name()
        created = client.publisher.create_topic(request={"name": name, "labels": {"team": "video"}})
        assert (created.name, dict(created.labels)) == (name, {"team": "video"})
        assert list(client.publisher.list_topics(project=f"projects/{client.project}")) == [created]

    def test_missing_topic_is_not_found(self, client: Client) -> None:
        name = client.topic_name()
        with pytest.raises(exceptions.NotFound):
            client.publish(name)

    def test_topic_that_exists_is_not_created_again(self, client: Client) -> None:
        name = client.topic()
        with pytest.raises(exceptions.AlreadyExists):
            client.publisher.create_topic(name=name)

    @pytest.mark.parametrize("name", [*BAD_NAMES, ""])
    def test_invalid_name_is_rejected(self, client: Client, name: str) -> None:
        with pytest.raises(exceptions.InvalidArgument):
            client.publisher.create_topic(name=f"projects/{client.project}/topics/{name}")

    def test_our_errors_name_the_resource(self, client: Client, pubsub: PubSub) -> None:
        name = client.topic_name()
        with pytest.raises(exceptions.NotFound) as error:
            client.publish(name)
        assert (name in error.value.message) == (pubsub.name == "builtin")

    def test_call_that_no_emulator_supports_is_unimplemented(self, client: Client) -> None:
        with pytest.raises(exceptions.MethodNotImplemented):
            client.publisher.detach_subscription(request={"subscription": client.subscription_name()})


class TestSubscriptions:
    def test_subscription_is_created_found_listed_and_deleted(self, client: Client) -> None:
        topic, name = client.topic(), client.subscription_name()
        created = client.subscriber.create_subscription(
            request={"name": name, "topic": topic, "labels": {"max-outstanding": "3"}}
        )
        assert (created.name, created.topic, dict(created.labels)) == (name, topic, {"max-outstanding": "3"})
        assert client.subscriber.get_subscription(subscription=name) == created
        assert list(client.subscriber.list_subscriptions(project=f"projects/{client.project}")) == [created]
        client.subscriber.delete_subscription(subscription=name)
        assert not list(client.subscriber.list_subscriptions(project=f"projects/{client.project}"))
        with pytest.raises(exceptions.NotFound):
            client.subscriber.get_subscription(subscription=name)

    def test_defaults_are_filled_in(self, client: Client) -> None:
        topic, dead = client.topic(), client.topic()
        name = client.subscription(topic, dead_letter_policy={"dead_letter_topic": dead}, retry_policy={})
        found = client.subscriber.get_subscription(subscription=name)
        assert found.ack_deadline_seconds == 10
        assert found.dead_letter_policy.max_delivery_attempts == 5
        assert found.retry_policy.minimum_backoff == timedelta(seconds=10)
        assert found.retry_policy.maximum_backoff == timedelta(seconds=600)
        assert found.message_retention_duration == timedelta(days=7)
        plain = client.subscriber.get_subscription(subscription=client.subscription(topic))
        assert "retry_policy" not in plain
        assert "dead_letter_policy" not in plain

    def test_missing_subscription_is_not_found(self, client: Client) -> None:
        name = client.subscription_name()
        with pytest.raises(exceptions.NotFound):
            client.subscriber.delete_subscription(subscription=name)
        with pytest.raises(exceptions.NotFound):
            client.subscriber.pull(subscription=name, max_messages=1)
        with pytest.raises(exceptions.NotFound):
            client.subscriber.acknowledge(subscription=name, ack_ids=["any"])

    def test_subscription_that_exists_is_not_created_again(self, client: Client) -> None:
        topic = client.topic()
        name = client.subscription(topic)
        with pytest.raises(exceptions.AlreadyExists):
            client.subscriber.create_subscription(name=name, topic=topic)

    def test_topic_and_dead_letter_topic_must_exist(self, client: Client) -> None:
        with pytest.raises(exceptions.NotFound):
            client.subscription(client.topic_name())
        with pytest.raises(exceptions.NotFound):
            client.subscription(client.topic(), dead_letter_policy={"dead_letter_topic": client.topic_name()})

    @pytest.mark.parametrize("name", BAD_NAMES)
    def test_invalid_name_is_rejected(self, client: Client, name: str) -> None:
        with pytest.raises(exceptions.InvalidArgument):
            client.subscription(client.topic(), name=f"projects/{client.project}/subscriptions/{name}")

    @pytest.mark.parametrize(
        "fields",
        [
            {"ack_deadline_seconds": 601},
            {"ack_deadline_seconds": -1},
            {"retry_policy": retry(1, 601)},
            {"retry_policy": retry(601, 601)},
            {"retry_policy": retry(10, 5)},
            {"push_config": {"push_endpoint": "nonsense"}},
        ],
        ids=str,
    )
    def test_value_out_of_range_is_rejected(self, client: Client, fields: dict[str, Any]) -> None:
        with pytest.raises(exceptions.InvalidArgument):
            client.subscription(client.topic(), **fields)

    @pytest.mark.parametrize("attempts", [4, 101])
    def test_delivery_attempts_out_of_range_are_rejected(
        self, client: Client, pubsub: PubSub, attempts: int
    ) -> None:
        topic = client.topic()
        policy = {"dead_letter_topic": topic, "max_delivery_attempts": attempts}
        with pytest.raises(pubsub.differences.error_for_attempts_out_of_range):
            client.subscription(topic, dead_letter_policy=policy)

    def test_ack_deadline_has_a_minimum(self, client: Client, pubsub: PubSub) -> None:
        client.subscription(client.topic(), ack_deadline_seconds=pubsub.differences.min_ack_deadline)
        if pubsub.differences.min_ack_deadline == 10:
            with pytest.raises(exceptions.InvalidArgument):
                client.subscription(client.topic(), ack_deadline_seconds=9)

    @pytest.mark.parametrize(
        "fields",
        [
            {"enable_message_ordering": True},
            {"push_config": {"push_endpoint": "http://127.0.0.1:9/", "no_wrapper": {"write_metadata": True}}},
        ],
        ids=str,
    )
    def test_our_emulator_rejects_unsupported_fields(
        self, client: Client, pubsub: PubSub, fields: dict[str, Any]
    ) -> None:
        if pubsub.differences.rejects_unsupported_fields:
            with pytest.raises(exceptions.MethodNotImplemented):
                client.subscription(client.topic(), **fields)
        else:
            client.subscription(client.topic(), **fields)

    def test_filter_is_rejected_or_ignored(self, client: Client, pubsub: PubSub) -> None:
        topic = client.topic()
        fields = {"filter": 'attributes.kind = "a"'}
        if pubsub.differences.rejects_unsupported_fields:
            with pytest.raises(exceptions.MethodNotImplemented, match="filter"):
                client.subscription(topic, **fields)
        else:
            subscription = client.subscription(topic, **fields)
            client.publish(topic, kind="b")
            (message,) = client.pull(subscription)
            assert dict(message.message.attributes) == {"kind": "b"}


class TestOtherClients:
    def test_fake_gcs_server_publishes_an_upload(
        self, client: Client, pubsub: PubSub, tmp_path: Path
    ) -> None:
        topic = client.topic()
        subscription = client.subscription(topic)
        name = topic.rpartition("/")[2]
        with storage_with_notifications(pubsub, client.project, name, "intake", tmp_path) as address:
            requests.post(f"{address}/storage/v1/b", json={"name": "intake"}, timeout=10).raise_for_status()
            upload = requests.post(
                f"{address}/upload/storage/v1/b/intake/o",
                params={"uploadType": "media", "name": "jobs/clip.mp4"},
                data=b"a video",
                timeout=10,
            )
            upload.raise_for_status()
            (received,) = client.pull(subscription)
        message = received.message
        expected = {
            "bucketId": "intake",
            "objectId": "jobs/clip.mp4",
            "objectGeneration": str(upload.json()["generation"]),
            "eventType": "OBJECT_FINALIZE",
            "payloadFormat": "JSON_API_V1",
        }
        assert expected.items() <= dict(message.attributes).items()
        assert b"jobs/clip.mp4" in message.data
