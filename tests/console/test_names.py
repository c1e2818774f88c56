"""Names that are made to be taken for something else: a tag, a path, an attribute."""

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


class _Read(HTMLParser):
    """A page as a browser takes it: its words, and what tags and attributes it has."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.values: list[str] = []
        self.scripts: list[str | None] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert not [name for name, _ in attrs if name.startswith("on") or name == "autofocus"]
        self.values += [value or "" for _, value in attrs]
        if tag == "script":
            self.scripts.append(dict(attrs).get("src"))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def shows(page: str, name: str) -> bool:
    """Whether a page says the name, letter by letter; it must not be taken for anything else."""
    read = _Read(page)
    assert all(source is not None and source.startswith("/static/") for source in read.scripts)
    return name in "".join(read.words)


@NAMES
def test_a_channel_of_any_name_has_its_pages(visitor: Visitor, name: str) -> None:
    visitor.buckets.put(visitor.buckets.intake, f"channels/{name}/videos/walk.mp4", b"no video")

    start = visitor.open(visitor.address)
    assert shows(start, name)
    for tab in ("drop", "people", "policy", "jobs"):
        assert shows(visitor.open(visitor.at(name, tab)), name)
    (address,) = re.findall(r'<h2 class="grow plain-heading"><a href="([^"]+)"', start)
    assert shows(visitor.open(visitor.address + html.unescape(address)), name)


@NAMES
def test_a_person_of_any_name_is_shown_renamed_and_removed(visitor: Visitor, name: str) -> None:
    buckets = visitor.buckets
    buckets.put(buckets.intake, f"channels/street/targets/{name}/one.png", b"no picture")
    people = visitor.at("street", "people")

    page = visitor.open(people)
    assert shows(page, name)
    (address,) = [value for value in _Read(page).values if "/people/picture?" in value]
    assert visitor.session.get(visitor.address + address, timeout=60).content == b"no picture"
    assert visitor.post(f"{people}/rename", {"person": name, "name": "Ada"}).json() == {"moved": 1}
    assert buckets.names(buckets.intake, "channels/street/targets") == ["channels/street/targets/Ada/one.png"]
    assert visitor.post(f"{people}/rename", {"person": "Ada", "name": name}).json() == {"moved": 1}
    assert visitor.post(f"{people}/remove", {"person": name}).json() == {"removed": 1}
    assert buckets.names(buckets.intake) == []


@pytest.mark.parametrize("name", [*ODD_NAMES.values(), *HOSTILE.values()])
def test_a_video_of_any_name_is_listed_and_taken(visitor: Visitor, name: str) -> None:
    path = name if name.endswith(".mp4") else f"{name}.mp4"
    buckets = visitor.buckets
    buckets.put(buckets.intake, f"channels/street/videos/{path}", b"no video")

    assert shows(visitor.open(visitor.at("street", "jobs")), path)
    assert shows(visitor.open(visitor.at("street", "policy")), path)
    if len(path) < 100:
        answer = visitor.post(visitor.at("street", "uploads"), {"name": path, "size": "1", "there": "beside"})
        assert answer.status_code == (200 if "/" not in path else 422), answer.text


@pytest.mark.parametrize("name", ["", "..", ".", "a/b", "../x", "a\nb", "a\0b", "ü" * 600])
def test_a_name_that_leads_elsewhere_names_no_channel_person_or_video(visitor: Visitor, name: str) -> None:
    buckets = visitor.buckets
    buckets.put(buckets.intake, "channels/street/targets/Ada/one.png", b"no picture")

    assert visitor.post(f"{visitor.address}/channels", {"name": name}).status_code == 422
    people = visitor.at("street", "people")
    assert visitor.post(f"{people}/rename", {"person": "Ada", "name": name}).status_code == 422
    assert visitor.post(f"{people}/pictures", b"x", {"X": "1"}).status_code == 422
    assert visitor.post(visitor.at("street", "uploads"), {"name": name, "size": "1"}).status_code == 422
    assert buckets.names(buckets.intake) == ["channels/street/targets/Ada/one.png"]


@pytest.mark.parametrize(
    "path",
    [
        "/channels/../drop",
        "/channels/%2e%2e/drop",
        "/channels/a%2Fb/drop",
        "/static/../main.py",
        "/static/%2e%2e/main.py",
    ],
)
def test_a_path_that_leads_elsewhere_leads_nowhere(visitor: Visitor, path: str) -> None:
    host = visitor.address.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=60)
    connection.request("GET", path, headers={"Accept": "text/html"})
    answer = connection.getresponse()
    assert answer.status == 404
    assert b"application()" not in answer.read()


def test_pictures_and_pages_of_another_channel_are_not_reached_through_one(visitor: Visitor) -> None:
    buckets = visitor.buckets
    buckets.put(buckets.intake, "channels/other/targets/Ada/one.png", b"no picture")
    buckets.put(buckets.intake, "channels/street/videos/walk.mp4", b"no video")
    people = visitor.at("street", "people")

    for picture in ("channels/other/targets/Ada/one.png", "channels/street/videos/walk.mp4"):
        assert visitor.post(f"{people}/remove", {"picture": picture}).status_code == 404
        assert visitor.post(f"{people}/check", {"picture": picture}).status_code == 404
        assert (
            visitor.session.get(f"{people}/picture", params={"name": picture}, timeout=60).status_code == 404
        )
    answer = visitor.post(f"{visitor.at('street', 'policy')}/preview", {"video": "../../other/videos/x.mp4"})
    assert answer.status_code == 404
    assert len(buckets.names(buckets.intake)) == 2
