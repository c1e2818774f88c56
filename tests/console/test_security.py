"""The console's protection against requests of other sites, and its security headers."""

import json
import re
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Any

import pytest
import requests
from google.auth.exceptions import TransportError
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from defacer.pipeline import log
from defacer.web.common import iap
from defacer.web.console.console_app import build_console
from defacer_emulator.chaos.http import Handler, Request, Response
from tests.cloud_run import HOST
from tests.console.identity import ADA, Signer, trusted_signer
from tests.console.routes import list_routes
from tests.console.visitor import PAGE, SCRIPT, Visitor
from tests.proxy import serving

PAGES = (
    "",
    "/channels/street/upload",
    "/channels/street/people",
    "/channels/street/policy",
    "/channels/street/jobs",
)
JOB = "0" * 20


def list_post_paths() -> list[str]:
    """Return every path that accepts POST."""
    routes = list_routes(build_console())
    return [route.path.format(channel="street", job=JOB) for route in routes if route.method == "POST"]


@pytest.mark.parametrize(
    "path", [*PAGES, "/static/upload.js", "/nothing-here", f"/channels/street/jobs/{JOB}"]
)
def test_every_response_has_security_headers(visitor: Visitor, path: str) -> None:
    headers = requests.get(visitor.address + path, headers=PAGE, timeout=60).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))

    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["form-action"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Cache-Control"] == ("no-cache" if path.startswith("/static") else "no-store")


def test_pages_reach_only_two_buckets_outside_the_console(visitor: Visitor, storage_proxy: str) -> None:
    policy = requests.get(visitor.address, headers=PAGE, timeout=60).headers["Content-Security-Policy"]
    outside = set(re.findall(r"https?://\S+?(?=[ ;]|$)", policy))
    buckets = visitor.buckets
    assert outside == {
        f"{storage_proxy}/{buckets.intake}/",
        f"{storage_proxy}/{buckets.output}/",
        f"{storage_proxy}/upload/storage/v1/b/{buckets.intake}/o",
        f"{storage_proxy}/resumable/upload/storage/v1/b/{buckets.intake}/o",
    }


@pytest.mark.parametrize("path", PAGES)
def test_pages_have_no_inline_code_and_no_foreign_urls(visitor: Visitor, path: str) -> None:
    text = visitor.open(visitor.address + path)
    assert not re.search(r"<script(?![^>]*\bsrc=\"/static/)|<style|\bstyle=|\son\w+=", text)
    assert not re.search(r"(?:src|href|action)=\"(?!/|#)", text)


def test_every_post_needs_the_token(visitor: Visitor) -> None:
    paths = list_post_paths()
    assert len(paths) > 8
    visitor.open(visitor.address)
    for path in paths:
        for token in ("", "x" * 43):
            answer = visitor.post(visitor.address + path, {"name": "x"}, {"X-CSRF-Token": token})
            assert (path, answer.status_code) == (path, 403)


def test_post_with_the_token_but_without_its_cookie_is_refused(visitor: Visitor) -> None:
    visitor.open(visitor.address)
    headers = {**SCRIPT, "X-CSRF-Token": visitor.token}
    answer = requests.post(f"{visitor.address}/channels", {"name": "x"}, headers=headers, timeout=60)
    assert answer.status_code == 403
    assert visitor.post(f"{visitor.address}/channels", {"name": "x"}).status_code == 303


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": None, "Origin": "https://elsewhere.example"},
        {"Sec-Fetch-Site": None, "Origin": "null"},
        {"Sec-Fetch-Site": None, "Origin": None},
    ],
)
def test_post_of_another_site_is_refused_even_with_a_token(
    visitor: Visitor, headers: dict[str, str | None]
) -> None:
    assert visitor.post(f"{visitor.address}/channels", {"name": "x"}, headers).status_code == 403


def test_cookie_is_http_only_and_same_site(visitor: Visitor) -> None:
    cookie = requests.get(visitor.address, headers=PAGE, timeout=60).headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie


@pytest.mark.parametrize(("scheme", "name"), [("http", "defacer="), ("https", "__Host-defacer=")])
def test_cookie_is_secure_only_with_https(visitor: Visitor, server: Any, scheme: str, name: str) -> None:
    """Behind a proxy, as on Cloud Run, the proxy states the scheme."""
    server.app = ProxyHeadersMiddleware(server.app, trusted_hosts="*")
    forwarded = {"X-Forwarded-Proto": scheme}
    opened = requests.get(visitor.address, headers={**PAGE, **forwarded}, timeout=60)
    cookie = opened.headers["Set-Cookie"]
    assert cookie.startswith(name)
    assert ("; Secure" in cookie) is (scheme == "https")

    (token,) = re.findall(r'name="csrf" content="([^"]+)"', opened.text)
    sent = {**SCRIPT, **forwarded, "X-CSRF-Token": token, "Cookie": cookie.partition(";")[0]}
    address = f"{visitor.address}/channels"
    answer = requests.post(address, {"name": "x"}, headers=sent, timeout=60, allow_redirects=False)
    assert answer.status_code == 303


def test_request_to_another_host_name_is_refused(visitor: Visitor) -> None:
    answer = requests.get(visitor.address, headers={**PAGE, "Host": "evil.example"}, timeout=60)
    assert answer.status_code == 403
    assert "Channels" not in answer.text


def test_a_proxy_can_replace_the_host_but_not_the_origin(visitor: Visitor, server: Any) -> None:
    """`gcloud run services proxy` replaces Host and keeps Origin."""
    address = f"{visitor.address}/channels"
    visitor.open(visitor.address)
    host = {"Host": HOST, "Cookie": f"defacer={visitor.token}"}
    assert visitor.post(address, {"name": "x"}, host).status_code == 403  # nothing is in front of the console
    server.app.state.proxies = 1
    assert visitor.post(address, {"name": "x"}, host).status_code == 303
    foreign = visitor.post(address, {"name": "x"}, {**host, "Origin": f"https://{HOST}"})
    assert foreign.status_code == 403
    assert foreign.text == f"This page is not at an address of the console. Open {visitor.address} instead."


def test_behind_identity_aware_proxy_only_its_tokens_are_accepted(
    visitor: Visitor,
    environment: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    administrators = json.dumps([f"user:{ADA}"])
    with trusted_signer(environment, monkeypatch, administrators=administrators) as signer:

        def status(token: str | None) -> int:
            headers = {**PAGE, iap.HEADER: token} if token else PAGE
            return requests.get(visitor.address, headers=headers, timeout=60).status_code

        assert status(signer.sign()) == 200
        assert status(None) == 403
        log.configure()
        capsys.readouterr()
        for invalid in ("secret", "secret.se.cret", "W10.W10.secret", "bnVsbA.e30.secret"):
            assert status(invalid) == 403
        logged = capsys.readouterr().out
        assert logged.count("a token of Identity-Aware Proxy was refused") == 4
        assert "secret" not in logged
        assert status(Signer().sign()) == 403
        for algorithm in ("none", "HS256"):  # the key of Identity-Aware Proxy is public
            _, payload, signature = signer.sign().split(".")
            head = (
                urlsafe_b64encode(json.dumps({"alg": algorithm, "kid": "key"}).encode()).decode().rstrip("=")
            )
            assert status(f"{head}.{payload}.{signature}") == 403
        now = int(time.time())
        for claims in (
            {"aud": "/projects/2"},
            {"aud": None},
            {"iss": "https://elsewhere.example"},
            {"email": None},
            {"iat": now - 9000, "exp": now - 8000},
            {"iat": now + 300},
        ):
            assert (claims, status(signer.sign(**claims))) == (claims, 403)


def take_from(answers: list[tuple[int, bytes]]) -> Handler:
    """Return a handler with these answers, one after the other. It removes each from the list."""

    async def answer(_: Request) -> Response:
        status, body = answers.pop(0)
        return Response(status, body=body)

    return answer


def test_failed_fetch_of_the_keys_counts_for_some_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [(503, b""), (200, b'{"1": "a key"}')]
    keys, now = iap.KeyCache(), 0.0
    monkeypatch.setattr("defacer.web.common.iap.time.monotonic", lambda: now)
    with serving(take_from(answers)) as address:
        for _ in range(3):
            with pytest.raises(TransportError, match="503 without keys"):
                keys(address)
        assert len(answers) == 1
        now += 2 * iap.FAILURE_SECONDS
        assert keys(address).data == b'{"1": "a key"}'


def test_keys_are_replaced_by_newer_ones_and_kept_if_a_fetch_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [
        (404, b'{"error": "x"}'),
        (200, b"<html>"),
        (200, b'{"1": "a key"}'),
        (503, b""),
        (200, b'{"2": "a new key"}'),
    ]
    keys, now = iap.KeyCache(), 0.0
    monkeypatch.setattr("defacer.web.common.iap.time.monotonic", lambda: now)
    with serving(take_from(answers)) as address:
        for _ in range(2):
            now += 2 * iap.FAILURE_SECONDS
            with pytest.raises(TransportError):
                keys(address)
        for _ in range(2):
            now += 2 * iap.KEYS_SECONDS
            assert keys(address).data == b'{"1": "a key"}'
        now += 2 * iap.KEYS_SECONDS
        assert keys(address).data == b'{"2": "a new key"}'
    assert answers == []
