"""The console and the live page open a channel only for its owners. Identity-Aware Proxy verifies them."""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

import pytest
import requests
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Origin

from defacer.pipeline.channel import read_targets_folder
from defacer.pipeline.settings import SettingsError
from defacer.web.common import iap
from defacer.web.common.security import POLICY_VIOLATION, SecurityMiddleware, Site
from defacer.web.console.console_app import build_console
from defacer.web.console.people import PictureCard
from defacer.web.live.engine_adapter import create_stream
from defacer.web.live.live_app import build_live_page
from defacer.web.live.sessions import SessionRegistry
from tests.cloud import Buckets
from tests.console.conftest import ConsoleServer
from tests.console.identity import ADA, Signer, trusted_signer
from tests.console.routes import Endpoint, list_routes
from tests.console.visitor import PAGE, SCRIPT, Visitor
from tests.planned import Planned

BOB, OPERATOR = "bob@example.com", "operator@example.com"
OWNERS = {
    "street": [f"user:{ADA}"],
    "garden": [f"user:{BOB}", "domain:garden.example"],
    "stree": [f"user:{BOB}"],
}
# Routes outside of a channel. `test_list_shows_only_own_channels` and the tests below it check them.
SHARED_ROUTES = {"GET /health", "GET /", "POST /channels", "POST /sample"}
# The bodies of endpoints that parse the body before they find the job.
BODIES = {
    "/follow": {"start": 0, "end": 1, "anchors": [[0, 1, 1, 2, 2]]},
    "/look-again": {"start": 0, "end": 1},
}
QUERY = {"tracks": "0", "from": "0", "to": "1"}


class Users(NamedTuple):
    """The console behind Identity-Aware Proxy. `picture` is the id of a picture in the channel `street`."""

    visitor: Visitor
    signer: Signer
    picture: str

    def become(self, email: str, **claims: object) -> Visitor:
        """Let all further requests be those of this user."""
        self.visitor.session.headers.update(self.signer.headers(email, **claims))
        return self.visitor

    def send(self, endpoint: Endpoint, channel: str, job: str) -> int:
        """Send a valid request to this endpoint of a channel, and return its status."""
        path = endpoint.path.format(channel=channel, job=job, track=0, picture=self.picture)
        body = next((json.dumps(body) for end, body in BODIES.items() if path.endswith(end)), None)
        headers = {**SCRIPT, "X-CSRF-Token": self.visitor.token, "Origin": self.visitor.address}
        with self.visitor.session.request(
            endpoint.method,
            self.visitor.address + path,
            headers=headers,
            data=body,
            params=QUERY,
            timeout=60,
            allow_redirects=False,
            stream=True,
        ) as answer:
            return answer.status_code


@pytest.fixture
def users(
    visitor: Visitor,
    published: Planned,
    buckets: Buckets,
    environment: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Users]:
    """Publish a job of Ada's channel `street`, and store a picture in Bob's channel `garden`."""
    assert published.manifest.channel == "street"
    buckets.put(buckets.intake, "channels/garden/targets/Bo/1.jpg", b"a picture")
    owners, administrators = json.dumps(OWNERS), json.dumps([f"user:{OPERATOR}"])
    with trusted_signer(
        environment, monkeypatch, channel_owners=owners, administrators=administrators
    ) as signer:
        (picture,) = read_targets_folder(buckets.intake, "street").pictures
        yield Users(visitor, signer, PictureCard(picture.ref, None).id)


def list_objects(buckets: Buckets) -> set[tuple[str, str, int]]:
    """Return all objects with their generations."""
    names = (buckets.intake, buckets.work, buckets.output)
    return {(name, blob.name, blob.generation) for name in names for blob in buckets.client.list_blobs(name)}


def list_channel_routes() -> list[Endpoint]:
    return [endpoint for endpoint in list_routes(build_console()) if "{channel}" in endpoint.path]


def test_all_other_routes_are_known_and_open_no_channel(users: Users) -> None:
    outside = {f"{method} {path}" for method, path in list_routes(build_console()) if "{channel}" not in path}
    assert outside == SHARED_ROUTES


def test_every_route_of_a_channel_is_refused_to_others(
    users: Users, buckets: Buckets, published: Planned
) -> None:
    users.become(BOB).open(users.visitor.address)
    before, endpoints = list_objects(buckets), list_channel_routes()
    assert len(endpoints) > 30

    refused = {endpoint: users.send(endpoint, "street", published.job) for endpoint in endpoints}
    assert set(refused.values()) == {403}, refused
    assert list_objects(buckets) == before


def test_no_route_opens_a_job_of_another_channel(users: Users, buckets: Buckets, published: Planned) -> None:
    users.become(BOB).open(users.visitor.address)
    before = list_objects(buckets)
    endpoints = [endpoint for endpoint in list_channel_routes() if "{job}" in endpoint.path]

    answered = {endpoint: users.send(endpoint, "garden", published.job) for endpoint in endpoints}
    assert set(answered.values()) == {404}, answered
    assert list_objects(buckets) == before


def test_owner_opens_every_page_of_the_channel(users: Users, published: Planned) -> None:
    """The requests of the tests above are valid, so these tests can fail."""
    users.become(ADA).open(users.visitor.address)
    endpoints = [endpoint for endpoint in list_channel_routes() if endpoint.method == "GET"]
    answered = {endpoint.path: users.send(endpoint, "street", published.job) for endpoint in endpoints}
    assert set(answered.values()) <= {200, 303}, answered


@pytest.mark.parametrize(
    ("email", "claims", "channels"),
    [
        (ADA, {}, {"street"}),
        ("Ada@Example.COM", {}, {"street"}),
        (BOB, {}, {"garden", "stree"}),
        ("carol@garden.example", {"hd": "garden.example"}, {"garden"}),
        ("carol@garden.example", {}, set()),
        ("bob@example.com.evil.example", {}, set()),
        (OPERATOR, {}, {"street", "garden", "stree"}),
    ],
)
def test_list_shows_only_own_channels(
    users: Users, email: str, claims: dict[str, str], channels: set[str]
) -> None:
    page = users.become(email, **claims).open(users.visitor.address)
    assert {name for name in OWNERS if f"/channels/{name}/jobs" in page} == channels
    assert ("Ask the operator" in page) == (not channels)
    assert ('action="/channels"' in page) == (email == OPERATOR)


def test_only_administrators_open_a_channel_without_owners(users: Users) -> None:
    for email, status in ((BOB, 403), (OPERATOR, 303)):
        visitor = users.become(email)
        visitor.open(visitor.address)
        assert visitor.post(f"{visitor.address}/channels", {"name": "new"}).status_code == status
        assert visitor.session.get(visitor.url("new", "jobs"), headers=PAGE).status_code == (
            403 if status == 403 else 200
        )
    assert users.become(BOB).post(f"{users.visitor.address}/sample").status_code == 403


def test_answer_does_not_reveal_whether_a_channel_exists(users: Users) -> None:
    visitor = users.become(BOB)
    answers = {
        visitor.session.get(visitor.url(name, "jobs"), headers=PAGE).text for name in ("street", "none")
    }
    assert len(answers) == 1


def test_unsigned_identity_headers_are_ignored(users: Users) -> None:
    visitor = users.become(BOB)
    visitor.session.headers["X-Goog-Authenticated-User-Email"] = f"accounts.google.com:{ADA}"
    assert visitor.session.get(visitor.url("street", "jobs"), headers=PAGE).status_code == 403


def test_removed_owner_is_refused_after_the_next_start(
    users: Users, environment: Callable[..., None]
) -> None:
    visitor = users.become(ADA)
    assert visitor.session.get(visitor.url("street", "jobs"), headers=PAGE).status_code == 200
    environment(channel_owners=json.dumps({**OWNERS, "street": []}))
    assert visitor.session.get(visitor.url("street", "jobs"), headers=PAGE).status_code == 403


@pytest.mark.parametrize("build", [build_console, build_live_page])
def test_pages_start_without_identity_only_beside_the_emulator(
    build: Callable[[], Starlette],
    environment: Callable[..., None],
    buckets: Buckets,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert build()
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", "127.0.0.1:1")
    environment()
    with pytest.raises(SettingsError, match="DEFACER_IAP_AUDIENCE is not set"):
        build()


def test_live_page_uses_and_lists_only_own_channels(
    users: Users, server: ConsoleServer, environment: Callable[..., None]
) -> None:
    environment(live_origins=server.address)
    app = build_live_page()
    # A request names a channel only in the body of POST /streams.
    assert {f"{method} {path}" for method, path in list_routes(app)} == {
        "GET /health", "GET /", "GET /loaded", "GET /watch", "GET /mjpeg/{stream}", "POST /streams", "POST /end",
        "WEBSOCKET /sockets/camera", "WEBSOCKET /sockets/watch",
    }  # fmt: skip
    app.state.sessions = SessionRegistry(create_stream)
    server.app = app

    visitor = users.become(BOB)
    page = visitor.open(visitor.address)
    assert {name for name in OWNERS if f"<option>{name}<" in page} == {"garden", "stree"}
    for channel, status in (("street", 403), ("none", 403), ("garden", 422)):  # 422: the address is not valid
        request = json.dumps({"channel": channel, "address": "not an address"})
        assert visitor.post(f"{visitor.address}/streams", request).status_code == status


def test_websocket_needs_a_token(users: Users, server: ConsoleServer) -> None:
    async def accept(socket: WebSocket) -> None:
        await socket.accept()
        await socket.close()

    site = Middleware(SecurityMiddleware, site=Site("live page", origins=lambda: users.visitor.address))
    server.app = Starlette(routes=[WebSocketRoute("/socket", accept)], middleware=[site])
    address = f"{users.visitor.address.replace('http', 'ws')}/socket"

    def find_close_code(token: str) -> int | None:
        headers = {iap.HEADER: token} if token else {}
        origin = Origin(users.visitor.address)
        with connect(address, origin=origin, additional_headers=headers) as socket:
            with suppress(ConnectionClosed):
                socket.recv()
            return socket.close_code

    tokens = (users.signer.sign(), Signer().sign(), "")
    assert [find_close_code(token) for token in tokens] == [1000, POLICY_VIOLATION, POLICY_VIOLATION]


def test_pages_without_a_token_are_refused(users: Users) -> None:
    for endpoint in list_routes(build_console()):
        path = endpoint.path.format(channel="garden", job="0" * 20, track=0, picture=users.picture)
        answer = requests.request(endpoint.method, users.visitor.address + path, headers=SCRIPT, timeout=60)
        assert (path, answer.status_code) == (path, 200 if path == "/health" else 403)
