"""Hostile names: they look like HTML, paths or attributes, and the console treats them as text."""

import html
import http.client
import re
from html.parser import HTMLParser

import pytest

from tests.console.visitor import Visitor
from tests.hostile import ODD_NAMES

HOSTILE = {
    "tag": "<img src=x onerror=alert(1)><script>alert(2)",
    "attribute": '" autofocus onfocus=alert(1) x="',
    "template": "{{ 7 * 7 }}{% raw %}",
    "query": "a?b#c%2Fd&e=f",
    "backslash": "..\\..\\windows",
    "entity": "&lt;b&gt;&#x22;",
    "override": "safe\u202e4pm",
    "longest": "ü" * 80,
}
NAMES = pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE.keys())


class ParsedPage(HTMLParser):
    """A page as a browser parses it: its text, its attribute values and its scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.values: list[str] = []
        self.scripts: list[str | None] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert not [name for name, _ in attrs if name.startswith("on") or name == "autofocus"]
        self.values += [value or "" for _, value in attrs]
        if tag == "script":
            self.scripts.append(dict(attrs).get("src"))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def has_text(page: str, name: str) -> bool:
    """Return whether the page shows the name as text, character by character."""
    parsed = ParsedPage(page)
    assert all(source is not None and source.startswith("/static/") for source in parsed.scripts)
    return name in "".join(parsed.texts)


@NAMES
def test_channel_of_any_name_has_all_pages(visitor: Visitor, name: str) -> None:
    visitor.buckets.put(visitor.buckets.intake, f"channels/{name}/videos/walk.mp4", b"not a video")

    start = visitor.open(visitor.address)
    assert has_text(start, name)
    for tab in ("upload", "people", "policy", "jobs"):
        assert has_text(visitor.open(visitor.url(name, tab)), name)
    (address,) = re.findall(r'<h2 class="grow plain-heading"><a href="([^"]+)"', start)
    assert has_text(visitor.open(visitor.address + html.unescape(address)), name)


@NAMES
def test_person_of_any_name_is_listed_renamed_and_removed(visitor: Visitor, name: str) -> None:
    buckets = visitor.buckets
    buckets.put(buckets.intake, f"channels/street/targets/{name}/one.png", b"not a picture")
    people = visitor.url("street", "people")

    page = visitor.open(people)
    assert has_text(page, name)
    (address,) = [value for value in ParsedPage(page).values if "/people/pictures/" in value]
    assert visitor.session.get(visitor.address + address, timeout=60).content == b"not a picture"
    assert visitor.post(f"{people}/rename", {"person": name, "name": "Ada"}).json() == {"moved": 1}
    assert buckets.names(buckets.intake, "channels/street/targets") == ["channels/street/targets/Ada/one.png"]
    assert visitor.post(f"{people}/rename", {"person": "Ada", "name": name}).json() == {"moved": 1}
    assert visitor.post(f"{people}/remove", {"person": name}).json() == {"removed": 1}
    assert buckets.names(buckets.intake) == []


@pytest.mark.parametrize("name", [*ODD_NAMES.values(), *HOSTILE.values()])
def test_video_of_any_name_is_listed_and_accepted(visitor: Visitor, name: str) -> None:
    path = name if name.endswith(".mp4") else f"{name}.mp4"
    buckets = visitor.buckets
    buckets.put(buckets.intake, f"channels/street/videos/{path}", b"not a video")

    assert has_text(visitor.open(visitor.url("street", "jobs")), path)
    assert has_text(visitor.open(visitor.url("street", "policy")), path)
    if len(path) < 100:
        answer = visitor.post(
            visitor.url("street", "uploads"), {"name": path, "size": "1", "on_conflict": "keep-both"}
        )
        assert answer.status_code == (200 if "/" not in path else 422), answer.text


@pytest.mark.parametrize("name", ["", "..", ".", "a/b", "../x", "a\nb", "a\0b", "ü" * 600])
def test_path_as_a_name_of_channel_person_or_video_is_refused(visitor: Visitor, name: str) -> None:
    buckets = visitor.buckets
    buckets.put(buckets.intake, "channels/street/targets/Ada/one.png", b"not a picture")

    assert visitor.post(f"{visitor.address}/channels", {"name": name}).status_code == 422
    people = visitor.url("street", "people")
    assert visitor.post(f"{people}/rename", {"person": "Ada", "name": name}).status_code == 422
    assert visitor.post(f"{people}/pictures", b"x", {"X": "1"}).status_code == 422
    assert visitor.post(visitor.url("street", "uploads"), {"name": name, "size": "1"}).status_code == 422
    assert buckets.names(buckets.intake) == ["channels/street/targets/Ada/one.png"]


@pytest.mark.parametrize(
    "path",
    [
        "/channels/../upload",
        "/channels/%2e%2e/upload",
        "/channels/a%2Fb/upload",
        "/static/../app.py",
        "/static/%2e%2e/app.py",
    ],
)
def test_path_traversal_is_not_found(visitor: Visitor, path: str) -> None:
    host = visitor.address.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=60)
    connection.request("GET", path, headers={"Accept": "text/html"})
    answer = connection.getresponse()
    assert answer.status == 404
    assert b"def application" not in answer.read()


def test_objects_of_another_channel_are_not_accessible(visitor: Visitor) -> None:
    buckets = visitor.buckets
    buckets.put(buckets.intake, "channels/other/targets/Ada/one.png", b"not a picture")
    buckets.put(buckets.intake, "channels/street/videos/walk.mp4", b"not a video")
    people = visitor.url("street", "people")

    for picture in ("channels/other/targets/Ada/one.png", "channels/street/videos/walk.mp4"):
        assert visitor.post(f"{people}/remove", {"picture": picture}).status_code == 404
        assert visitor.post(f"{people}/check", {"picture": picture}).status_code == 404
        assert (
            visitor.session.get(f"{people}/picture", params={"name": picture}, timeout=60).status_code == 404
        )
    answer = visitor.post(f"{visitor.url('street', 'policy')}/preview", {"video": "../../other/videos/x.mp4"})
    assert answer.status_code == 404
    assert len(buckets.names(buckets.intake)) == 2
