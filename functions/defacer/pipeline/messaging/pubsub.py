"""Parse messages of Pub/Sub pushes, and publish messages."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from cloudevents.http import CloudEvent
from google.api_core.retry import Retry, if_exception_type
from pydantic_core import from_json

from defacer.pipeline.documents.base import AnyDocument, Document, ObjectRef, parse_document
from defacer.pipeline.errors import MalformedMessageError
from defacer.pipeline.settings import settings
from defacer.pipeline.storage.transient_errors import TRANSIENT, transient_errors_as_retryable

if TYPE_CHECKING:
    from google.cloud.pubsub_v1 import PublisherClient

TYPE = "type"
SEGMENT_TASK = "segment-task"
SEGMENT_DONE = "segment-done"
# The clock's message on the topic `uploads`: end the waits for a person whose time is over. With a job, check only it.
REVIEW_CHECK = "review-check"
JOB = "job"
OBJECT_FINALIZE = "OBJECT_FINALIZE"
MAX_MESSAGES_PER_REQUEST = 1000  # Pub/Sub's own limit


@dataclass(frozen=True)
class Message:
    """One Pub/Sub message. A redelivery has the same `id`."""

    id: str
    attributes: Mapping[str, str]
    data: bytes


def receive_message(event: CloudEvent) -> Message:
    """Return the message in the CloudEvent that functions-framework creates from a push body.

    Raises MalformedMessageError if the event has no message.
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
        raise MalformedMessageError(
            "message.data is not base64: expected the body of a Pub/Sub push"
        ) from error
    if not isinstance(attributes, dict):
        kind = type(attributes).__name__
        raise MalformedMessageError(f"message.attributes is a {kind}: expected an object")
    return Message(_id_of(event), {str(key): str(value) for key, value in attributes.items()}, payload)


def _id_of(event: CloudEvent) -> str:
    """Return the message's id. It is stored in documents, so it must be valid in UTF-8."""
    message_id = str(event["id"])
    try:
        message_id.encode()
    except UnicodeEncodeError as error:
        raise MalformedMessageError("the message's id is not valid in UTF-8") from error
    return message_id


def parse_message(message: Message, model: type[AnyDocument]) -> AnyDocument:
    """Return the document of a message.

    Raises MalformedMessageError if it is not valid, RetryableError if its version is newer than this function's.
    """
    try:
        return parse_document(model, message.data)
    except ValueError as error:
        raise MalformedMessageError(
            f"message {message.id} is not a valid {model.__name__}: {error}"
        ) from error


def parse_upload(message: Message) -> ObjectRef | None:
    """Return the new object of a Cloud Storage notification; None for any other event.

    The attributes name the object in every payload format
    (https://cloud.google.com/storage/docs/pubsub-notifications#attributes). Raises MalformedMessageError if they are
    missing.
    """
    attributes = message.attributes
    event_type = attributes.get("eventType")
    if event_type is not None and event_type != OBJECT_FINALIZE:
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
            f"message {message.id} is not a valid notification of Cloud Storage: attribute {error}, "
            f"found {sorted(attributes)}"
        ) from error


def is_about_empty_object(message: Message) -> bool:
    """Return whether the resource in a Cloud Storage notification has the size 0.

    The object itself can be gone: gcsfuse replaces the empty version at once.
    """
    try:
        resource = from_json(message.data)
    except ValueError:
        return False
    return isinstance(resource, dict) and str(resource.get("size")) == "0"


@cache
def publisher() -> "PublisherClient":
    """Return this process's client. It uses the emulator that PUBSUB_EMULATOR_HOST names, if any."""
    from google.cloud import pubsub_v1  # takes long to import, and most commands publish nothing

    return pubsub_v1.PublisherClient()


def publish(topic: str, kind: str, documents: Sequence[Document], **attributes: str) -> None:
    """Publish each document as one message with the attribute `type` = kind, and wait for all of them.

    Raises RetryableError for a transient error. Some messages might be published then, so every reader must tolerate
    duplicates. Data is never empty, because functions-framework refuses a push without data.
    """
    attributes = {TYPE: kind, **attributes}
    _publish(topic, [(document.model_dump_json().encode(), attributes) for document in documents])


def republish(topic: str, data: bytes, attributes: Mapping[str, str]) -> None:
    """Publish the data of an earlier message, and wait for it. Raises as `publish` does."""
    _publish(topic, [(data, attributes)])


def _publish(topic: str, contents: Sequence[tuple[bytes, Mapping[str, str]]]) -> None:
    from google.pubsub_v1 import PublisherClient as PublisherApi
    from google.pubsub_v1 import PublishRequest, PubsubMessage

    client = publisher()
    path = client.topic_path(settings().project, topic)
    seconds = settings().retry_seconds
    # The raw protobuf classes: their wrappers and the client's own `publish` take ten times as long for many messages.
    messages = [PubsubMessage.pb()(data=data, attributes=attributes) for data, attributes in contents]
    with transient_errors_as_retryable("publishing"):
        for first in range(0, len(messages), MAX_MESSAGES_PER_REQUEST):
            PublisherApi.publish(
                client,
                request=PublishRequest.pb()(
                    topic=path, messages=messages[first : first + MAX_MESSAGES_PER_REQUEST]
                ),
                retry=Retry(if_exception_type(*TRANSIENT), timeout=seconds),
                timeout=seconds,
            )
