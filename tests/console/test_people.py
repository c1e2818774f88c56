"""Pictures of those who stay visible: looked at by the real detector before anything is kept."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
import requests

from defacer.pipeline import channel
from tests.clips import admiral, astronaut, encode_picture, turned
from tests.console.visitor import Visitor
from tests.hostile import png_bomb

pytestmark = pytest.mark.usefixtures("limited")


def two_faces() -> bytes:
    one, other = (cv2.resize(picture, (512, 600)) for picture in (astronaut(), admiral()))
    return encode_picture(np.hstack([one, other]).astype(np.uint8))


def small_face() -> bytes:
    return encode_picture(cv2.resize(astronaut(), (100, 100)).astype(np.uint8))


def blurred() -> bytes:
    return encode_picture(cv2.GaussianBlur(astronaut(), (0, 0), 5).astype(np.uint8))


def landscape() -> bytes:
    return encode_picture(np.linspace(0, 255, 300 * 400 * 3).reshape(300, 400, 3).astype(np.uint8))


def add(visitor: Visitor, data: bytes, person: str = "Eileen") -> requests.Response:
    return visitor.post(
        f"{visitor.at('street', 'people')}/pictures?person={person}", data, {"Content-Type": "image/png"}
    )


def test_a_clear_picture_is_kept_where_ingest_finds_it(visitor: Visitor) -> None:
    answer = add(visitor, encode_picture(astronaut()))

    assert answer.json()["good"], answer.text
    assert not answer.json()["doubtful"]
    (target,) = channel.list_targets(visitor.buckets.intake, "street")
    assert target.person == "Eileen"
    blob = visitor.buckets.blob(visitor.buckets.intake, target.ref.name)
    assert blob.content_type == "image/png"
    assert "Eileen" in visitor.open(visitor.at("street", "people"))
    assert add(visitor, encode_picture(astronaut())).json()["good"]
    assert len(visitor.buckets.names(visitor.buckets.intake)) == 1


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (landscape, "shows no face"),
        (two_faces, "shows 2 faces"),
        (small_face, "pixels high"),
        (lambda: b"no picture at all", "not a picture"),
        (lambda: png_bomb(20_000), "pixels, at most"),
    ],
    ids=["no face", "two faces", "small", "no picture", "bomb"],
)
def test_a_picture_that_ingest_would_refuse_is_refused_at_once_with_a_sentence(
    visitor: Visitor, make: Callable[[], bytes], says: str
) -> None:
    answer = add(visitor, make())

    assert answer.status_code == 200
    assert answer.json()["good"] is False
    assert answer.json()["sentence"].startswith("This picture ")
    assert says in answer.json()["sentence"]
    assert visitor.buckets.names(visitor.buckets.intake) == []


def test_a_blurred_picture_is_kept_and_said_to_be_so(visitor: Visitor) -> None:
    answer = add(visitor, blurred()).json()
    assert (answer["good"], answer["doubtful"]) == (True, True)
    assert "not sharp" in answer["sentence"]


def test_a_turned_picture_is_kept_and_said_to_be_so(visitor: Visitor) -> None:
    answer = add(visitor, encode_picture(turned(astronaut(), 155))).json()
    assert (answer["good"], answer["doubtful"]) == (True, True)
    assert answer["sentence"].endswith(
        "turned away from the camera. One that shows the face from the front is recognised more reliably."
    )


def test_a_picture_that_came_another_way_is_looked_at_too(visitor: Visitor) -> None:
    buckets = visitor.buckets
    good = buckets.put(buckets.intake, "channels/street/targets/Eileen.png", encode_picture(astronaut()))
    bad = buckets.put(buckets.intake, "channels/street/targets/Rosa/one.png", landscape())
    people = visitor.at("street", "people")

    assert visitor.open(people).count("data-unchecked") == 2
    assert visitor.post(f"{people}/check", {"picture": good.name}).json()["good"] is True
    assert visitor.post(f"{people}/check", {"picture": bad.name}).json()["good"] is False
    page = visitor.open(people)
    assert "data-unchecked" not in page
    assert "One clear face" in page
    assert "shows no face" in page


def test_too_large_a_picture_is_not_read_to_its_end(
    visitor: Visitor, environment: Callable[..., None]
) -> None:
    environment(max_picture_bytes=1000)
    assert add(visitor, bytes(5000)).status_code == 413


def test_a_person_is_renamed_with_all_pictures_and_merged_with_one_of_that_name(visitor: Visitor) -> None:
    buckets = visitor.buckets
    for name in ("Ada/1.png", "Ada/2.png", "Bea.png", "Bea/1.png"):
        buckets.put(buckets.intake, f"channels/street/targets/{name}", name.encode())
    people = visitor.at("street", "people")

    assert visitor.post(f"{people}/rename", {"person": "Ada", "name": " Cleo "}).json() == {"moved": 2}
    assert visitor.post(f"{people}/rename", {"person": "Bea", "name": "Cleo"}).json() == {"moved": 2}
    assert visitor.post(f"{people}/rename", {"person": "Ada", "name": "Dora"}).status_code == 404
    assert {target.person for target in channel.list_targets(buckets.intake, "street")} == {"Cleo"}
    left = {buckets.get(buckets.intake, name) for name in buckets.names(buckets.intake)}
    assert left == {b"Ada/1.png", b"Ada/2.png", b"Bea.png", b"Bea/1.png"}
