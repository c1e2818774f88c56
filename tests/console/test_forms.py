"""The console answers any form, body and header with an error message, never with status 500."""

from urllib.parse import quote

import pytest
import requests

from defacer.web.common.rate_limit import RateLimiter
from defacer.web.common.security import FORM, MAX_FIELDS
from defacer.web.console import jobs
from tests.clips import astronaut, encode_picture
from tests.console.test_security import list_post_paths
from tests.console.visitor import Visitor
from tests.hostile import png_of_texts, progressive_jpeg

pytestmark = pytest.mark.usefixtures("limited")

# Each form field with a valid value.
VALID_FORM = {
    "name": "walk.mp4", "size": "1000", "type": "video/mp4", "on_conflict": "", "person": "Eileen", "picture": "me.png",
    "generation": "0", "mode": "blur", "strength": "1", "color": "#000000", "quality": "18", "recognition": "own",
    "own_threshold": "0.7", "video": "walk.mp4", "share": "500", "version": "1", "track-1": "keep",
}  # fmt: skip
INVALID_VALUES = {
    "empty": "",
    "line break": "video/mp4\r\nX-Evil: yes",
    "null": "a\0b",
    "long": "x" * 5_000,
    "long number": "9" * 5_000,
    "above 64 bits": "9" * 19,
    "not ASCII": "video/\u65e5\u672c\U0001f600",
    "other digits": "\u0661\u0662",
    "path": "../../policy.json",
    "infinite": "1e999",
    "no number": "nan",
    "replaced": "\ufffd",
    "format": "{0.__class__} %s %n",
}
BODIES: dict[str, tuple[str, bytes]] = {
    "12,000 fields": (FORM, b"&".join(b"f%d=1" % number for number in range(12_000))),
    "12,000 times the same": (FORM, b"name=x&" * 12_000),
    "12,000 separators": (FORM, b"&" * 12_000),
    "too long": (FORM, b"name=" + b"x" * 300_000),
    "no UTF-8": (FORM, b"name=\xff\xfe\x80&type=%ff%fe%80"),
    "half characters": (FORM, b"name=%ed%a0%80&type=video/%ed%b0%80&person=%c3"),
    "broken escapes": (FORM, b"name=%&type=%zz&size=%u0031"),
    "zeros": (FORM, bytes(1_000)),
    "UTF-16": (FORM + "; charset=utf-16", "name=walk.mp4&size=1".encode("utf-16")),
    "unknown charset": (FORM + "; charset=nothing", b"name=walk.mp4"),
    "multipart": ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\n1"),
    "multipart without boundary": ("multipart/form-data", b"--\r\n"),
    "JSON": ("application/json", b"[" * 100_000),
    "no type": ("", b"name=walk.mp4"),
    "invalid content type": ("\xff\xfe;;;=", b"name=walk.mp4"),
}


@pytest.fixture
def unlimited(visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> Visitor:
    """Return a client without rate limits. The stream of changes ends at once."""
    monkeypatch.setattr(RateLimiter, "enforce", lambda self, request: None)
    monkeypatch.setattr(jobs, "CHANGE_STREAM_SECONDS", 0)
    visitor.buckets.put(visitor.buckets.intake, "channels/street/videos/walk.mp4", b"not a video")
    visitor.buckets.put(visitor.buckets.intake, "channels/street/targets/Eileen/me.png", b"not a picture")
    return visitor


def find_server_errors(responses: dict[str, requests.Response]) -> dict[str, tuple[int, str]]:
    """Return the responses with a status of 500 or higher."""
    return {
        name: (response.status_code, response.text[:200])
        for name, response in responses.items()
        if response.status_code >= 500
    }


@pytest.mark.parametrize("kind", INVALID_VALUES)
def test_invalid_value_in_a_field_causes_no_server_error(unlimited: Visitor, kind: str) -> None:
    invalid, answers = INVALID_VALUES[kind], {}
    for path in list_post_paths():
        fields = FIELDS_BY_PATH.get(path, ())
        forms: dict[str, dict[str, str]] = {field: {**VALID_FORM, field: invalid} for field in fields}
        forms |= {"all": dict.fromkeys(VALID_FORM, invalid), "names": {**VALID_FORM, invalid or "x": "1"}}
        for name, form in forms.items():
            answers[f"{path} {name}"] = unlimited.post(unlimited.address + path, form)
    assert find_server_errors(answers) == {}


FIELDS_BY_PATH = {
    "/channels": {"name"},
    "/channels/street/uploads": {"name", "size", "type", "on_conflict"},
    "/channels/street/people/check": {"picture"},
    "/channels/street/people/rename": {"person", "name"},
    "/channels/street/people/remove": {"person", "picture"},
    "/channels/street/policy/save": {
        "generation",
        "mode",
        "strength",
        "recognition",
        "own_threshold",
        "quality",
        "color",
    },
    "/channels/street/policy/preview": {"video", "share", "mode"},
}


@pytest.mark.parametrize("case", BODIES)
def test_invalid_body_causes_no_server_error(unlimited: Visitor, case: str) -> None:
    kind, body = BODIES[case]
    answers = {
        path: unlimited.post(unlimited.address + path, body, {"Content-Type": kind.encode("latin-1")})
        for path in list_post_paths()
    }
    assert find_server_errors(answers) == {}


@pytest.mark.parametrize("kind", INVALID_VALUES)
def test_invalid_value_in_a_path_causes_no_server_error(unlimited: Visitor, kind: str) -> None:
    invalid = quote(INVALID_VALUES[kind], safe="")
    paths = [f"/channels/{invalid}/{page}" for page in ("upload", "people", "policy", "jobs")]
    paths += [f"/channels/street/jobs/{invalid}", f"/channels/street/jobs/{invalid}/result"]
    paths += [f"/channels/street/people/pictures/{invalid}", f"/channels/street/jobs?most={invalid}"]
    answers = {path: unlimited.session.get(unlimited.address + path, timeout=60) for path in paths}
    add = f"{unlimited.address}/channels/street/people/pictures"
    headers = {"Content-Type": "image/png", "X-Person": invalid}
    answers["add"] = unlimited.post(add, b"not a picture", headers)
    assert find_server_errors(answers) == {}


@pytest.mark.parametrize("header", ["X-CSRF-Token", "Origin", "Accept", "Cookie", "Content-Type"])
def test_invalid_header_causes_no_server_error(unlimited: Visitor, header: str) -> None:
    unlimited.open(unlimited.address)
    values = [
        "",
        "\xff\xfe",
        "x" * 5_000,
        "defacer=\xe9; x",
        "http://[",
        ";;=,",
        "multipart/form-data;boundary=",
    ]
    address = unlimited.address + "/channels/street/uploads"
    assert (
        find_server_errors(
            {
                value: unlimited.post(address, VALID_FORM, {header: value.encode("latin-1")})
                for value in values
            }
        )
        == {}
    )


@pytest.mark.parametrize("kind", ["video/mp4\r\nX-Evil: yes", "video/\u65e5", "x" * 201, "video/mp4\0"])
def test_type_that_is_not_a_header_value_is_refused(unlimited: Visitor, kind: str) -> None:
    answer = unlimited.post(
        unlimited.url("street", "uploads"), {**VALID_FORM, "name": "new.mp4", "type": kind}
    )
    assert (answer.status_code, answer.json()["error"][:26]) == (422, "This file's type is not va")


def test_form_of_too_many_fields_is_refused_with_the_limit(unlimited: Visitor) -> None:
    kind, body = BODIES["12,000 fields"]
    answer = unlimited.post(unlimited.url("street", "uploads"), body, {"Content-Type": kind})
    assert answer.status_code == 422
    assert answer.json()["error"] == f"The form has more than {MAX_FIELDS} fields. Send fewer."


def test_generation_that_is_not_a_number_replaces_nothing(unlimited: Visitor) -> None:
    name = "channels/street/policy.json"
    unlimited.buckets.put(unlimited.buckets.intake, name, b'{"mode": "solid"}')
    for generation in ("9" * 5_000, "-1", "x"):
        answer = unlimited.post(
            unlimited.url("street", "policy", "save"), {"mode": "blur", "generation": generation}
        )
        assert answer.status_code == 422
    assert unlimited.buckets.json(unlimited.buckets.intake, name)["mode"] == "solid"


def test_policy_with_a_byte_order_mark_is_shown(unlimited: Visitor) -> None:
    data = '{"mode": "solid", "color": "#123456"}'.encode("utf-8-sig")
    unlimited.buckets.put(unlimited.buckets.intake, "channels/street/policy.json", data)
    page = unlimited.open(unlimited.url("street", "policy"))
    assert "#123456" in page
    assert "is not valid" not in page


def test_pictures_that_are_too_slow_to_decode_are_refused(unlimited: Visitor) -> None:
    slow = progressive_jpeg(7_000, 10_000)
    added = unlimited.post(unlimited.url("street", "people", "pictures"), slow, {"X-Person": "Eileen"})
    assert (added.status_code, added.json()["usable"]) == (200, False)
    assert added.json()["message"].startswith("This picture has 10000 scans, at most 100 are allowed.")
    replaced = unlimited.post(unlimited.url("street", "policy", "replacement"), slow)
    assert replaced.status_code == 422
    assert replaced.json()["error"].startswith("This picture has 10000 scans, at most 100 are allowed.")
    assert (
        unlimited.post(unlimited.url("street", "policy", "replacement"), png_of_texts(50)).status_code == 200
    )
    good = unlimited.post(
        unlimited.url("street", "people", "pictures"), encode_picture(astronaut()), {"X-Person": "Ad%C3%A8le"}
    )
    assert good.json()["usable"]
    (stored,) = unlimited.buckets.names(unlimited.buckets.intake, "channels/street/targets/Adèle")
    assert stored.endswith(".png")
