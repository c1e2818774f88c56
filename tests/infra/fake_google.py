"""The Google APIs that infra/deploy.sh needs, on loopback, for the real gcloud and the real Terraform.

Each API responds only to the requests of gcloud 528 and of Terraform's `gcs` backend. It checks no
permissions or limits.
"""

import json
import re
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.infra.stub_provider import NUMBER, PROJECT

Json = dict[str, Any]


class ApiError(Exception):
    """The API rejects the request with this status."""

    def __init__(self, status: int):
        super().__init__(status)
        self.status = status


@dataclass(frozen=True)
class Request:
    query: dict[str, str]
    headers: Any
    body: bytes

    @property
    def json(self) -> Json:
        found: Json = json.loads(self.body)
        return found

    @property
    def content(self) -> bytes:
        """Return the content of an uploaded object: the body, or the second of its two parts."""
        if self.query["uploadType"] != "multipart":
            return self.body
        boundary = self.headers.get_param("boundary").strip("'").encode()  # gcloud adds the quotes
        _, _, part, _ = self.body.split(b"--" + boundary)
        _, content = re.split(rb"\r?\n\r?\n", part, maxsplit=1)
        return re.sub(rb"\r?\n\Z", b"", content)


@dataclass
class FakeGoogle:
    """A project with everything that the commands created. Tests can fill it before they run a command."""

    services: set[str] = field(default_factory=set)
    agents: set[str] = field(default_factory=set)
    quotas: dict[str, list[Json]] = field(default_factory=dict)
    buckets: dict[str, Json] = field(default_factory=dict)
    objects: dict[tuple[str, str], tuple[int, bytes]] = field(default_factory=dict)
    images: set[str] = field(default_factory=set)
    builds: list[Json] = field(default_factory=list)
    secrets: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    def respond(self, method: str, path: str, request: Request) -> Json | bytes:
        self.requests.append(f"{method} {path}")
        for known, pattern, handler in ROUTES:
            found = re.fullmatch(pattern, path)
            if found and known == method:
                return handler(self, *map(unquote, found.groups()), request)
        raise ApiError(404)

    def token(self, _: Request) -> Json:
        return {"access_token": "some", "expires_in": 3600, "token_type": "Bearer"}

    def project(self, _: Request) -> Json:
        return {"projectId": PROJECT, "projectNumber": NUMBER, "lifecycleState": "ACTIVE"}

    def enable(self, request: Request) -> Json:
        self.services.update(request.json["serviceIds"])
        return {"name": "operations/some", "done": True, "response": {}}

    def service(self, name: str, _: Request) -> Json:
        return {"state": "ENABLED" if name in self.services else "DISABLED"}

    def create_agent(self, name: str, _: Request) -> Json:
        self.agents.add(name)
        identity = {"email": f"service-{NUMBER}@{name}", "uniqueId": "1"}
        return {"name": "operations/some", "done": True, "response": identity}

    def quota(self, name: str, _: Request) -> Json:
        if name not in self.quotas:
            raise ApiError(403)
        return {"quotaId": name, "service": "run.googleapis.com", "dimensionsInfos": self.quotas[name]}

    def create_bucket(self, request: Request) -> Json:
        body = request.json
        if body["name"] in self.buckets:
            raise ApiError(409)
        self.buckets[body["name"]] = {**body, "projectNumber": NUMBER, "metageneration": "1"}
        return self.buckets[body["name"]]

    def bucket(self, name: str, _: Request) -> Json:
        if name not in self.buckets:
            raise ApiError(404)
        return self.buckets[name]

    def change_bucket(self, name: str, request: Request) -> Json:
        self.buckets[name] |= request.json
        return self.buckets[name]

    def list_objects(self, bucket: str, _: Request) -> Json:
        if bucket not in self.buckets:
            raise ApiError(404)
        return {"items": [self._describe(*key) for key in self.objects if key[0] == bucket]}

    def object(self, bucket: str, name: str, _: Request) -> Json:
        if (bucket, name) not in self.objects:
            raise ApiError(404)
        return self._describe(bucket, name)

    def read(self, bucket: str, name: str, _: Request) -> bytes:
        if (bucket, name) not in self.objects:
            raise ApiError(404)
        return self.objects[bucket, name][1]

    def delete(self, bucket: str, name: str, _: Request) -> Json:
        del self.objects[bucket, name]
        return {}

    def upload(self, bucket: str, request: Request) -> Json:
        name = request.query["name"]
        if request.query.get("ifGenerationMatch") == "0" and (bucket, name) in self.objects:
            raise ApiError(412)
        self.objects[bucket, name] = (len(self.requests), request.content)
        return self._describe(bucket, name)

    def _describe(self, bucket: str, name: str) -> Json:
        generation, content = self.objects[bucket, name]
        return {"bucket": bucket, "name": name, "generation": str(generation), "size": str(len(content))}

    def repository(self, _name: str, _: Request) -> Json:
        return {"name": "some", "format": "DOCKER"}

    def image(self, repository: str, image: str, tag: str, _: Request) -> Json:
        if f"{image}:{tag}" not in self.images:
            raise ApiError(404)
        package = f"{repository}/packages/{image}"
        return {"name": f"{package}/tags/{tag}", "version": f"{package}/versions/sha256:{'0' * 64}"}

    def build(self, region: str, request: Request) -> Json:
        values = request.json["substitutions"]
        self.images |= {f"{stage}:{values['_TAG']}" for stage in values["_STAGES"].split()}
        build = {**request.json, "id": str(len(self.builds)), "projectId": PROJECT, "status": "SUCCESS"}
        self.builds.append({**build, "region": region})
        return {"name": "operations/some", "metadata": {"build": build}}

    def create_secret(self, request: Request) -> Json:
        self.secrets[request.query["secretId"]] = b""
        return {"name": f"projects/{NUMBER}/secrets/{request.query['secretId']}"}

    def fill_secret(self, name: str, request: Request) -> Json:
        self.secrets[name] = b64decode(request.json["payload"]["data"])
        return {"name": f"projects/{NUMBER}/secrets/{name}/versions/1"}

    def get_build(self, number: str, _: Request) -> Json:
        return {key: value for key, value in self.builds[int(number)].items() if key != "region"}


_STORAGE = "/storage/v1/b"
ROUTES: tuple[tuple[str, str, Callable[..., Json | bytes]], ...] = (
    ("POST", "/token", FakeGoogle.token),
    ("GET", f"/v1/projects/{PROJECT}", FakeGoogle.project),
    ("POST", "/v1/projects/[^/]+/services:batchEnable", FakeGoogle.enable),
    ("GET", "/v1/projects/[^/]+/services/([^/]+)", FakeGoogle.service),
    ("POST", "/v1beta1/projects/[^/]+/services/([^/]+):generateServiceIdentity", FakeGoogle.create_agent),
    ("GET", "/v1beta/projects/.+/services/run.googleapis.com/quotaInfos/([^/]+)", FakeGoogle.quota),
    ("POST", _STORAGE, FakeGoogle.create_bucket),
    ("GET", f"{_STORAGE}/([^/]+)", FakeGoogle.bucket),
    ("PATCH", f"{_STORAGE}/([^/]+)", FakeGoogle.change_bucket),
    ("GET", f"{_STORAGE}/([^/]+)/o", FakeGoogle.list_objects),
    ("GET", f"{_STORAGE}/([^/]+)/o/([^/]+)", FakeGoogle.object),
    ("DELETE", f"{_STORAGE}/([^/]+)/o/([^/]+)", FakeGoogle.delete),
    ("POST", f"/(?:resumable/)?upload{_STORAGE}/([^/]+)/o", FakeGoogle.upload),
    ("GET", "/v1/projects/[^/]+/locations/[^/]+/repositories/([^/]+)", FakeGoogle.repository),
    ("GET", "/v1/(projects/.+)/packages/([^/]+)/tags/([^/]+)", FakeGoogle.image),
    ("POST", "/v1/projects/[^/]+/locations/([^/]+)/builds", FakeGoogle.build),
    ("GET", "/v1/projects/.+/builds/([^/]+)", FakeGoogle.get_build),
    ("POST", "/v1/projects/[^/]+/secrets", FakeGoogle.create_secret),
    ("POST", "/v1/projects/[^/]+/secrets/([^/]+):addVersion", FakeGoogle.fill_secret),
    ("GET", "/([^/]+)/(.+)", FakeGoogle.read),  # Terraform reads objects at this path
)


@contextmanager
def serve(google: FakeGoogle) -> Iterator[str]:
    """Serve the APIs and yield their address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            parts = urlsplit(self.path)
            body = self._body()
            try:
                found = google.respond(
                    self.command, parts.path, Request(dict(parse_qsl(parts.query)), self.headers, body)
                )
                status = 200
            except ApiError as error:
                found, status = {"error": {"code": error.status, "message": "no"}}, error.status
            content = found if isinstance(found, bytes) else json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":  # Terraform uploads in chunks
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        do_GET = do_POST = do_PATCH = do_DELETE = _serve  # noqa: N815 - the base class's names

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
