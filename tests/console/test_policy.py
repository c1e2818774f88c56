"""The form that is saved as policy.json, and the preview of a frame."""

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


def read_form(page: str) -> dict[str, str]:
    """Return the fields that a browser would send for the unchanged form."""
    fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page))
    fields |= dict(re.findall(r'type="radio" name="(\w+)" id="[^"]*" value="([^"]*)" checked', page))
    fields |= dict(
        re.findall(r'type="(?:color|range|number)" id="\w+" name="(\w+)".*? value="([^"]*)"', page)
    )
    (fields["quality"],) = re.findall(r'<option value="(\d+)" selected', page)
    return fields


def save(visitor: Visitor, fields: dict[str, str]) -> int:
    return visitor.post(f"{visitor.url('street', 'policy')}/save", fields, PAGE).status_code


def read_saved(visitor: Visitor) -> Policy:
    return channel.read_policy(visitor.buckets.intake, "street")


def test_saving_the_unchanged_form_keeps_the_policy(visitor: Visitor) -> None:
    assert save(visitor, read_form(visitor.open(visitor.url("street", "policy")))) == 303
    assert read_saved(visitor) == Policy()

    other = Policy(mode="solid", strength=2.5, color="#aabbcc", detector="mtcnn", recognizer="facenet-casia",
                   recognition="strict", quality=23, on_decode_error="hide", verify="strict", source_retention="delete",
                   keep_intermediates=True, sound="copy_only", size="any", copy_untouched=True,
                   strict_timing=True)  # fmt: skip
    visitor.buckets.put(visitor.buckets.intake, NAME, other.model_dump_json().encode())
    assert save(visitor, read_form(visitor.open(visitor.url("street", "policy")))) == 303
    assert read_saved(visitor) == other


def test_form_has_every_field_so_that_saving_resets_none(visitor: Visitor) -> None:
    form = read_form(visitor.open(visitor.url("street", "policy")))
    assert Policy.model_fields.keys() - form.keys() == {"match_threshold"}  # the field "own_threshold"
    assert "own_threshold" in visitor.open(visitor.url("street", "policy"))


def test_own_threshold_and_unlisted_quality_are_kept(visitor: Visitor) -> None:
    own = Policy(recognizer="sface", match_threshold=0.55, quality=31)
    visitor.buckets.put(visitor.buckets.intake, NAME, own.model_dump_json().encode())
    assert save(visitor, read_form(visitor.open(visitor.url("street", "policy")))) == 303
    assert read_saved(visitor) == own


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mode", "none"),
        ("strength", "0.5"),
        ("strength", "x"),
        ("color", "red"),
        ("quality", "99"),
        ("own_threshold", "2"),
        ("own_threshold", "3"),
        ("verify", "maybe"),
    ],
)
def test_invalid_policy_is_not_saved(visitor: Visitor, field: str, value: str) -> None:
    fields = read_form(visitor.open(visitor.url("street", "policy"))) | {field: value}
    if field == "own_threshold":
        fields["recognition"] = "own"
    answer = visitor.post(f"{visitor.url('street', 'policy')}/save", fields, PAGE)
    assert answer.status_code == 422
    assert "Not saved" in answer.text
    assert visitor.buckets.names(visitor.buckets.intake) == []


def test_each_level_shows_its_measured_rates(visitor: Visitor) -> None:
    page = visitor.open(visitor.url("street", "policy"))
    for level, measured in MEASURED["sface"].levels.items():
        (text,) = re.findall(
            rf'name="recognition" id="[^"]*" value="{level}".*?<span class="muted">(.*?)</span>',
            page,
            re.DOTALL,
        )
        strangers = strangers_at("sface", measured.match) or "fewer than 1"
        assert f"keeps {strangers} in 10,000 strangers and {measured.kept} % of the appearances" in text


def test_threshold_above_the_limit_of_its_model_is_refused(visitor: Visitor) -> None:
    fields = read_form(visitor.open(visitor.url("street", "policy")))
    fields |= {"recognition": "own", "own_threshold": "0.97", "recognizer": "facenet-casia"}
    answer = visitor.post(f"{visitor.url('street', 'policy')}/save", fields, PAGE)
    assert answer.status_code == 422
    assert "is 0.97, at most 0.75 is allowed for facenet-casia" in answer.text
    assert save(visitor, fields | {"recognizer": "sface"}) == 303
    assert read_saved(visitor) == Policy(recognizer="sface", match_threshold=0.97)


def test_second_of_two_concurrent_saves_is_refused(visitor: Visitor) -> None:
    one = read_form(visitor.open(visitor.url("street", "policy"))) | {"mode": "solid"}
    two = dict(one) | {"mode": "pixelate"}
    assert save(visitor, one) == 303
    answer = visitor.post(f"{visitor.url('street', 'policy')}/save", two, PAGE)
    assert answer.status_code == 422
    assert "another user changed" in answer.text
    assert read_saved(visitor).mode == "solid"
    assert save(visitor, read_form(answer.text)) == 303
    assert read_saved(visitor).mode == "pixelate"


def test_invalid_stored_policy_shows_an_error(visitor: Visitor) -> None:
    visitor.buckets.put(visitor.buckets.intake, NAME, json.dumps({"mdoe": "blur"}).encode())
    page = visitor.open(visitor.url("street", "policy"))
    assert "is not valid" in page
    assert "mdoe" in page
    assert save(visitor, read_form(page)) == 303
    assert read_saved(visitor) == Policy()


def test_preview_redacts_all_faces_of_a_frame(visitor: Visitor, tmp_path: Path) -> None:
    make_demo_clip(tmp_path / "demo.mp4", 2, (640, 360))
    visitor.buckets.put(visitor.buckets.intake, "channels/street/videos/demo.mp4", tmp_path / "demo.mp4")
    address = f"{visitor.url('street', 'policy')}/preview"

    def preview(**fields: str) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
        answer = visitor.post(address, {"video": "demo.mp4", "share": "0", **fields})
        assert answer.status_code == 200, answer.text
        assert answer.headers["Content-Type"] == "image/jpeg"
        assert answer.headers["x-faces"] == "2"
        return cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR).astype(np.uint8)

    white, black = preview(mode="solid", color="#ffffff"), preview(mode="solid", color="#000000")
    apart = np.abs(white.astype(int) - black).max(axis=2) > 150
    assert 0.003 < apart.mean() < 0.2
    assert np.abs(preview(mode="blur").astype(int) - preview(mode="pixelate")).max() > 10


def test_failed_preview_returns_a_message(visitor: Visitor) -> None:
    visitor.buckets.put(visitor.buckets.intake, "channels/street/videos/x.mp4", b"not a video")
    address = f"{visitor.url('street', 'policy')}/preview"
    answer = visitor.post(address, {"video": "x.mp4", "mode": "blur"})
    assert answer.status_code == 422
    assert answer.json()["error"].startswith("No preview: it is not a video")
    answer = visitor.post(address, {"video": "x.mp4", "mode": "image"})
    assert answer.status_code == 422
    assert "replacement.png" in answer.json()["error"]


def test_replacement_picture_is_stored_only_if_it_is_a_picture(visitor: Visitor) -> None:
    address = f"{visitor.url('street', 'policy')}/replacement"
    picture = encode_picture(np.full((20, 20, 3), 200, np.uint8))
    assert visitor.post(address, b"not a picture").status_code == 422
    assert visitor.post(address, picture).status_code == 200
    assert visitor.buckets.get(visitor.buckets.intake, "channels/street/replacement.png").startswith(picture)
