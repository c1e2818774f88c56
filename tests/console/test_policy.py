"""The form that becomes policy.json, and how a frame looks with it."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from defacer.engine.recognition.recognition_levels import MEASURED, strangers_at
from defacer.pipeline import channel
from defacer.pipeline.documents.manifest import Policy
from defacer_emulator.demo.demo_clip import make_demo_clip
from tests.clips import encode_picture
from tests.console.visitor import PAGE, Visitor

pytestmark = pytest.mark.usefixtures("limited")

NAME = "channels/street/policy.json"


def form(page: str) -> dict[str, str]:
    """What a browser would send of the page's form, unchanged."""
    found = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page))
    found |= dict(re.findall(r'type="radio" name="(\w+)" id="[^"]*" value="([^"]*)" checked', page))
    found |= dict(re.findall(r'type="(?:color|range|number)" id="\w+" name="(\w+)".*? value="([^"]*)"', page))
    (found["quality"],) = re.findall(r'<option value="(\d+)" selected', page)
    return found


def save(visitor: Visitor, fields: dict[str, str]) -> int:
    return visitor.post(f"{visitor.at('street', 'policy')}/save", fields, PAGE).status_code


def saved(visitor: Visitor) -> Policy:
    return channel.read_policy(visitor.buckets.intake, "street")


def test_the_form_as_it_is_shown_is_the_policy_that_holds(visitor: Visitor) -> None:
    assert save(visitor, form(visitor.open(visitor.at("street", "policy")))) == 303
    assert saved(visitor) == Policy()

    other = Policy(mode="solid", strength=2.5, color="#aabbcc", detector="mtcnn", recognizer="facenet-casia",
                   recognition="strict", quality=23, on_decode_error="hide", verify="strict", source_retention="delete",
                   keep_intermediates=True)  # fmt: skip
    visitor.buckets.put(visitor.buckets.intake, NAME, other.model_dump_json().encode())
    assert save(visitor, form(visitor.open(visitor.at("street", "policy")))) == 303
    assert saved(visitor) == other


def test_a_distance_and_a_quality_that_no_word_stands_for_stay_as_they_are(visitor: Visitor) -> None:
    own = Policy(recognizer="sface", match_threshold=0.55, quality=31)
    visitor.buckets.put(visitor.buckets.intake, NAME, own.model_dump_json().encode())
    assert save(visitor, form(visitor.open(visitor.at("street", "policy")))) == 303
    assert saved(visitor) == own


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mode", "none"),
        ("strength", "0.5"),
        ("strength", "x"),
        ("color", "red"),
        ("quality", "99"),
        ("own_distance", "3"),
        ("verify", "maybe"),
    ],
)
def test_what_is_no_policy_is_not_saved_and_the_page_says_what_would_be(
    visitor: Visitor, field: str, value: str
) -> None:
    fields = form(visitor.open(visitor.at("street", "policy"))) | {field: value}
    if field == "own_distance":
        fields["recognition"] = "own"
    answer = visitor.post(f"{visitor.at('street', 'policy')}/save", fields, PAGE)
    assert answer.status_code == 422
    assert "Not saved" in answer.text
    assert visitor.buckets.names(visitor.buckets.intake) == []


def test_each_level_is_shown_with_its_measured_rates(visitor: Visitor) -> None:
    page = visitor.open(visitor.at("street", "policy"))
    for level, found in MEASURED["sface"].levels.items():
        (text,) = re.findall(
            rf'name="recognition" id="[^"]*" value="{level}".*?<span class="muted">(.*?)</span>',
            page,
            re.DOTALL,
        )
        strangers = strangers_at("sface", found.match) or "fewer than 1"
        assert f"keeps {strangers} in 10,000 strangers and {found.kept} % of the appearances" in text


def test_a_distance_beyond_the_limit_of_its_model_is_refused(visitor: Visitor) -> None:
    fields = form(visitor.open(visitor.at("street", "policy")))
    fields |= {"recognition": "own", "own_distance": "0.97", "recognizer": "facenet-casia"}
    answer = visitor.post(f"{visitor.at('street', 'policy')}/save", fields, PAGE)
    assert answer.status_code == 422
    assert "is 0.97, at most 0.75 is allowed for facenet-casia" in answer.text
    assert save(visitor, fields | {"recognizer": "sface"}) == 303
    assert saved(visitor) == Policy(recognizer="sface", match_threshold=0.97)


def test_of_two_who_save_at_once_the_second_one_hears_of_the_first(visitor: Visitor) -> None:
    one = form(visitor.open(visitor.at("street", "policy"))) | {"mode": "solid"}
    two = dict(one) | {"mode": "pixelate"}
    assert save(visitor, one) == 303
    answer = visitor.post(f"{visitor.at('street', 'policy')}/save", two, PAGE)
    assert answer.status_code == 422
    assert "Somebody else changed" in answer.text
    assert saved(visitor).mode == "solid"
    assert save(visitor, form(answer.text)) == 303
    assert saved(visitor).mode == "pixelate"


def test_a_policy_that_nobody_can_use_is_said_to_be_one(visitor: Visitor) -> None:
    visitor.buckets.put(visitor.buckets.intake, NAME, json.dumps({"mdoe": "blur"}).encode())
    page = visitor.open(visitor.at("street", "policy"))
    assert "can&#39;t be used" in page
    assert "mdoe" in page
    assert save(visitor, form(page)) == 303
    assert saved(visitor) == Policy()


def test_a_frame_of_one_s_own_shows_how_faces_are_hidden(visitor: Visitor, tmp_path: Path) -> None:
    make_demo_clip(tmp_path / "demo.mp4", 2, (640, 360))
    visitor.buckets.put(visitor.buckets.intake, "channels/street/videos/demo.mp4", tmp_path / "demo.mp4")
    address = f"{visitor.at('street', 'policy')}/preview"

    def look(**fields: str) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
        answer = visitor.post(address, {"video": "demo.mp4", "share": "0", **fields})
        assert answer.status_code == 200, answer.text
        assert answer.headers["Content-Type"] == "image/jpeg"
        assert answer.headers["x-faces"] == "2"
        return cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR).astype(np.uint8)

    white, black = look(mode="solid", color="#ffffff"), look(mode="solid", color="#000000")
    apart = np.abs(white.astype(int) - black).max(axis=2) > 150
    assert 0.003 < apart.mean() < 0.2
    assert np.abs(look(mode="blur").astype(int) - look(mode="pixelate")).max() > 10


def test_no_preview_is_a_sentence(visitor: Visitor) -> None:
    visitor.buckets.put(visitor.buckets.intake, "channels/street/videos/x.mp4", b"no video")
    address = f"{visitor.at('street', 'policy')}/preview"
    answer = visitor.post(address, {"video": "x.mp4", "mode": "blur"})
    assert answer.status_code == 422
    assert answer.json()["error"].startswith("No preview: it is not a video")
    answer = visitor.post(address, {"video": "x.mp4", "mode": "image"})
    assert answer.status_code == 422
    assert "replacement.png" in answer.json()["error"]


def test_the_picture_that_covers_faces_is_replaced_by_another_picture_only(visitor: Visitor) -> None:
    address = f"{visitor.at('street', 'policy')}/replacement"
    picture = encode_picture(np.full((20, 20, 3), 200, np.uint8))
    assert visitor.post(address, b"no picture").status_code == 422
    assert visitor.post(address, picture).status_code == 200
    assert visitor.buckets.get(visitor.buckets.intake, "channels/street/replacement.png").startswith(picture)
