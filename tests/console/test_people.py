"""Target pictures: the real detector checks them before they are stored."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
import requests

from defacer.engine.media.pictures.still_image import decode_picture
from defacer.pipeline import channel
from tests.clips import admiral, astronaut, encode_picture, turned
from tests.console.visitor import Visitor
from tests.heif import HeifFile
from tests.hostile import png_bomb

pytestmark = pytest.mark.usefixtures("limited")


def make_two_faces() -> bytes:
    one, other = (cv2.resize(picture, (512, 600)) for picture in (astronaut(), admiral()))
    return encode_picture(np.hstack([one, other]).astype(np.uint8))


def make_small_face() -> bytes:
    return encode_picture(cv2.resize(astronaut(), (100, 100)).astype(np.uint8))


def make_blurred() -> bytes:
    return encode_picture(cv2.GaussianBlur(astronaut(), (0, 0), 5).astype(np.uint8))


def make_landscape() -> bytes:
    return encode_picture(np.linspace(0, 255, 300 * 400 * 3).reshape(300, 400, 3).astype(np.uint8))


def add(visitor: Visitor, data: bytes, person: str = "Eileen") -> requests.Response:
    return visitor.post(
        f"{visitor.url('street', 'people')}/pictures", data, {"Content-Type": "image/png", "X-Person": person}
    )


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "avif"])
def test_clear_picture_is_stored_where_ingest_reads_it(suffix: str, visitor: Visitor) -> None:
    data = encode_picture(astronaut(), f".{suffix}")
    answer = add(visitor, data)

    assert answer.json()["usable"], answer.text
    assert not answer.json()["doubtful"]
    (target,) = channel.list_targets(visitor.buckets.intake, "street")
    assert target.person == "Eileen"
    blob = visitor.buckets.blob(visitor.buckets.intake, target.ref.name)
    assert target.ref.name.endswith(f".{suffix}")
    assert blob.content_type == f"image/{suffix.replace('jpg', 'jpeg')}"
    assert "Eileen" in visitor.open(visitor.url("street", "people"))
    assert add(visitor, data).json()["usable"]
    assert len(visitor.buckets.names(visitor.buckets.intake)) == 1


def test_page_names_the_files_that_fail_each_video(visitor: Visitor) -> None:
    buckets = visitor.buckets
    buckets.put(buckets.intake, "channels/street/targets/Ada/old/1.png", b"x")
    buckets.put(buckets.intake, "channels/street/targets/._Ada.png", b"x")
    page = visitor.open(visitor.url("street", "people"))
    assert "fails because of targets/Ada/old/1.png." in page
    assert "._Ada" not in page


@pytest.mark.parametrize("kind", ["heic", "tiff"])
def test_heic_and_tiff_are_stored_as_a_jpeg_which_browsers_show(kind: str, visitor: Visitor) -> None:
    tiff = encode_picture(astronaut(), ".tiff")
    answer = add(visitor, HeifFile(astronaut(), columns=2, rows=2).to_bytes() if kind == "heic" else tiff)

    assert answer.json()["usable"], answer.text
    (target,) = channel.list_targets(visitor.buckets.intake, "street")
    assert target.ref.name.endswith(".jpg")
    blob = visitor.buckets.blob(visitor.buckets.intake, target.ref.name)
    assert blob.content_type == "image/jpeg"
    stored = decode_picture(blob.download_as_bytes(), "me")
    assert np.abs(stored.astype(int) - astronaut()).mean() < 6


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (make_landscape, "shows no face"),
        (make_two_faces, "shows 2 faces"),
        (make_small_face, "pixels high"),
        (lambda: b"not a picture", "not a picture"),
        (lambda: png_bomb(20_000), "pixels, at most"),
    ],
    ids=["no face", "two faces", "small", "not a picture", "bomb"],
)
def test_picture_that_ingest_would_refuse_is_refused_with_a_message(
    visitor: Visitor, make: Callable[[], bytes], text: str
) -> None:
    answer = add(visitor, make())

    assert answer.status_code == 200
    assert answer.json()["usable"] is False
    assert answer.json()["message"].startswith("This picture ")
    assert text in answer.json()["message"]
    assert visitor.buckets.names(visitor.buckets.intake) == []


def test_blurred_picture_is_stored_with_a_warning(visitor: Visitor) -> None:
    answer = add(visitor, make_blurred()).json()
    assert (answer["usable"], answer["doubtful"]) == (True, True)
    assert "not sharp" in answer["message"]


def test_turned_picture_is_stored_with_a_warning(visitor: Visitor) -> None:
    answer = add(visitor, encode_picture(turned(astronaut(), 155))).json()
    assert (answer["usable"], answer["doubtful"]) == (True, True)
    assert answer["message"].endswith(
        "turned away from the camera. Pictures from the front are recognized more reliably."
    )


def test_picture_that_was_uploaded_elsewhere_is_checked_too(visitor: Visitor) -> None:
    buckets = visitor.buckets
    good = buckets.put(buckets.intake, "channels/street/targets/Eileen.png", encode_picture(astronaut()))
    bad = buckets.put(buckets.intake, "channels/street/targets/Rosa/one.png", make_landscape())
    people = visitor.url("street", "people")

    assert visitor.open(people).count("data-unchecked") == 2
    assert visitor.post(f"{people}/check", {"picture": good.name}).json()["usable"] is True
    assert visitor.post(f"{people}/check", {"picture": bad.name}).json()["usable"] is False
    page = visitor.open(people)
    assert "data-unchecked" not in page
    assert "One clear face" in page
    assert "shows no face" in page


def test_too_large_picture_is_refused(visitor: Visitor, environment: Callable[..., None]) -> None:
    environment(max_picture_bytes=1000)
    assert add(visitor, bytes(5000)).status_code == 413


def test_renaming_a_person_to_an_existing_name_merges_both(visitor: Visitor) -> None:
    buckets = visitor.buckets
    for name in ("Ada/1.png", "Ada/2.png", "Bea.png", "Bea/1.png"):
        buckets.put(buckets.intake, f"channels/street/targets/{name}", name.encode())
    people = visitor.url("street", "people")

    assert visitor.post(f"{people}/rename", {"person": "Ada", "name": " Cleo "}).json() == {"moved": 2}
    assert visitor.post(f"{people}/rename", {"person": "Bea", "name": "Cleo"}).json() == {"moved": 2}
    assert visitor.post(f"{people}/rename", {"person": "Ada", "name": "Dora"}).status_code == 404
    assert {target.person for target in channel.list_targets(buckets.intake, "street")} == {"Cleo"}
    left = {buckets.get(buckets.intake, name) for name in buckets.names(buckets.intake)}
    assert left == {b"Ada/1.png", b"Ada/2.png", b"Bea.png", b"Bea/1.png"}
