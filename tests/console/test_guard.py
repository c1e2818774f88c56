"""Who may ask the console for what, and what a browser may do with its pages."""

import json
import re
import time
from collections.abc import Callable
from typing import Any

import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.auth import jwt
from google.auth.crypt import EsSigner
from starlette.routing import Route
from urllib3.exceptions import HTTPError
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from defacer.pipeline import log
from defacer.web.common import iap
from defacer.web.console.app import application
from defacer_emulator.chaos.http import Request, Response
from tests.console.visitor import PAGE, SCRIPT, Visitor
from tests.proxy import serving

PAGES = (
    "",
    "/channels/street/drop",
    "/channels/street/people",
    "/channels/street/policy",
    "/channels/street/jobs",
)
JOB = "0" * 20
AUDIENCE = "/projects/1/locations/somewhere/services/console"


def changing() -> list[str]:
    """Every address that takes a POST."""
    paths = [
        route.path
        for route in application().routes
        if isinstance(route, Route) and "POST" in (route.methods or ())
    ]
    return [path.format(channel="street", job=JOB) for path in paths]


@pytest.mark.parametrize("path", [*PAGES, "/static/drop.js", "/nothing-here", f"/channels/street/jobs/{JOB}"])
def test_every_answer_forbids_scripts_of_others_frames_and_guessing(visitor: Visitor, path: str) -> None:
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


def test_pages_reach_two_buckets_in_storage_and_nothing_else_outside(visitor: Visitor, browsing: str) -> None:
    policy = requests.get(visitor.address, headers=PAGE, timeout=60).headers["Content-Security-Policy"]
    outside = set(re.findall(r"https?://\S+?(?=[ ;]|$)", policy))
    buckets = visitor.buckets
    assert outside == {
        f"{browsing}/{buckets.intake}/",
        f"{browsing}/{buckets.output}/",
        f"{browsing}/upload/storage/v1/b/{buckets.intake}/o",
        f"{browsing}/resumable/upload/storage/v1/b/{buckets.intake}/o",
    }


@pytest.mark.parametrize("path", PAGES)
def test_no_page_holds_a_script_a_style_or_an_address_of_elsewhere(visitor: Visitor, path: str) -> None:
    text = visitor.open(visitor.address + path)
    assert not re.search(r"<script(?![^>]*\bsrc=\"/static/)|<style|\bstyle=|\son\w+=", text)
    assert not re.search(r"(?:src|href|action)=\"(?!/|#)", text)


def test_there_is_something_to_change_and_nothing_of_it_without_the_token(visitor: Visitor) -> None:
    paths = changing()
    assert len(paths) > 8
    visitor.open(visitor.address)
    for path in paths:
        for token in ("", "x" * 43):
            answer = visitor.post(visitor.address + path, {"name": "x"}, {"X-CSRF-Token": token})
            assert (path, answer.status_code) == (path, 403)


def test_the_token_alone_is_not_enough_without_its_cookie(visitor: Visitor) -> None:
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
def test_what_another_page_sends_is_refused_even_with_a_token(
    visitor: Visitor, headers: dict[str, str | None]
) -> None:
    assert visitor.post(f"{visitor.address}/channels", {"name": "x"}, headers).status_code == 403  # type: ignore[arg-type]


def test_the_cookie_is_sent_to_no_other_site_and_seen_by_no_script(visitor: Visitor) -> None:
    cookie = requests.get(visitor.address, headers=PAGE, timeout=60).headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie


@pytest.mark.parametrize(("scheme", "name"), [("http", "defacer="), ("https", "__Host-defacer=")])
def test_the_cookie_goes_over_https_alone_where_there_is_https_and_works_on_this_machine_without(
    visitor: Visitor, stage: Any, scheme: str, name: str
) -> None:
    """Behind a proxy, as on Cloud Run, it is the proxy that knows."""
    stage.app = ProxyHeadersMiddleware(stage.app, trusted_hosts="*")
    told = {"X-Forwarded-Proto": scheme}
    opened = requests.get(visitor.address, headers={**PAGE, **told}, timeout=60)
    cookie = opened.headers["Set-Cookie"]
    assert cookie.startswith(name)
    assert ("; Secure" in cookie) is (scheme == "https")

    (token,) = re.findall(r'name="csrf" content="([^"]+)"', opened.text)
    sent = {**SCRIPT, **told, "X-CSRF-Token": token, "Cookie": cookie.partition(";")[0]}
    address = f"{visitor.address}/channels"
    answer = requests.post(address, {"name": "x"}, headers=sent, timeout=60, allow_redirects=False)
    assert answer.status_code == 303


def test_a_name_that_was_made_to_lead_here_reads_nothing(visitor: Visitor) -> None:
    answer = requests.get(visitor.address, headers={**PAGE, "Host": "evil.example"}, timeout=60)
    assert answer.status_code == 403
    assert "Channels" not in answer.text


def token(key: ec.EllipticCurvePrivateKey, **claims: object) -> str:
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    now = int(time.time())
    told = {"iss": iap.ISSUER, "aud": AUDIENCE, "iat": now - 10, "exp": now + 600, **claims}
    return jwt.encode(EsSigner.from_string(pem, "key"), told).decode()


def test_behind_identity_aware_proxy_only_its_word_opens_the_console(
    visitor: Visitor,
    environment: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    key, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )

    async def keys(_: Request) -> Response:
        return Response(
            200, (("Content-Type", "application/json"),), json.dumps({"key": public.decode()}).encode()
        )

    with serving(keys) as address:
        monkeypatch.setattr(iap, "KEYS", address)
        monkeypatch.setattr(iap, "_keys", iap._Keys())
        environment(console_iap_audience=AUDIENCE)

        def status(word: str | None) -> int:
            headers = {**PAGE, iap.HEADER: word} if word else PAGE
            return requests.get(visitor.address, headers=headers, timeout=60).status_code

        assert status(token(key)) == 200
        assert status(None) == 403
        log.configure()
        capsys.readouterr()
        for word in ("secret", "secret.se.cret", "W10.W10.secret", "bnVsbA.e30.secret"):
            assert status(word) == 403
        logged = capsys.readouterr().out
        assert logged.count("a token of Identity-Aware Proxy was refused") == 4
        assert "secret" not in logged
        assert status(token(other)) == 403
        assert status(token(key, aud="/projects/2")) == 403
        assert status(token(key, iss="https://elsewhere.example")) == 403
        assert status(token(key, iat=int(time.time()) - 9000, exp=int(time.time()) - 8000)) == 403


def test_what_is_no_keys_is_not_taken_for_them_and_old_ones_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [(404, b'{"error": "x"}'), (200, b"<html>"), (200, b'{"1": "a key"}'), (503, b"")]

    async def answer(_: Request) -> Response:
        status, body = answers.pop(0)
        return Response(status, body=body)

    keys, now = iap._Keys(), 0.0
    monkeypatch.setattr("defacer.web.common.iap.time.monotonic", lambda: now)
    with serving(answer) as address:
        for _ in range(2):
            now += 1.0
            with pytest.raises(HTTPError):
                keys.get(address)
        for _ in range(2):
            now += 2 * iap.KEYS_SECONDS
            assert keys.get(address) == {"1": "a key"}
    assert answers == []
