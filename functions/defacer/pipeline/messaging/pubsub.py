"""Messages in and out: what a Pub/Sub push carries, and publishing."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from cloudevents.http import CloudEvent
from google.api_core.retry import Retry, if_exception_type
from google.cloud import pubsub_v1
from google.pubsub_v1 import PublisherClient as PublisherApi
from google.pubsub_v1 import PublishRequest, PubsubMessage

from defacer.pipeline.documents.base import AnyDocument, Document, ObjectRef, parse_document
from defacer.pipeline.errors import MalformedMessageError
from defacer.pipeline.settings import settings
from defacer.pipeline.storage.transient_errors import TRANSIENT, transient_errors_as_retryable

TYPE = "type"
SEGMENT_TASK = "segment-task"
SEGMENT_DONE = "segment-done"
FINALIZED = "OBJECT_FINALIZE"
MAX_AT_ONCE = 1000  # messages of one request, as many as Pub/Sub takes


@dataclass(frozen=True)
class Message:
    """One Pub/Sub message. Delivered again it has the same `id`."""

    id: str
    attributes: Mapping[str, str]
    data: bytes


def receive(event: CloudEvent) -> Message:
    """The message inside the CloudEvent that functions-framework makes of a push body.

    Raises MalformedMessageError if there is none.
    """
    data: Any = event.data
    message = data.get("message") if isinstance(data, dict) else None
    if not isinstance(message, dict):
        raise MalformedMessageError(
            f"a {event['type']} event without data.message: expected the body of a Pub/Sub push"
        )
    encoded, attributes = message.get("data", ""), message.get("attributes") or {}
    try:
        payload = base64.b64decode(encoded, validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise MalformedMessageError("message.data is not base64, as in every Pub/Sub push") from error
    if not isinstance(attributes, dict):
        kind = type(attributes).__name__
        raise MalformedMessageError(f"message.attributes is a {kind}: expected an object")
    return Message(_id_of(event), {str(key): str(value) for key, value in attributes.items()}, payload)


def _id_of(event: CloudEvent) -> str:
    """The message's id. It becomes a part of documents, so it must be text that UTF-8 can hold."""
    found = str(event["id"])
    try:
        found.encode()
    except UnicodeEncodeError as error:
        raise MalformedMessageError("the message's id is no text") from error
    return found


def parse(message: Message, model: type[AnyDocument]) -> AnyDocument:
    """The contract that a message carries.

    Raises MalformedMessageError if it carries none, RetryableError if it is of a newer version.
    """
    try:
        return parse_document(model, message.data)
    except ValueError as error:
        raise MalformedMessageError(f"message {message.id} is no {model.__name__}: {error}") from error


def parse_upload(message: Message) -> ObjectRef | None:
    """The new object that a Cloud Storage notification tells of; None if it tells of something else.

    The names come from the attributes, which are there in every payload format:
    https://cloud.google.com/storage/docs/pubsub-notifications#attributes
    Raises MalformedMessageError if they are missing.
    """
    attributes = message.attributes
    event_type = attributes.get("eventType")
    if event_type is not None and event_type != FINALIZED:
        return None
    try:
        if event_type is None:
            raise KeyError("eventType")
        generation = attributes["objectGeneration"]
        if not (generation.isascii() and generation.isdigit()):
            raise ValueError(f"objectGeneration={generation!r}")
        return ObjectRef(
            bucket=attributes["bucketId"], name=attributes["objectId"], generation=int(generation)
        )
    except (KeyError, ValueError) as error:
        raise MalformedMessageError(
            f"message {message.id} is no notification of Cloud Storage: attribute {error}, "
            f"found {sorted(attributes)}"
        ) from error


@cache
def publisher() -> pubsub_v1.PublisherClient:
    """This process's client. It talks to an emulator where PUBSUB_EMULATOR_HOST names one."""
    return pubsub_v1.PublisherClient()


def publish(topic: str, kind: str, contracts: Sequence[Document], **attributes: str) -> None:
    """Publish each contract as one message, with the attribute `type` = kind, and wait for all.

    Raises RetryableError for a passing fault; then some may have been published, so a reader must stand
    doubles. There is always data: functions-framework refuses a push without any.
    """
    attributes = {TYPE: kind, **attributes}
    _publish(topic, [(contract.model_dump_json().encode(), attributes) for contract in contracts])


def publish_again(topic: str, data: bytes, attributes: Mapping[str, str]) -> None:
    """Publish what was in a message before, and wait for it. Raises as `publish` does."""
    _publish(topic, [(data, attributes)])


def _publish(topic: str, contents: Sequence[tuple[bytes, Mapping[str, str]]]) -> None:
    """Publish messages of these data and attributes."""
    client = publisher()
    path = client.topic_path(settings().project, topic)
    seconds = settings().retry_seconds
    # The protocol's own classes: those that wrap them, and the client's own `publish`, take ten times as long for many.
    messages = [PubsubMessage.pb()(data=data, attributes=attributes) for data, attributes in contents]
    with transient_errors_as_retryable("publishing"):
        for first in range(0, len(messages), MAX_AT_ONCE):
            PublisherApi.publish(
                client,
                request=PublishRequest.pb()(topic=path, messages=messages[first : first + MAX_AT_ONCE]),
                retry=Retry(if_exception_type(*TRANSIENT), timeout=seconds),
                timeout=seconds,
            )
