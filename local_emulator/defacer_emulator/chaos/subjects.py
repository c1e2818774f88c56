"""Names the subject of a call or a message. The name is the same in every run and reveals no object name.

A job's id depends on the time of its upload, so it differs from run to run. A subject is named by the hash of the
uploaded object's name, and by the number of the upload with that name.
"""

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from defacer.pipeline.storage import object_names
from defacer_emulator.chaos.http import Request
from defacer_emulator.resources import Resources

_JOB = re.compile(rf"jobs/([0-9a-f]{{{object_names.JOB_ID_LENGTH}}})/(.*)", re.DOTALL)
# These make an object name unique: the hash of a content, and the token of a lease holder.
_DIGEST = re.compile(r"-[0-9a-f]{16}(?=\.)")
_TOKEN = re.compile(r"^merge/[0-9a-f]+")
_NAME_IN_BODY = re.compile(rb'"name":\s*("(?:[^"\\]|\\.)*")')
_OBJECT_PATH = re.compile(r"/b/([^/]+)/o/([^/]+)")
_COPY = re.compile(r"/(?:rewriteTo|copyTo)/b/([^/]+)/o/([^/]+)")


def hash_name(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:10]


@dataclass(frozen=True)
class FaultSubject:
    """The subject of a call or a message. `job` is the job's id, if it has one."""

    name: str
    job: str | None = None


@dataclass(frozen=True)
class Call:
    """A call to Cloud Storage. Bucket and name are None if it concerns no object.

    `generation` is the call's precondition on the object that it writes or deletes.
    """

    verb: str
    bucket: str | None
    name: str | None
    generation: int | None = None

    @property
    def is_write(self) -> bool:
        return self.verb in {"write", "finish", "copy", "compose", "delete", "mark"}


class CallClassifier:
    """Classifies messages and calls. Remembers uploads, and resumable sessions, whose chunks name the session only."""

    def __init__(self, resources: Resources):
        self._resources = resources
        self._uploads: dict[str, list[int]] = {}
        self._job_names: dict[str, str] = {}
        self._sessions: dict[str, Call] = {}

    def job_name(self, job: str) -> str:
        return self._job_names.get(job, job)

    def classify_push(self, function: str, body: bytes) -> FaultSubject:
        """Return the subject of a push to a function."""
        message = json.loads(body)["message"]
        attributes = message.get("attributes") or {}
        if "objectId" in attributes:
            name = attributes["objectId"]
            if object_names.parse_video(name) is None:
                return FaultSubject(f"{function}/other/{hash_name(name)}")
            job = self._register_upload(attributes["bucketId"], name, int(attributes["objectGeneration"]))
            return FaultSubject(f"{function}/{self.job_name(job)}/upload", job)
        subject = self.classify_message(base64.b64decode(message.get("data") or ""))
        return FaultSubject(f"{function}/{subject.name}", subject.job)

    def classify_message(self, data: bytes) -> FaultSubject:
        """Return the subject of a message: a segment's step, a job's event, or `other`."""
        try:
            document = json.loads(data)
            job = document["job"] if "step" in document else document["subject"]
            part = document["type"] if "type" in document else _segment_name(document)
        except (ValueError, LookupError, TypeError):
            return FaultSubject(f"other/{hash_name(data.hex())}")
        return FaultSubject(f"{self.job_name(job)}/{part}", job)

    def classify_publish(self, topic: str, data: Sequence[bytes]) -> FaultSubject:
        """Return the subject of a publish request: its first message, and the number of further messages."""
        subject = self.classify_message(data[0])
        suffix = f"+{len(data) - 1}" if len(data) > 1 else ""
        return FaultSubject(f"publish/{topic.rpartition('/')[2]}/{subject.name}{suffix}", subject.job)

    def parse_call(self, request: Request) -> Call:
        """Return the call to Cloud Storage that a request makes."""
        url = urlsplit(request.target)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        object_path = _OBJECT_PATH.search(url.path)
        bucket, name = (unquote(object_path[1]), unquote(object_path[2])) if object_path else (None, None)
        expected = query.get("ifGenerationMatch")
        generation = int(expected) if expected is not None and expected.isdecimal() else None
        if "upload_id" in query:
            return self._sessions.get(query["upload_id"], Call("other", None, None))
        if url.path.startswith("/upload/"):
            name_field = _NAME_IN_BODY.search(request.body[:65536])
            name = query.get("name") or (json.loads(name_field[1]) if name_field else None)
            bucket = unquote(url.path.split("/b/")[1].split("/")[0])
            return Call(
                "start" if query.get("uploadType") == "resumable" else "write", bucket, name, generation
            )
        if copied := _COPY.search(url.path):
            return Call("copy", unquote(copied[1]), unquote(copied[2]), generation)
        if url.path.endswith("/compose"):
            return Call("compose", bucket, name, generation)
        if name is None:
            is_listing = url.path.endswith("/o") and "prefix" in query
            return Call("list", None, query["prefix"]) if is_listing else Call("other", None, None)
        verbs = {"DELETE": "delete", "PATCH": "mark", "PUT": "mark", "GET": "look"}
        verb = "read" if query.get("alt") == "media" else verbs.get(request.method, "other")
        return Call(verb, bucket, name, generation)

    def register_session(self, call: Call, session_url: str) -> None:
        """Remember a resumable upload: its chunks name only the session."""
        query = parse_qs(urlsplit(session_url).query)
        if "upload_id" in query:
            self._sessions[query["upload_id"][0]] = Call("finish", call.bucket, call.name, call.generation)

    def classify_call(self, call: Call) -> FaultSubject:
        """Return the subject of a call. An object outside of a job is named by the hash of its name."""
        name = call.name or ""
        if found := _JOB.fullmatch(name):
            job, rest = found[1], found[2]
            rest = _TOKEN.sub("merge/part", _DIGEST.sub("", rest)).replace("part.", "part-")
            return FaultSubject(f"storage/{call.verb}/{self.job_name(job)}/{rest}", job)
        kind = {self._resources.intake: "intake", self._resources.output: "output"}.get(
            call.bucket or "", "other"
        )
        return FaultSubject(f"storage/{call.verb}/{kind}/{hash_name(name)}")

    def _register_upload(self, bucket: str, name: str, generation: int) -> str:
        job = object_names.job_id(bucket, name, generation)
        if job not in self._job_names:
            generations = self._uploads.setdefault(name, [])
            generations.append(generation)
            self._job_names[job] = f"{hash_name(name)}.{len(generations)}"
        return job


def _segment_name(document: dict[str, Any]) -> str:
    """Return the name of a segment's step, or of a subsegment's."""
    subsegment = f"-{document['subsegment']}" if document.get("subsegment") else ""
    return f"{document['step']}-{document['index']:05d}{subsegment}"


def job_name_of(channel: str, video: str, upload: int = 1) -> str:
    """Return the name of the job of the `upload`-th upload of a video into a channel."""
    return f"{hash_name(object_names.VideoName(channel, video).object_name)}.{upload}"
