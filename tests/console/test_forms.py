"""Whatever a form holds, the console answers with a sentence and never with 500."""

from urllib.parse import quote

import pytest
import requests

from defacer.web.common.rate_limit import RateLimiter
from defacer.web.common.security import FORM, MAX_FIELDS
from tests.clips import astronaut, encode_picture
from tests.console.test_guard import changing
from tests.console.visitor import Visitor
from tests.hostile import png_of_texts, progressive_jpeg

pytestmark = pytest.mark.usefixtures("limited")

# One of each kind of field, with a value that is taken.
GOOD = {
    "name": "walk.mp4", "size": "1000", "type": "video/mp4", "there": "", "person": "Eileen", "picture": "me.png",
    "generation": "0", "mode": "blur", "strength": "1", "color": "#000000", "quality": "18", "recognition": "own",
    "own_distance": "0.7", "video": "walk.mp4", "share": "500", "of": "1", "track-1": "keep",
}  # fmt: skip
ODD = {
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
    "odd type": ("\xff\xfe;;;=", b"name=walk.mp4"),
}


@pytest.fixture
def often(visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> Visitor:
    """A visitor who may ask as often as the test needs."""
    monkeypatch.setattr(RateLimiter, "require", lambda self, request: None)
    visitor.buckets.put(visitor.buckets.intake, "channels/street/videos/walk.mp4", b"no video")
    visitor.buckets.put(visitor.buckets.intake, "channels/street/targets/Eileen/me.png", b"no picture")
    return visitor


def statuses(answers: dict[str, requests.Response]) -> dict[str, tuple[int, str]]:
    """Those that are a fault of the console."""
    return {
        what: (answer.status_code, answer.text[:200])
        for what, answer in answers.items()
        if answer.status_code >= 500
    }


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_value_in_any_field_is_not_answered_with_500(often: Visitor, kind: str) -> None:
    odd, answers = ODD[kind], {}
    for path in changing():
        forms: dict[str, dict[str, str]] = {field: {**GOOD, field: odd} for field in USED.get(path, ())}
        forms |= {"all": dict.fromkeys(GOOD, odd), "names": {**GOOD, odd or "x": "1"}}
        for what, form in forms.items():
            answers[f"{path} {what}"] = often.post(often.address + path, form)
    assert statuses(answers) == {}


USED = {
    "/channels": {"name"},
    "/channels/street/uploads": {"name", "size", "type", "there"},
    "/channels/street/people/check": {"picture"},
    "/channels/street/people/rename": {"person", "name"},
    "/channels/street/people/remove": {"person", "picture"},
    "/channels/street/policy/save": {
        "generation",
        "mode",
        "strength",
        "recognition",
        "own_distance",
        "quality",
        "color",
    },
    "/channels/street/policy/preview": {"video", "share", "mode"},
}


@pytest.mark.parametrize("what", BODIES)
def test_a_body_of_any_kind_is_not_answered_with_500(often: Visitor, what: str) -> None:
    kind, body = BODIES[what]
    answers = {
        path: often.post(often.address + path, body, {"Content-Type": kind.encode("latin-1")})
        for path in changing()
    }
    assert statuses(answers) == {}


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_value_in_an_address_is_not_answered_with_500(often: Visitor, kind: str) -> None:
    odd = quote(ODD[kind], safe="")
    targets = quote("channels/street/targets/", safe="") + odd
    paths = [f"/channels/{odd}/{page}" for page in ("drop", "people", "policy", "jobs")]
    paths += [f"/channels/street/jobs/{odd}", f"/channels/street/jobs/{odd}/result"]
    paths += [f"/channels/street/people/picture?name={name}" for name in (odd, targets, targets + "/a.png")]
    answers = {path: often.session.get(often.address + path, timeout=60) for path in paths}
    add = f"/channels/street/people/pictures?person={odd}"
    answers["add"] = often.post(often.address + add, b"no picture", {"Content-Type": "image/png"})
    assert statuses(answers) == {}


@pytest.mark.parametrize("header", ["X-CSRF-Token", "Origin", "Accept", "Cookie", "Content-Type"])
def test_an_odd_header_is_not_answered_with_500(often: Visitor, header: str) -> None:
    often.open(often.address)
    values = [
        "",
        "\xff\xfe",
        "x" * 5_000,
        "defacer=\xe9; x",
        "http://[",
        ";;=,",
        "multipart/form-data;boundary=",
    ]
    address = often.address + "/channels/street/uploads"
    assert (
        statuses({value: often.post(address, GOOD, {header: value.encode("latin-1")}) for value in values})
        == {}
    )


@pytest.mark.parametrize("kind", ["video/mp4\r\nX-Evil: yes", "video/\u65e5", "x" * 201, "video/mp4\0"])
def test_a_type_that_no_header_can_hold_is_refused(often: Visitor, kind: str) -> None:
    answer = often.post(often.at("street", "uploads"), {**GOOD, "name": "new.mp4", "type": kind})
    assert (answer.status_code, answer.json()["error"][:26]) == (422, "This file's type can't be ")


def test_a_form_of_too_many_fields_is_refused_with_the_limit(often: Visitor) -> None:
    kind, body = BODIES["12,000 fields"]
    answer = often.post(often.at("street", "uploads"), body, {"Content-Type": kind})
    assert answer.status_code == 422
    assert answer.json()["error"] == f"A form has at most {MAX_FIELDS} fields. Send fewer."


def test_a_generation_that_is_not_a_number_replaces_nothing(often: Visitor) -> None:
    name = "channels/street/policy.json"
    often.buckets.put(often.buckets.intake, name, b'{"mode": "solid"}')
    for generation in ("9" * 5_000, "-1", "x"):
        answer = often.post(often.at("street", "policy", "save"), {"mode": "blur", "generation": generation})
        assert answer.status_code == 422
    assert often.buckets.json(often.buckets.intake, name)["mode"] == "solid"


def test_a_policy_with_a_byte_order_mark_is_shown(often: Visitor) -> None:
    data = '{"mode": "solid", "color": "#123456"}'.encode("utf-8-sig")
    often.buckets.put(often.buckets.intake, "channels/street/policy.json", data)
    page = often.open(often.at("street", "policy"))
    assert "#123456" in page
    assert "can't be used" not in page


def test_pictures_that_cost_too_much_to_decode_are_refused(often: Visitor) -> None:
    slow = progressive_jpeg(7_000, 10_000)
    added = often.post(often.at("street", "people") + "/pictures?person=Eileen", slow)
    assert (added.status_code, added.json()["good"]) == (200, False)
    assert added.json()["sentence"].startswith("This picture has 10000 scans, at most 100 are allowed.")
    replaced = often.post(often.at("street", "policy", "replacement"), slow)
    assert replaced.status_code == 422
    assert replaced.json()["error"].startswith("This picture has 10000 scans, at most 100 are allowed.")
    assert often.post(often.at("street", "policy", "replacement"), png_of_texts(50)).status_code == 200
    good = often.post(often.at("street", "people") + "/pictures?person=Ada", encode_picture(astronaut()))
    assert good.json()["good"]
