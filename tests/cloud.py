"""A test's own buckets and topics on the session's servers, with short calls to inspect them."""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.cloud import pubsub_v1, storage

from defacer.pipeline.documents.base import ObjectRef
from tests.inbox import Inbox, Push, document

PROJECT = "defacer-test"

# The types of two fixtures: `environment` changes settings of the test, and a function's fixture posts a push to the
# function and returns the status.
Environment = Callable[..., None]
Post = Callable[[object], int]


@dataclass(frozen=True)
class Buckets:
    """The three buckets of one test, empty at its start."""

    client: storage.Client
    intake: str
    work: str
    output: str

    def put(
        self,
        bucket: str,
        name: str,
        data: bytes | Path,
        content_type: str | None = None,
        metadata: dict[str, str] | None = None,
    ) -> ObjectRef:
        blob = self.client.bucket(bucket).blob(name)
        blob.metadata = metadata
        content = data.read_bytes() if isinstance(data, Path) else data
        blob.upload_from_string(content, content_type=content_type or "application/octet-stream")
        return ObjectRef(bucket=bucket, name=name, generation=int(blob.generation))

    def names(self, bucket: str, prefix: str = "") -> list[str]:
        return sorted(blob.name for blob in self.client.list_blobs(bucket, prefix=prefix))

    def blob(self, bucket: str, name: str) -> Any:
        return self.client.bucket(bucket).get_blob(name)

    def get(self, bucket: str, name: str) -> bytes:
        return bytes(self.client.bucket(bucket).blob(name).download_as_bytes())

    def json(self, bucket: str, name: str) -> Any:
        return json.loads(self.get(bucket, name))


@dataclass(frozen=True)
class Topics:
    """The functions' topics, and the inbox that receives their messages."""

    inbox: Inbox
    publisher: pubsub_v1.PublisherClient
    uploads: str
    segments: str
    segments_done: str
    job_events: str

    def wait_for(self, topic: str, count: int) -> list[Push]:
        return self.inbox.wait_for(topic, count)

    def all(self, topic: str) -> list[Push]:
        """Return all messages published on a topic until now.

        The emulator delivers in order, so all earlier messages have arrived once a marker message arrives.
        """
        marker = str(len(self.inbox.pushes(topic)))
        path = self.publisher.topic_path(PROJECT, topic)
        self.publisher.publish(path, marker.encode(), marker=marker).result(timeout=30)
        count = 1
        while not any(_is_marker(push, marker) for push in self.inbox.wait_for(topic, count)):
            count += 1
        return [push for push in self.inbox.pushes(topic) if not _is_marker(push)]

    def events(self) -> list[Any]:
        """Return the documents of all events until now."""
        return [document(push) for push in self.all(self.job_events)]


def _is_marker(push: Push, marker: str | None = None) -> bool:
    found = push["message"].get("attributes", {}).get("marker")
    return found is not None and marker in (None, found)


def push_body(data: bytes, attributes: Mapping[str, str], message_id: str = "1") -> Push:
    """Return the body that Pub/Sub posts to a function."""
    return {
        "message": {
            "data": base64.b64encode(data).decode(),
            "attributes": dict(attributes),
            "messageId": message_id,
            "message_id": message_id,
            "publishTime": "2026-11-23T10:00:00.000Z",
            "publish_time": "2026-11-23T10:00:00.000Z",
        },
        "subscription": f"projects/{PROJECT}/subscriptions/test",
    }


def upload_push(ref: ObjectRef, message_id: str = "1", event_type: str = "OBJECT_FINALIZE") -> Push:
    """Return the push body of a Cloud Storage notification about an object."""
    attributes = {
        "bucketId": ref.bucket,
        "objectId": ref.name,
        "objectGeneration": str(ref.generation),
        "eventType": event_type,
        "payloadFormat": "JSON_API_V1",
    }
    data = {
        "kind": "storage#object",
        "bucket": ref.bucket,
        "name": ref.name,
        "generation": str(ref.generation),
    }
    return push_body(json.dumps(data).encode(), attributes, message_id)
