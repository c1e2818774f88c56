"""Checks of resource names and messages. Limits: cloud.google.com/pubsub/quotas#resource_limits."""

import re
from collections.abc import Collection, Sequence
from typing import Any, Literal

from google.pubsub_v1.types import PubsubMessage

from defacer_emulator.pubsub.call_errors import InvalidArgumentError, UnsupportedError

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
        raise InvalidArgumentError(f"The project {name!r} is not valid. Name it projects/PROJECT.")


def check_name(kind: Kind, name: str) -> None:
    """Raise InvalidArgumentError unless `name` is `projects/PROJECT/{kind}/NAME` with a NAME that Pub/Sub accepts."""
    project, _, identifier = name.partition(f"/{kind}/")
    if not _PROJECT.fullmatch(project) or not _IDENTIFIER.fullmatch(identifier):
        raise InvalidArgumentError(
            f"The {kind.removesuffix('s')} name {name!r} is not valid. Name it projects/PROJECT/{kind}/NAME. "
            "A NAME has 3 to 255 letters, digits or -_.~+%, starts with a letter and not with goog."
        )


def check_fields(owner: str, message: Any, supported: Collection[str]) -> None:
    """Raise UnsupportedError if a field outside `supported` is set in the proto-plus `message`."""
    fields = {field.name for field, _ in type(message).pb(message).ListFields()}
    if unknown := sorted(fields - set(supported)):
        raise UnsupportedError(
            f"{owner}: the built-in Pub/Sub emulator has no {type(message).__name__}.{unknown[0]}. "
            "Leave it out, or use Google's emulator."
        )


def check_messages(topic: str, messages: Sequence[PubsubMessage], size: int) -> None:
    """Raise InvalidArgumentError unless `messages`, of `size` bytes as one request, can be published."""
    if not messages:
        raise InvalidArgumentError(f"The request for {topic} has no messages. Publish 1 to {MAX_MESSAGES}.")
    if len(messages) > MAX_MESSAGES:
        raise InvalidArgumentError(
            f"The request for {topic} has {len(messages)} messages, at most {MAX_MESSAGES} are allowed."
        )
    if size > MAX_REQUEST_BYTES:
        raise InvalidArgumentError(
            f"The request for {topic} has {size} bytes, the maximum is {MAX_REQUEST_BYTES}. Publish an object's name."
        )
    for message in messages:
        _check_message(topic, message)


def _check_message(topic: str, message: PubsubMessage) -> None:
    attributes = dict(message.attributes)
    if not message.data and not attributes:
        raise InvalidArgumentError(f"A message for {topic} is empty. Add data or an attribute.")
    if len(attributes) > MAX_ATTRIBUTES:
        raise InvalidArgumentError(
            f"A message for {topic} has {len(attributes)} attributes. Use at most {MAX_ATTRIBUTES}."
        )
    for key, value in attributes.items():
        if not 1 <= len(key.encode()) <= MAX_ATTRIBUTE_KEY_BYTES:
            raise InvalidArgumentError(
                f"A message for {topic} has an attribute with a key of {len(key.encode())} bytes. "
                f"Use 1 to {MAX_ATTRIBUTE_KEY_BYTES}."
            )
        if len(value.encode()) > MAX_ATTRIBUTE_VALUE_BYTES:
            raise InvalidArgumentError(
                f"A message for {topic} has {len(value.encode())} bytes in the attribute {key}. "
                f"Use at most {MAX_ATTRIBUTE_VALUE_BYTES}."
            )
