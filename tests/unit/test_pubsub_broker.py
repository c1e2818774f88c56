"""Backoff, leases, dead letters and memory of the built-in Pub/Sub, on a clock that the test advances."""

import gc
import threading
import weakref
from datetime import timedelta

import pytest
from google.pubsub_v1.types import PublishRequest, PubsubMessage, Topic
from google.pubsub_v1.types import Subscription as Resource

from defacer.pipeline.topology import RetryPolicy
from defacer_emulator.pubsub.broker import Broker, format_rfc3339
from defacer_emulator.pubsub.call_errors import InvalidArgumentError
from defacer_emulator.pubsub.delivery_policy import NO_BACKOFF, PUSH_BACKOFF
from defacer_emulator.pubsub.subscription import Subscription

TOPIC = "projects/project/topics/topic"
DEAD = "projects/project/topics/dead"
LEASE = 10.0


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def broker(clock: Clock) -> Broker:
    broker = Broker(clock=clock)
    for name in (TOPIC, DEAD):
        broker.create_topic(Topic(name=name))
    return broker


def subscribe(
    broker: Broker, topic: str = TOPIC, name: str = "subscription", **fields: object
) -> Subscription:
    resource = Resource(name=f"projects/project/subscriptions/{name}", topic=topic, **fields)
    return broker.create_subscription(resource)


def publish(broker: Broker, *data: bytes) -> list[str]:
    return broker.publish(PublishRequest(topic=TOPIC, messages=[{"data": item} for item in data]))


def take_data(subscription: Subscription, maximum: int = 10) -> list[tuple[bytes, int]]:
    """Return the messages that can be taken now, as data and attempt."""
    return [(found.message.data, found.attempt) for found in lease(subscription, maximum)]


def lease(subscription: Subscription, maximum: int = 10) -> list:
    return subscription.take(maximum, lease_seconds=LEASE, wait_seconds=0)


def retry(minimum: float, maximum: float) -> dict[str, timedelta]:
    return {"minimum_backoff": timedelta(seconds=minimum), "maximum_backoff": timedelta(seconds=maximum)}


@pytest.mark.parametrize(
    ("backoff", "pauses"),
    [
        (RetryPolicy(1, 10), [1, 2, 4, 8, 10, 10]),
        (RetryPolicy(5, 5), [5, 5]),
        (NO_BACKOFF, [0, 0, 0]),
        (PUSH_BACKOFF, [0.1, 0.2, 0.4, 0.8, 1.6]),
    ],
)
def test_pause_doubles_up_to_the_maximum(backoff: RetryPolicy, pauses: list[float]) -> None:
    assert [backoff.pause_seconds(attempts) for attempts in range(1, len(pauses) + 1)] == pytest.approx(
        pauses
    )


def test_pause_after_100000_attempts_is_the_maximum() -> None:
    assert RetryPolicy(0.1, 600).pause_seconds(100_000) == 600


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, NO_BACKOFF),
        ({"push_config": {"push_endpoint": "http://localhost:9/"}}, PUSH_BACKOFF),
        ({"retry_policy": {}}, RetryPolicy(10, 600)),
        ({"retry_policy": retry(0.5, 20)}, RetryPolicy(0.5, 20)),
        ({"retry_policy": retry(0, 0)}, NO_BACKOFF),
        # Never without a pause: a dead endpoint would receive pushes as fast as the machine can send.
        (
            {"retry_policy": retry(0, 0), "push_config": {"push_endpoint": "http://localhost:9/"}},
            RetryPolicy(0.1, 0.1),
        ),
    ],
    ids=str,
)
def test_subscription_gets_pubsub_default_or_requested_backoff(
    broker: Broker, fields: dict, expected: RetryPolicy
) -> None:
    assert subscribe(broker, **fields).policy.backoff == expected


@pytest.mark.parametrize("endpoint", ["nonsense", "ftp://host/", "http://", "http://host:port/", "/path"])
def test_invalid_push_endpoint_is_rejected(broker: Broker, endpoint: str) -> None:
    with pytest.raises(InvalidArgumentError, match="push_endpoint"):
        subscribe(broker, push_config={"push_endpoint": endpoint})


def test_messages_are_delivered_in_publishing_order(broker: Broker) -> None:
    subscription = subscribe(broker)
    publish(broker, b"1", b"2", b"3")
    assert take_data(subscription, 2) == [(b"1", 1), (b"2", 1)]
    assert take_data(subscription) == [(b"3", 1)]


def test_rejected_message_is_redelivered_after_its_own_pause(broker: Broker, clock: Clock) -> None:
    subscription = subscribe(broker, retry_policy=retry(2, 600))
    publish(broker, b"bad", b"good")
    bad, good = lease(subscription)
    subscription.reject([bad.ack_id])
    subscription.acknowledge([good.ack_id])
    for attempt, pause in ((2, 2.0), (3, 4.0), (4, 8.0)):
        clock.now += pause - 0.01
        assert lease(subscription) == []
        clock.now += 0.01
        (again,) = lease(subscription)
        assert again.attempt == attempt
        subscription.reject([again.ack_id])


def test_expired_lease_counts_as_an_attempt(broker: Broker, clock: Clock) -> None:
    subscription = subscribe(broker)
    publish(broker, b"slow")
    assert take_data(subscription) == [(b"slow", 1)]
    clock.now += LEASE - 0.01
    assert take_data(subscription) == []
    clock.now += 0.01
    assert take_data(subscription) == [(b"slow", 2)]


def test_extended_lease_lasts_from_the_extension(broker: Broker, clock: Clock) -> None:
    subscription = subscribe(broker)
    publish(broker, b"slow")
    (delivery,) = lease(subscription)
    clock.now += 9
    subscription.extend([delivery.ack_id], 20)
    clock.now += 19.9
    assert take_data(subscription) == []
    clock.now += 0.1
    assert take_data(subscription) == [(b"slow", 2)]


def test_late_answer_to_an_expired_attempt_is_ignored(broker: Broker, clock: Clock) -> None:
    subscription = subscribe(broker)
    publish(broker, b"slow")
    (first,) = lease(subscription)
    clock.now += LEASE
    (second,) = lease(subscription)
    subscription.acknowledge([first.ack_id])
    subscription.reject([first.ack_id])
    subscription.extend([first.ack_id], 600)
    assert len(subscription) == 1
    assert take_data(subscription) == []
    subscription.acknowledge([second.ack_id])
    assert len(subscription) == 0


def test_message_with_only_expired_leases_is_dead_lettered(broker: Broker, clock: Clock) -> None:
    policy = {"dead_letter_topic": DEAD, "max_delivery_attempts": 5}
    source, letters = subscribe(broker, dead_letter_policy=policy), subscribe(broker, DEAD, "letters")
    publish(broker, b"unwanted")
    for attempt in range(1, 6):
        assert take_data(source) == [(b"unwanted", attempt)]
        clock.now += LEASE
    assert take_data(letters) == []  # detected when the source is used next
    assert take_data(source) == []
    assert take_data(letters) == [(b"unwanted", 1)]
    assert len(source) == 0


def test_acknowledged_message_is_freed_from_memory(broker: Broker) -> None:
    one, two = subscribe(broker), subscribe(broker, name="second")
    publish(broker, b"x" * 1000)
    (first,), (second,) = lease(one), lease(two)
    message = weakref.ref(first.message)
    one.acknowledge([first.ack_id])
    two.acknowledge([second.ack_id])
    del first, second
    gc.collect()
    assert message() is None
    assert (len(one), len(two)) == (0, 0)


def test_message_of_a_topic_without_subscription_is_dropped(broker: Broker) -> None:
    publish(broker, b"no subscription")
    assert take_data(subscribe(broker)) == []


def test_message_ids_of_a_new_broker_are_new(broker: Broker) -> None:
    before = publish(broker, *(b"x" for _ in range(100)))
    again = Broker()
    again.create_topic(Topic(name=TOPIC))
    assert int(publish(again, b"x")[0]) > int(before[-1])


def test_close_ends_all_waiting_calls() -> None:
    broker = Broker()
    broker.create_topic(Topic(name=TOPIC))
    subscription = subscribe(broker)
    found: list[list] = []
    waiting = [threading.Thread(target=lambda: found.append(subscription.take(1))) for _ in range(3)]
    for thread in waiting:
        thread.start()
    broker.close()
    for thread in waiting:
        thread.join(timeout=10)
    assert found == [[], [], []]


def test_caller_that_disconnects_leaves_the_message_to_the_next() -> None:
    broker = Broker()
    broker.create_topic(Topic(name=TOPIC))
    subscription = subscribe(broker)
    disconnected, waits = threading.Event(), [threading.Event(), threading.Event()]
    found: list[list] = [[], []]

    def is_wanted(number: int) -> bool:
        waits[number].set()  # called right before the wait, under the lock that publishing needs
        return number == 1 or not disconnected.is_set()

    def work(number: int) -> None:
        found[number] = subscription.take(1, is_wanted=lambda: is_wanted(number))

    workers = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for worker, waiting in zip(workers, waits, strict=True):
        worker.start()
        assert waiting.wait(10)
    disconnected.set()
    publish(broker, b"x")  # wakes the first caller, which has disconnected
    workers[1].join(timeout=10)
    broker.close()
    workers[0].join(timeout=10)
    assert [len(deliveries) for deliveries in found] == [0, 1]


def test_publish_time_is_formatted_in_utc_with_milliseconds(broker: Broker) -> None:
    message = PubsubMessage(publish_time="2026-11-23T21:43:37.379Z")
    assert format_rfc3339(message.publish_time) == "2026-11-23T21:43:37.379Z"
    assert (
        format_rfc3339(PubsubMessage(publish_time="2026-11-23T22:43:37+01:00").publish_time)
        == "2026-11-23T21:43:37.000Z"
    )
