"""What a call or a message is about, in words that are the same in every run and give no object's name away.

A job's id holds the moment of its upload, so it differs from run to run. A thing is called instead after the
uploaded object's name, hashed, and the number of the upload under that name.
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
# What a name is made unique by: a content's hash, a holder's token.
_DIGEST = re.compile(r"-[0-9a-f]{16}(?=\.)")
_TOKEN = re.compile(r"^merge/[0-9a-f]+")
_NAME_IN_BODY = re.compile(rb'"name":\s*("(?:[^"\\]|\\.)*")')
_OBJECT_PATH = re.compile(r"/b/([^/]+)/o/([^/]+)")
_COPY = re.compile(r"/(?:rewriteTo|copyTo)/b/([^/]+)/o/([^/]+)")


def hash_name(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:10]


@dataclass(frozen=True)
class Subject:
    """`thing` names it, `job` is the job's id where there is one."""

    thing: str
    job: str | None = None


@dataclass(frozen=True)
class Call:
    """A call to Cloud Storage. `verb` is what it does; bucket and name are None where it is about no object.

    `generation` is the precondition on the object that is written or deleted, if the call has one.
    """

    verb: str
    bucket: str | None
    name: str | None
    generation: int | None = None

    @property
    def writes(self) -> bool:
        return self.verb in {"write", "finish", "copy", "compose", "delete", "mark"}


class CallClassifier:
    """Knows the uploads that it was told of, and the resumable sessions that were started."""

    def __init__(self, resources: Resources):
        self._resources = resources
        self._uploads: dict[str, list[int]] = {}
        self._subjects: dict[str, str] = {}
        self._sessions: dict[str, Call] = {}

    def subject(self, job: str) -> str:
        return self._subjects.get(job, job)

    def of_push(self, function: str, body: bytes) -> Subject:
        """What a push to a function is about."""
        message = json.loads(body)["message"]
        attributes = message.get("attributes") or {}
        if "objectId" in attributes:
            name = attributes["objectId"]
            if object_names.parse_video(name) is None:
                return Subject(f"{function}/other/{hash_name(name)}")
            job = self._uploaded(attributes["bucketId"], name, int(attributes["objectGeneration"]))
            return Subject(f"{function}/{self.subject(job)}/upload", job)
        about = self.of_message(base64.b64decode(message.get("data") or ""))
        return Subject(f"{function}/{about.thing}", about.job)

    def of_message(self, data: bytes) -> Subject:
        """What a message is about: a segment's step, a job's event, or something of somebody else's."""
        try:
            document = json.loads(data)
            job = document["job"] if "step" in document else document["subject"]
            part = document["type"] if "type" in document else _segment(document)
        except (ValueError, LookupError, TypeError):
            return Subject(f"other/{hash_name(data.hex())}")
        return Subject(f"{self.subject(job)}/{part}", job)

    def of_messages(self, topic: str, data: Sequence[bytes]) -> Subject:
        """What one request to publish is about: its first message, and how many there are."""
        about = self.of_message(data[0])
        more = f"+{len(data) - 1}" if len(data) > 1 else ""
        return Subject(f"publish/{topic.rpartition('/')[2]}/{about.thing}{more}", about.job)

    def call(self, request: Request) -> Call:
        """What a request to Cloud Storage does to which object."""
        url = urlsplit(request.target)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        found = _OBJECT_PATH.search(url.path)
        bucket, name = (unquote(found[1]), unquote(found[2])) if found else (None, None)
        wanted = query.get("ifGenerationMatch")
        generation = int(wanted) if wanted is not None and wanted.isdecimal() else None
        if "upload_id" in query:
            return self._sessions.get(query["upload_id"], Call("other", None, None))
        if url.path.startswith("/upload/"):
            inside = _NAME_IN_BODY.search(request.body[:65536])
            name = query.get("name") or (json.loads(inside[1]) if inside else None)
            bucket = unquote(url.path.split("/b/")[1].split("/")[0])
            return Call(
                "start" if query.get("uploadType") == "resumable" else "write", bucket, name, generation
            )
        if copied := _COPY.search(url.path):
            return Call("copy", unquote(copied[1]), unquote(copied[2]), generation)
        if url.path.endswith("/compose"):
            return Call("compose", bucket, name, generation)
        if name is None:
            listed = url.path.endswith("/o") and "prefix" in query
            return Call("list", None, query["prefix"]) if listed else Call("other", None, None)
        verbs = {"DELETE": "delete", "PATCH": "mark", "PUT": "mark", "GET": "look"}
        verb = "read" if query.get("alt") == "media" else verbs.get(request.method, "other")
        return Call(verb, bucket, name, generation)

    def started(self, call: Call, session: str) -> None:
        """A resumable upload was started: its pieces name the session only."""
        query = parse_qs(urlsplit(session).query)
        if "upload_id" in query:
            self._sessions[query["upload_id"][0]] = Call("finish", call.bucket, call.name, call.generation)

    def of_call(self, call: Call) -> Subject:
        """What a call is about. An object outside a job goes by the hash of its name."""
        name = call.name or ""
        if found := _JOB.fullmatch(name):
            job, rest = found[1], found[2]
            rest = _TOKEN.sub("merge/part", _DIGEST.sub("", rest)).replace("part.", "part-")
            return Subject(f"storage/{call.verb}/{self.subject(job)}/{rest}", job)
        kind = {self._resources.intake: "intake", self._resources.output: "output"}.get(
            call.bucket or "", "other"
        )
        return Subject(f"storage/{call.verb}/{kind}/{hash_name(name)}")

    def _uploaded(self, bucket: str, name: str, generation: int) -> str:
        job = object_names.job_id(bucket, name, generation)
        if job not in self._subjects:
            generations = self._uploads.setdefault(name, [])
            generations.append(generation)
            self._subjects[job] = f"{hash_name(name)}.{len(generations)}"
        return job


def _segment(document: dict[str, Any]) -> str:
    """A step of a segment, or of a part of it where it was split."""
    part = f"-{document['part']}" if document.get("part") else ""
    return f"{document['step']}-{document['index']:05d}{part}"


def subject_of(channel: str, video: str, upload: int = 1) -> str:
    """How a job's things are called: that of the `upload`-th upload of a video in a channel."""
    return f"{hash_name(object_names.VideoName(channel, video).object_name)}.{upload}"
