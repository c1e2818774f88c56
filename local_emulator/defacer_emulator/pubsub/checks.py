"""What Pub/Sub accepts: resource names and messages. Limits: cloud.google.com/pubsub/quotas#resource_limits."""

import re
from collections.abc import Collection, Sequence
from typing import Any, Literal

from google.pubsub_v1.types import PubsubMessage

from defacer_emulator.pubsub.errors import InvalidArgumentError, UnsupportedError

Kind = Literal["topics", "subscriptions"]

MAX_REQUEST_BYTES = 10_000_000
MAX_MESSAGES = 1000
MAX_ATTRIBUTES = 100
MAX_ATTRIBUTE_KEY_BYTES = 256
MAX_ATTRIBUTE_VALUE_BYTES = 1024

_IDENTIFIER = re.compile(r"(?!goog)[A-Za-z][A-Za-z0-9._~+%-]{2,254}")
_PROJECT = re.compile(r"projects/[^/]+")


def check_project(name: str) -> None:
    """Raise InvalidArgumentError unless `name` is `projects/PROJECT`."""
    if not _PROJECT.fullmatch(name):
        raise InvalidArgumentError(f"Invalid project: found {name!r}, expected projects/PROJECT.")


def check_name(kind: Kind, name: str) -> None:
    """Raise InvalidArgumentError unless `name` is `projects/PROJECT/{kind}/NAME` with a NAME that Pub/Sub takes."""
    project, _, identifier = name.partition(f"/{kind}/")
    if not _PROJECT.fullmatch(project) or not _IDENTIFIER.fullmatch(identifier):
        raise InvalidArgumentError(
            f"Invalid {kind.removesuffix('s')} name: found {name!r}, expected projects/PROJECT/{kind}/NAME. "
            "A NAME has 3 to 255 letters, digits or -_.~+%, starts with a letter and not with goog."
        )


def check_fields(owner: str, message: Any, supported: Collection[str]) -> None:
    """Raise UnsupportedError if a field outside `supported` is set in the proto-plus `message`."""
    found = {field.name for field, _ in type(message).pb(message).ListFields()}
    if unknown := sorted(found - set(supported)):
        raise UnsupportedError(
            f"{owner}: the built-in Pub/Sub emulator has no {type(message).__name__}.{unknown[0]}. "
            "Leave it out, or take Google's emulator."
        )


def check_messages(topic: str, messages: Sequence[PubsubMessage], size: int) -> None:
    """Raise InvalidArgumentError unless `messages`, `size` bytes as one request, may be published."""
    if not messages:
        raise InvalidArgumentError(f"No messages to publish to {topic}: expected 1 to {MAX_MESSAGES}.")
    if len(messages) > MAX_MESSAGES:
        raise InvalidArgumentError(f"{len(messages)} messages for {topic} at once: {MAX_MESSAGES} at most.")
    if size > MAX_REQUEST_BYTES:
        raise InvalidArgumentError(
            f"{size} bytes for {topic} at once: {MAX_REQUEST_BYTES} at most. Store the data and publish its name."
        )
    for message in messages:
        _check_message(topic, message)


def _check_message(topic: str, message: PubsubMessage) -> None:
    attributes = dict(message.attributes)
    if not message.data and not attributes:
        raise InvalidArgumentError(f"A message for {topic} is empty: it needs data or an attribute.")
    if len(attributes) > MAX_ATTRIBUTES:
        raise InvalidArgumentError(
            f"A message for {topic} has {len(attributes)} attributes: {MAX_ATTRIBUTES} at most."
        )
    for key, value in attributes.items():
        if not 1 <= len(key.encode()) <= MAX_ATTRIBUTE_KEY_BYTES:
            raise InvalidArgumentError(
                f"A message for {topic} has an attribute with a key of {len(key.encode())} bytes: "
                f"expected 1 to {MAX_ATTRIBUTE_KEY_BYTES}."
            )
        if len(value.encode()) > MAX_ATTRIBUTE_VALUE_BYTES:
            raise InvalidArgumentError(
                f"A message for {topic} has {len(value.encode())} bytes in the attribute {key}: "
                f"{MAX_ATTRIBUTE_VALUE_BYTES} at most."
            )
