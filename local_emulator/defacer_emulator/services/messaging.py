"""Create topics and push subscriptions in a Pub/Sub emulator."""

from collections.abc import Iterable, Mapping
from datetime import timedelta

import grpc
from google.api_core.exceptions import GoogleAPIError
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from google.pubsub_v1.types import DeadLetterPolicy, PushConfig, Subscription
from google.pubsub_v1.types import RetryPolicy as RetryPolicyMessage

from defacer.pipeline.topology import LOCAL_RETRIES, LOST_LETTERS, LOST_LETTERS_SUBSCRIPTION, TOPICS, Function
from defacer_emulator.errors import EmulatorError
from defacer_emulator.processes.supervisor import PROBE_SECONDS
from defacer_emulator.pubsub.delivery_policy import MAX_OUTSTANDING_LABEL
from defacer_emulator.resources import Resources

# By default, the client retries for 10 minutes: too long for a server on this machine.
REQUEST_SECONDS = 10.0


def open_grpc_channel(host: str) -> grpc.Channel:
    """Open an unencrypted connection to an emulator. It ignores proxies that the environment names."""
    return grpc.insecure_channel(host, options=[("grpc.enable_http_proxy", 0)])


def create_publisher(host: str) -> PublisherClient:
    return PublisherClient(transport=PublisherGrpcTransport(channel=open_grpc_channel(host)))


def create_subscriber(host: str) -> SubscriberClient:
    return SubscriberClient(transport=SubscriberGrpcTransport(channel=open_grpc_channel(host)))


def topic_path(project: str, topic: str) -> str:
    return f"projects/{project}/topics/{topic}"


def is_pubsub_ready(host: str, project: str) -> bool:
    """Return whether a Pub/Sub emulator answers, and not another program on the same port."""
    with create_publisher(host) as client:
        try:
            client.list_topics(project=f"projects/{project}", retry=None, timeout=PROBE_SECONDS)
        except GoogleAPIError:
            return False
    return True


def create_topics(host: str, resources: Resources) -> None:
    """Create all topics. Without the topic, fake-gcs-server loses the message about an upload."""
    with create_publisher(host) as client:
        for topic in TOPICS:
            try:
                name = topic_path(resources.project, topic)
                client.create_topic(name=name, retry=None, timeout=REQUEST_SECONDS)
            except GoogleAPIError as error:
                raise EmulatorError(
                    f"The Pub/Sub emulator at {host} did not create the topic {topic}: {error}. Start the emulator "
                    "again."
                ) from error


def create_subscriptions(
    host: str, resources: Resources, urls: Mapping[str, str], instances: Mapping[str, int]
) -> None:
    """Create a push subscription for each function, and the pull subscription for lost letters.

    The keys of `urls` and `instances` are the names of the functions.
    """
    pushes = [
        subscription_request(
            resources, function, urls[function.name], function.concurrency * instances[function.name]
        )
        for function in resources.functions
    ]
    lost_letters = Subscription(
        name=f"projects/{resources.project}/subscriptions/{LOST_LETTERS_SUBSCRIPTION}",
        topic=topic_path(resources.project, LOST_LETTERS),
    )
    add_subscriptions(host, [*pushes, lost_letters])


def add_subscriptions(host: str, subscriptions: Iterable[Subscription]) -> None:
    with create_subscriber(host) as client:
        for request in subscriptions:
            try:
                client.create_subscription(request=request, retry=None, timeout=REQUEST_SECONDS)
            except GoogleAPIError as error:
                raise EmulatorError(
                    f"The Pub/Sub emulator at {host} did not create the subscription {request.name}: {error}. Start "
                    "the emulator again."
                ) from error


def subscription_request(
    resources: Resources, function: Function, url: str, max_outstanding: int
) -> Subscription:
    """Return the request that creates a function's push subscription.

    The built-in emulator sends a function at most `max_outstanding` messages at a time, as Cloud Run's request queue
    does. Google's emulator ignores the label.
    """
    return Subscription(
        name=f"projects/{resources.project}/subscriptions/{function.subscription}",
        topic=topic_path(resources.project, function.topic),
        push_config=PushConfig(push_endpoint=url),
        ack_deadline_seconds=function.ack_deadline_seconds,
        dead_letter_policy=DeadLetterPolicy(
            dead_letter_topic=topic_path(resources.project, function.dead_letter_topic),
            max_delivery_attempts=function.max_delivery_attempts,
        ),
        retry_policy=RetryPolicyMessage(
            minimum_backoff=timedelta(seconds=LOCAL_RETRIES.minimum_seconds),
            maximum_backoff=timedelta(seconds=LOCAL_RETRIES.maximum_seconds),
        ),
        labels={MAX_OUTSTANDING_LABEL: str(max_outstanding)},
    )
