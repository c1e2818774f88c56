"""The contract of test_pubsub.py, continued: push, its repetition, dead letters, flow control."""

import base64
import threading
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from google.api_core import exceptions

from tests.contract.pubsub_client import Client, retry
from tests.contract.pubsub_servers import PubSub
from tests.contract.push_endpoint import HANG_UP, PushEndpoint, Received
from tests.servers import wait_until

SOURCE = "CloudPubSubDeadLetterSource"


def gaps(received: list[Received]) -> list[float]:
    return [later.arrived - earlier.arrived for earlier, later in pairwise(received)]


def told(pubsub: PubSub, attempts: set[int]) -> set[int] | set[None]:
    """The attempts that push bodies name when these are made."""
    return attempts if pubsub.differences.tells_push_attempt else {None}


class TestPush:
    def test_the_body_has_the_documented_form(self, client: Client) -> None:
        topic = client.topic()
        with PushEndpoint() as endpoint:
            subscription = client.subscription(topic, f"{endpoint.address}/some/path")
            message_id = client.publish(topic, b"\x00data\xff", kind="test")
            (received,) = endpoint.wait_for(1)
        assert (received.path, received.content_type) == ("/some/path", "application/json")
        message = received.body["message"]
        publish_time = message["publishTime"]
        assert received.body == {
            "message": {
                "data": base64.b64encode(b"\x00data\xff").decode(),
                "attributes": {"kind": "test"},
                "messageId": message_id,
                "message_id": message_id,
                "publishTime": publish_time,
                "publish_time": publish_time,
            },
            "subscription": subscription,
        }
        age = datetime.now(UTC) - datetime.strptime(publish_time, "%Y-%m-%dT%H:%M:%S.%f%z")
        assert timedelta(0) <= age < timedelta(seconds=30)

    def test_a_message_without_data_has_empty_data(self, client: Client) -> None:
        topic = client.topic()
        with PushEndpoint() as endpoint:
            client.subscription(topic, endpoint.address)
            client.publish_raw(topic, {"attributes": {"kind": "test"}})
            (received,) = endpoint.wait_for(1)
        assert received.body["message"]["data"] == ""

    def test_the_largest_message_goes_through(self, client: Client) -> None:
        topic = client.topic()
        with PushEndpoint() as endpoint:
            client.subscription(topic, endpoint.address)
            client.publish_raw(topic, {"data": b"x" * 9_900_000})
            (received,) = endpoint.wait_for(1)
        assert base64.b64decode(received.body["message"]["data"]) == b"x" * 9_900_000

    def test_a_push_leaves_at_once(self, client: Client, pubsub: PubSub) -> None:
        topic = client.topic()
        delays = []
        with PushEndpoint() as endpoint:
            client.subscription(topic, endpoint.address)
            for count in range(1, 11):
                asked = time.monotonic()
                client.publish_raw(topic, {"data": b"x"})
                delays.append(endpoint.wait_for(count)[-1].arrived - asked)
        # The shortest, because others use this machine too. It includes the call to publish.
        assert min(delays) < (0.05 if pubsub.differences.pushes_at_once_after_publish else 1.5)

    def test_which_answers_acknowledge(self, client: Client, pubsub: PubSub) -> None:
        statuses = {102, 200, 201, 202, 203, 204, 206, 301, 400, 404, 429, 500, 503}
        topic = client.topic()
        with PushEndpoint(lambda received: int(received.path[1:])) as endpoint:
            for status in statuses:
                client.subscription(topic, f"{endpoint.address}/{status}", retry_policy=retry(1, 1))
            client.publish(topic)
            # All have the same back-off: when each refused message came three times, no other one will come.
            for status in statuses - pubsub.differences.acknowledging:
                endpoint.wait_for(3, f"/{status}")
            once = {status for status in statuses if len(endpoint.received(f"/{status}")) == 1}
        assert once == pubsub.differences.acknowledging

    @pytest.mark.parametrize("failure", [500, HANG_UP], ids=["500", "hangs up"])
    def test_a_failed_push_is_repeated_until_it_works(self, client: Client, failure: int) -> None:
        topic = client.topic()

        def answer(received: Received) -> int:
            same = [one for one in endpoint.received() if one.message_id == received.message_id]
            return failure if len(same) <= 2 else 204

        with PushEndpoint(answer) as endpoint:
            client.subscription(topic, endpoint.address, retry_policy=retry(0, 1))
            message_id = client.publish(topic, b"persistent")
            received = endpoint.wait_for(3)
        assert {one.message_id for one in received} == {message_id}
        assert {one.body["message"]["data"] for one in received} == {base64.b64encode(b"persistent").decode()}

    def test_a_push_to_a_closed_port_is_repeated(self, client: Client, pubsub: PubSub) -> None:
        topic, dead = client.topic(), client.topic()
        fields = {"dead_letter_policy": {"dead_letter_topic": dead, "max_delivery_attempts": 100}}
        with PushEndpoint(lambda _: 500) as refusing, PushEndpoint(listening=False) as closed:
            client.subscription(topic, closed.address, **fields)
            client.subscription(topic, refusing.address, **fields)
            client.publish(topic)
            refusing.wait_for(2)  # the closed port has been tried as well by now
            closed.listen()
            (received,) = closed.wait_for(1)
        if pubsub.differences.tells_push_attempt:
            assert received.body["deliveryAttempt"] > 1

    def test_a_push_without_an_answer_is_repeated_after_the_deadline(
        self, client: Client, pubsub: PubSub
    ) -> None:
        topic = client.topic()
        deadline = pubsub.differences.shortest_ack_deadline
        release = threading.Event()

        def answer(received: Received) -> int:
            if len(endpoint.received()) == 1:
                release.wait(60)
            return 204

        with PushEndpoint(answer) as endpoint:
            client.subscription(topic, endpoint.address, ack_deadline_seconds=deadline)
            first_id = client.publish(topic)
            try:
                first, second = endpoint.wait_for(2)
                assert first.is_abandoned() == pubsub.differences.hangs_up_after_deadline
            finally:
                release.set()
            assert second.message_id == first_id
            assert deadline - 0.05 < gaps([first, second])[0] < deadline + 3
            next_id = client.publish(topic)
            received = endpoint.wait_for(3)
        assert [one.message_id for one in received] == [first_id, first_id, next_id]

    def test_the_pause_before_a_repetition_grows_from_the_minimum(self, client: Client) -> None:
        topic = client.topic()
        with PushEndpoint(lambda _: 204 if len(endpoint.received()) == 3 else 500) as endpoint:
            client.subscription(topic, endpoint.address, retry_policy=retry(1, 4))
            client.publish(topic)
            first, second = gaps(endpoint.wait_for(3))
        assert 0.99 < first < 2.5
        assert 1.99 < second < 4.5

    def test_a_bad_message_does_not_hold_up_the_others(self, client: Client) -> None:
        topic = client.topic()
        bad = base64.b64encode(b"bad").decode()
        with PushEndpoint(lambda one: 500 if one.body["message"]["data"] == bad else 204) as endpoint:
            client.subscription(topic, endpoint.address, retry_policy=retry(600, 600))
            client.publish(topic, b"bad")
            endpoint.wait_for(1)
            good = {client.publish(topic, b"good") for _ in range(5)}
            received = endpoint.wait_for(6)
        assert {one.message_id for one in received[1:]} == good

    def test_after_the_last_attempt_it_is_a_dead_letter(self, client: Client, pubsub: PubSub) -> None:
        topic, dead = client.topic(), client.topic()
        letters = client.subscription(dead)
        policy = {"dead_letter_topic": dead, "max_delivery_attempts": 5}
        with PushEndpoint(lambda _: 500) as endpoint:
            source = client.subscription(topic, endpoint.address, dead_letter_policy=policy)
            message_id = client.publish(topic, b"nobody wants me", kind="test")
            (letter,) = client.pull(letters)
            pushes = endpoint.received()
            assert len(pushes) == 5
            endpoint.answer = lambda _: 204
            client.publish(topic, b"the next one")
            (following,) = endpoint.wait_for(6)[5:]
        _, project, _, name = source.split("/")
        assert letter.message.data == b"nobody wants me"
        assert letter.message.message_id != message_id
        assert dict(letter.message.attributes) == {
            "kind": "test",
            f"{SOURCE}Subscription": name,
            f"{SOURCE}SubscriptionProject": project,
            f"{SOURCE}DeliveryCount": "5",
            f"{SOURCE}TopicPublishTime": pushes[0].body["message"]["publishTime"],
        }
        assert following.message_id != message_id  # which is gone
        assert {one.body.get("deliveryAttempt") for one in pushes} == told(pubsub, {1, 2, 3, 4, 5})

    def test_two_subscriptions_of_a_topic_both_push(self, client: Client) -> None:
        topic = client.topic()
        with PushEndpoint() as endpoint:
            names = {client.subscription(topic, f"{endpoint.address}/{path}") for path in ("one", "two")}
            message_id = client.publish(topic)
            received = endpoint.wait_for(2)
        assert {one.path for one in received} == {"/one", "/two"}
        assert {one.message_id for one in received} == {message_id}
        assert {one.body["subscription"] for one in received} == names

    def test_a_deleted_subscription_pushes_no_more(self, client: Client) -> None:
        topic = client.topic()
        with PushEndpoint(lambda received: 500 if received.path == "/deleted" else 204) as endpoint:
            deleted = client.subscription(topic, f"{endpoint.address}/deleted", retry_policy=retry(1, 1))
            kept = client.subscription(topic, f"{endpoint.address}/kept", retry_policy=retry(1, 1))
            client.publish(topic)
            endpoint.wait_for(2)
            client.subscriber.delete_subscription(subscription=deleted)
            before = len(endpoint.received("/deleted"))
            # As long a pause as the deleted one's, and then one more: had it been kept, it would have come.
            endpoint.answer = lambda _: 204 if len(endpoint.received("/kept")) > 3 else 500
            client.publish(topic)
            endpoint.wait_for(4, "/kept")
            assert len(endpoint.received("/deleted")) == before
        assert client.subscriber.get_subscription(subscription=kept).name == kept

    def test_a_deleted_topic_lets_its_messages_be_pushed(self, client: Client) -> None:
        topic = client.topic()
        release = threading.Event()

        def answer(received: Received) -> int:
            release.wait(30)
            return 204

        with PushEndpoint(answer) as endpoint:
            client.subscription(topic, endpoint.address)
            published = {client.publish(topic) for _ in range(4)}
            endpoint.wait_for(1)
            client.publisher.delete_topic(topic=topic)
            release.set()
            received = endpoint.wait_for(4)
        assert {one.message_id for one in received} == published

    def test_200_messages_are_all_delivered_at_the_first_attempt(
        self, client: Client, pubsub: PubSub
    ) -> None:
        topic, dead = client.topic(), client.topic()
        with PushEndpoint() as endpoint:
            client.subscription(topic, endpoint.address, dead_letter_policy={"dead_letter_topic": dead})
            futures = [client.publisher.publish(topic, str(number).encode()) for number in range(200)]
            published = sorted(future.result(timeout=10) for future in futures)
            received = endpoint.wait_for(200)
        assert sorted(one.message_id for one in received) == published
        assert {one.body.get("deliveryAttempt") for one in received} == told(pubsub, {1})


class TestFlowControl:
    def test_a_busy_worker_is_left_alone(self, client: Client, pubsub: PubSub) -> None:
        """40 messages keep a worker that takes one request at a time busy for longer than the ack deadline."""
        topic, dead = client.topic(), client.topic()
        deadline = pubsub.differences.shortest_ack_deadline
        worker = threading.Lock()

        def answer(received: Received) -> int:
            with worker:
                time.sleep(1.1 * deadline / 40)  # the work
            return 204

        with PushEndpoint(answer) as endpoint:
            client.subscription(
                topic,
                endpoint.address,
                ack_deadline_seconds=deadline,
                dead_letter_policy={"dead_letter_topic": dead},
            )
            client.publish_raw(topic, *({"data": str(number).encode()} for number in range(40)))
            received = endpoint.wait_for(40)
            wait_until(lambda: endpoint.at_once == 0, "the last message was answered")
        assert received[-1].arrived - received[0].arrived > deadline
        assert endpoint.most_at_once == pubsub.differences.pushes_at_once
        assert len({one.message_id for one in received}) == len(endpoint.received()) == 40
        assert {one.body.get("deliveryAttempt") for one in received} == told(pubsub, {1})

    def test_a_label_says_how_many_pushes_there_are_at_once(self, client: Client, pubsub: PubSub) -> None:
        topic = client.topic()
        expected = pubsub.differences.pushes_at_once_with_label_3
        enough = threading.Event()

        def answer(received: Received) -> int:
            if endpoint.at_once >= expected:
                enough.set()
            assert enough.wait(20)
            time.sleep(0.005)  # the work: others come in meanwhile, if there are others
            return 204

        with PushEndpoint(answer) as endpoint:
            client.subscription(
                topic, endpoint.address, ack_deadline_seconds=60, labels={"max-outstanding": "3"}
            )
            client.publish_raw(topic, *({"data": str(number).encode()} for number in range(60)))
            endpoint.wait_for(60)
        assert endpoint.most_at_once == expected

    @pytest.mark.parametrize("label", ["0", "101", "many", ""])
    def test_a_label_that_is_no_such_number(self, client: Client, pubsub: PubSub, label: str) -> None:
        fields = {"labels": {"max-outstanding": label}}
        if pubsub.name == "builtin":
            with pytest.raises(exceptions.InvalidArgument, match="max-outstanding"):
                client.subscription(client.topic(), "http://127.0.0.1:9/", **fields)
        else:
            client.subscription(client.topic(), "http://127.0.0.1:9/", **fields)
