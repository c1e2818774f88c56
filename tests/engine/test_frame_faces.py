"""Choose a face in a frame of the video as a target, as `defacer run --keep-at` does."""

import re
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from defacer.engine.engine import Engine
from defacer.engine.errors import ArgumentError
from defacer.engine.models.arrays import Array, Detection
from defacer.engine.recognition.gallery import Picture, TargetFace
from defacer.engine.tracking.frame_faces import (
    FrameFaces,
    Moment,
    choose_face,
    find_faces_at,
    format_time,
    parse_moment,
)
from tests.clips import admiral, astronaut, encode_picture
from tests.engine.scene_files import RATE, Shown, write_scene

SAME_PERSON = 0.8  # distance; two people are at 1.1 or more
ALONE, BOTH = 30, 60  # the first frames that show one person, and two
SECONDS = 3.0


@pytest.fixture(scope="module", params=["mp4", "ts"])
def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """First no one, then the astronaut at the left, then also the admiral at the right. MPEG-TS starts at 1.4 s."""
    path = tmp_path_factory.mktemp("scene") / f"scene.{request.param}"
    left = Shown(astronaut(), (20, 40), 280, ALONE)
    right = Shown(admiral(), (340, 40), 280, BOTH)
    return str(write_scene(path, [left, right], SECONDS))


@pytest.fixture(scope="module")
def astronaut_view(engine: Engine) -> Array:
    return engine.gallery([Picture("ann", "ann.png", encode_picture(astronaut()))], "sface").embeddings[0]


def faces_at(scene: str, time: str, engine: Engine) -> FrameFaces:
    return find_faces_at(scene, parse_moment(time).seconds, engine.detector("centerface"), engine.checker())


def distance_to(view: Array, target: TargetFace, engine: Engine) -> float:
    return float(np.linalg.norm(engine.gallery([], "sface", faces=[target]).embeddings[0] - view))


@pytest.mark.parametrize(
    ("text", "seconds", "number"),
    [("12.5", "12.5", None), ("0:12.5", "12.5", None), ("1:02:03.25", "3723.25", None), ("0:12.5#2", "12.5", 2)],
)  # fmt: skip
def test_moment_is_parsed(text: str, seconds: str, number: int | None) -> None:
    assert parse_moment(text) == Moment(Fraction(seconds), number)


@pytest.mark.parametrize("text", ["", "-1", "1:2:3:4", "12,5", "0:12.5#0", "0:12.5#", "nan", "1e3", "٣"])
def test_other_text_is_not_a_moment(text: str) -> None:
    with pytest.raises(ArgumentError, match=r"is not a time of a video\. Write seconds"):
        parse_moment(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        ("12.5", "0:12.5"),
        ("10", "0:10"),
        ("130.0001", "2:10.01"),
        ("0", "0:00"),
        ("59.999", "1:00"),
        ("7145", "1:59:05"),
    ],
)
def test_time_is_written_as_it_is_parsed(seconds: str, text: str) -> None:
    """A hundredth later is still the same frame. A hundredth earlier is not."""
    assert format_time(Fraction(seconds)) == text
    assert parse_moment(text).seconds >= Fraction(seconds)


@given(st.fractions(0, 360_000, max_denominator=100_000))
def test_written_time_is_parsed_as_the_next_hundredth(seconds: Fraction) -> None:
    parsed = parse_moment(format_time(seconds))
    assert 0 <= parsed.seconds - seconds < Fraction(1, 100)
    assert parse_moment(str(parsed)) == parsed


def test_only_face_at_a_time_becomes_the_target(scene: str, engine: Engine, astronaut_view: Array) -> None:
    found = faces_at(scene, "0:01.5", engine)
    target = choose_face(Moment(Fraction("1.5")), found)
    assert target.person == "person at 0:01.5"
    assert distance_to(astronaut_view, target, engine) < SAME_PERSON


def test_first_frame_with_a_face_is_the_exact_one(scene: str, engine: Engine) -> None:
    assert len(faces_at(scene, str(ALONE / RATE), engine).faces) == 1
    with pytest.raises(ArgumentError, match=r"There is no clear face at 0:01\.19"):
        faces_at(scene, str(ALONE / RATE - 0.01), engine)


def test_several_faces_are_listed_for_the_choice(scene: str, engine: Engine, astronaut_view: Array) -> None:
    moment, found = parse_moment("2.8"), faces_at(scene, "2.8", engine)
    with pytest.raises(ArgumentError) as refused:
        choose_face(moment, found)
    assert re.fullmatch(
        r"The video shows 2 faces at 0:02\.8 \(x,y,width,height in pixels\):\n"
        r"1 left \(\d+,\d+,\d+,\d+\)\n2 right \(\d+,\d+,\d+,\d+\)\n"
        r"Name one of them by its number, such as 0:02\.8#2\.",
        str(refused.value),
    )
    first = choose_face(moment, found, ask=lambda _: 1)
    assert distance_to(astronaut_view, first, engine) < SAME_PERSON
    other = choose_face(parse_moment("2.8#2"), found)
    assert other.person == "person at 0:02.8#2"
    assert distance_to(astronaut_view, other, engine) > 1


@pytest.mark.parametrize("side", [64, 90])
def test_small_person_beside_a_stranger_needs_a_choice(side: int, tmp_path: Path, engine: Engine) -> None:
    """The large face can be a stranger's. It is kept only if the user names it or confirms it."""
    wanted, stranger = Shown(astronaut(), (20, 40), side), Shown(admiral(), (340, 40), 280)
    path = str(write_scene(tmp_path / "two.mp4", [wanted, stranger], 0.4))
    found = faces_at(path, "0", engine)
    with pytest.raises(ArgumentError) as refused:
        choose_face(parse_moment("0"), found)
    assert re.fullmatch(
        r"The video shows 2 faces at 0:00 \(x,y,width,height in pixels\):\n"
        r"1 right \(\d+,\d+,\d+,\d+\)\nleft \(\d+,\d+,\d+,\d+\) is too small or too unclear\n"
        r"Name one of them by its number, such as 0:00#1\.",
        str(refused.value),
    )
    asked = choose_face(parse_moment("0"), found, ask=lambda _: 1)
    named = choose_face(parse_moment("0#1"), found)
    assert asked.face is named.face is found.faces[0]


def test_boxes_are_listed_in_pixels_of_the_video(engine: Engine) -> None:
    """A frame of 4K is held at half of its size."""
    face = Detection(np.array([800, 100, 1000, 400], np.float32), 0.9, np.zeros((5, 2), np.float32))
    found = FrameFaces(np.zeros((1080, 1920, 3), np.uint8), (face,), scale=2)
    assert found.lines() == ["1 middle (1600,200,400,600)"]


def test_number_without_a_face_lists_the_faces(scene: str, engine: Engine) -> None:
    with pytest.raises(ArgumentError, match=r"The video shows 2 faces at 0:02\.8 \(.* in pixels\):\n1 left"):
        choose_face(parse_moment("2.8#3"), faces_at(scene, "2.8", engine))
    with pytest.raises(ArgumentError, match=r"The video shows 1 face at 0:01\.5 \(.* in pixels\):\n1 left"):
        choose_face(parse_moment("1.5#2"), faces_at(scene, "1.5", engine))


def test_time_without_a_face_names_the_nearest_one(scene: str, engine: Engine) -> None:
    with pytest.raises(ArgumentError, match=r"no clear face at 0:00\.4\. The nearest one is at ") as refused:
        faces_at(scene, "0.4", engine)
    time = str(refused.value).rpartition(" ")[2].removesuffix(".")
    assert len(faces_at(scene, time, engine).faces) == 1


def test_video_without_any_face_is_reported(tmp_path: Path, engine: Engine) -> None:
    path = write_scene(tmp_path / "empty.mp4", [], 1.0)
    with pytest.raises(ArgumentError, match=r"There is none from 0:00 to 0:05\.4 either"):
        faces_at(str(path), "0.4", engine)


def test_face_too_small_to_recognize_is_not_offered(tmp_path: Path, engine: Engine) -> None:
    path = write_scene(tmp_path / "small.mp4", [Shown(astronaut(), (20, 40), 64)], 0.4)
    with pytest.raises(ArgumentError, match="There is no clear face at 0:00"):
        faces_at(str(path), "0", engine)


@pytest.mark.parametrize("time", ["3", "3.2", "9", "3600"])
def test_time_after_the_end_is_refused(time: str, scene: str, engine: Engine) -> None:
    with pytest.raises(ArgumentError, match=r"^The video ends at 0:03, before "):
        faces_at(scene, time, engine)
    assert len(faces_at(scene, "2.99", engine).faces) == 2


def test_frame_is_displayed_upright(tmp_path: Path, engine: Engine, astronaut_view: Array) -> None:
    """A phone held upright stores rotated frames."""
    path = tmp_path / "upright.mp4"
    lying = np.ascontiguousarray(np.rot90(np.pad(astronaut(), ((20, 20), (200, 40), (0, 0)))))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.height, stream.width = lying.shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.set_display_rotation(-90)
        container.mux(
            [*stream.encode(av.VideoFrame.from_ndarray(lying, format="rgb24")), *stream.encode(None)]
        )
    found = faces_at(str(path), "0", engine)
    assert found.image.shape == (340, 540, 3)
    assert found.lines()[0].startswith("1 middle (3")
    assert distance_to(astronaut_view, choose_face(Moment(Fraction(0)), found), engine) < SAME_PERSON


def test_person_in_a_turned_picture_becomes_the_target(
    tmp_path: Path, engine: Engine, astronaut_view: Array
) -> None:
    """A camera below a ceiling writes no rotation. The place is that in the shown picture."""
    upside_down = np.ascontiguousarray(np.rot90(astronaut(), 2))
    path = write_scene(tmp_path / "turned.mp4", [Shown(upside_down, (340, 40), 280)], 0.4)
    found = faces_at(str(path), "0", engine)
    assert found.lines()[0].startswith("1 right (4")
    target = choose_face(parse_moment("0#1"), found)
    assert distance_to(astronaut_view, target, engine) < SAME_PERSON
