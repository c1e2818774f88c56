import hashlib
from dataclasses import astuple
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from defacer_emulator.demo.demo_clip import (
    ASTRONAUT_FACE,
    BOTH_LARGE_AT,
    astronaut_photo,
    demo_cast,
    demo_truth,
    make_demo_clip,
    render,
    target_picture,
    truth,
)
from defacer_emulator.demo.drawn_clip import drawn_cast, drawn_target_picture, make_drawn_clip
from defacer_emulator.demo.picture import Picture, before_and_after, write_clip

SMALL = (320, 180)


@pytest.fixture(scope="module")
def small_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4.5 s at 30 frames/s, 320x180."""
    path = tmp_path_factory.mktemp("clips") / "small.mp4"
    make_demo_clip(path, seconds=4.5, size=SMALL)
    return path


@pytest.fixture(scope="module")
def black_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One second of black at 30 frames/s, 320x180."""
    path = tmp_path_factory.mktemp("clips") / "black.mp4"
    write_clip(path, [np.zeros((180, 320, 3), np.uint8)] * 30, 1.0, SMALL, 30)
    return path


def read(path: Path) -> Picture:
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    assert picture is not None
    return np.asarray(picture, np.uint8)


def hash_of_frames(path: Path) -> str:
    digest = hashlib.sha256()
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            digest.update(frame.to_ndarray(format="rgb24").tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize(
    ("seconds", "size", "fps", "count"), [(1.0, (640, 360), 30, 30), (1.5, (180, 320), 25, 38)]
)
def test_a_clip_has_the_stated_length_size_rate_and_sound(
    tmp_path: Path, seconds: float, size: tuple[int, int], fps: int, count: int
) -> None:
    make_demo_clip(tmp_path / "clip.mp4", seconds, size, fps)
    with av.open(str(tmp_path / "clip.mp4")) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert [video.width, video.height, video.average_rate] == [*size, fps]
        assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
        samples = [frame.to_ndarray() for frame in container.decode(audio)]
        container.seek(0)
        assert [frame.time for frame in container.decode(video)] == pytest.approx(np.arange(count) / fps)
    heard = np.concatenate(samples, axis=1)
    # AAC holds whole blocks of 1024 samples; the encoder may add one before and one after.
    assert heard.shape[1] == pytest.approx(count / fps * 48_000, abs=2 * 1024)
    assert np.abs(heard).max() > 0.02


def test_a_keyframe_comes_every_two_seconds_and_nowhere_else(small_clip: Path) -> None:
    with av.open(str(small_clip)) as container:
        keyframes = [frame.time for frame in container.decode(video=0) if frame.key_frame]
    assert keyframes == [0.0, 2.0, 4.0]


def test_the_same_call_gives_the_same_frames(small_clip: Path, tmp_path: Path) -> None:
    make_demo_clip(tmp_path / "again.mp4", seconds=4.5, size=SMALL)
    assert hash_of_frames(tmp_path / "again.mp4") == hash_of_frames(small_clip)


@pytest.mark.parametrize("size", [(1280, 720), (640, 360), (360, 640)])
def test_every_true_box_lies_on_the_frame(size: tuple[int, int]) -> None:
    boxes = demo_truth(seconds=6, size=size)
    assert sorted((box.frame, box.name) for box in boxes) == [
        (frame, name) for frame in range(180) for name in ("admiral", "astronaut")
    ]
    for box in boxes:
        assert 0 <= box.x1 < box.x2 <= size[0]
        assert 0 <= box.y1 < box.y2 <= size[1]


def test_a_smaller_clip_shows_the_same_scaled() -> None:
    large, small = demo_truth(2), demo_truth(2, size=(640, 360))
    corners = [np.array([astuple(box)[2:6] for box in boxes]) for boxes in (large, small)]
    np.testing.assert_allclose(corners[0], 2 * corners[1])
    assert [box.visible for box in large] == [box.visible for box in small]


def test_once_both_faces_are_frontal_and_large() -> None:
    boxes = [box for box in demo_truth() if box.frame == round(12 * 30 * BOTH_LARGE_AT)]
    assert len(boxes) == 2
    for box in boxes:
        assert box.visible
        assert abs(box.turn_degrees) < 1
        assert box.y2 - box.y1 > 0.3 * 720


def test_both_turn_away_and_they_change_sides_one_behind_the_other() -> None:
    astronaut, admiral = (
        [box for box in demo_truth() if box.name == name] for name in ("astronaut", "admiral")
    )
    for boxes in (astronaut, admiral):
        away = [box for box in boxes if abs(box.turn_degrees) > 60]
        assert 0 < len(away) < 30  # less than a second
        assert not any(box.visible for box in away)
        assert boxes[0].turn_degrees == boxes[-1].turn_degrees == 0
    assert max(box.covered for box in admiral) > 0.9
    assert max(box.covered for box in astronaut) == 0  # she passes in front
    assert astronaut[0].x2 < admiral[0].x1
    assert admiral[-1].x2 < astronaut[-1].x1


def test_the_true_box_holds_the_face_that_is_drawn() -> None:
    count, size = 40, (1280, 720)
    number = round(BOTH_LARGE_AT * (count - 1))
    frame = next(picture for index, picture in enumerate(render(demo_cast(), count, size)) if index == number)
    box = next(
        box for box in truth(demo_cast(), count, size) if box.frame == number and box.name == "astronaut"
    )
    x1, y1, x2, y2 = (round(edge) for edge in ASTRONAUT_FACE)
    width, height = round(box.x2 - box.x1), round(box.y2 - box.y1)
    face = cv2.resize(astronaut_photo()[y1:y2, x1:x2], (width, height), interpolation=cv2.INTER_CUBIC)
    left, top = round(box.x1) - 30, round(box.y1) - 30
    match = cv2.matchTemplate(
        frame[top : top + height + 60, left : left + width + 60], face, cv2.TM_CCOEFF_NORMED
    )
    _, likeness, _, (right, below) = cv2.minMaxLoc(match)
    # She is tilted by a degree here, so that her upright picture fits well, not perfectly.
    assert likeness > 0.8
    assert abs(right - 30) <= 3
    assert abs(below - 30) <= 3


def test_the_drawn_clip_shows_two_visible_people_throughout(tmp_path: Path) -> None:
    make_drawn_clip(tmp_path / "drawn.mp4", seconds=0.5, size=SMALL)
    with av.open(str(tmp_path / "drawn.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 15
    boxes = truth(drawn_cast(), 15, SMALL)
    assert {box.name for box in boxes} == {"woman", "man"}
    assert all(box.visible and box.x1 >= 0 and box.x2 <= 320 and box.y1 >= 0 for box in boxes)


def test_target_pictures_are_png_pictures(tmp_path: Path) -> None:
    target_picture(tmp_path / "astronaut.png")
    drawn_target_picture(tmp_path / "woman.png")
    photo = read(tmp_path / "astronaut.png")
    assert photo.shape == (350, 350, 3)
    assert (photo == astronaut_photo()[0:350, 50:400]).all()
    assert read(tmp_path / "woman.png").shape == (700, 660, 3)


@pytest.mark.parametrize(
    ("seconds", "size", "message"),
    [
        (0.0, SMALL, "a clip of 0.0 s at 30 frames/s has no frame"),
        (1.0, (321, 180), "a clip of 321x180 pixels cannot be encoded"),
        (1.0, (320, 0), "a clip of 320x0 pixels cannot be encoded"),
    ],
)
def test_an_impossible_clip_is_refused(
    tmp_path: Path, seconds: float, size: tuple[int, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make_demo_clip(tmp_path / "clip.mp4", seconds, size)
    assert not (tmp_path / "clip.mp4").exists()


@pytest.mark.parametrize("at_seconds", [None, 0.9, 0.0])
def test_before_and_after_stand_side_by_side(
    small_clip: Path, black_clip: Path, tmp_path: Path, at_seconds: float | None
) -> None:
    before_and_after(black_clip, small_clip, tmp_path / "pair.png", at_seconds)
    pair = read(tmp_path / "pair.png")
    # Panes of 632x355.5 under a label of 30 rows, 16 columns apart
    assert pair.shape == (30 + 356, 1280, 3)
    assert pair[30:, :632].max() < 10
    assert pair[30:, 632:648].min() == 255
    assert pair[30:, 648:].mean() > 60
    for label in (pair[:30, :632], pair[:30, 648:]):
        assert 0 < (label < 200).sum() < 1500  # some ink


@pytest.mark.parametrize("at_seconds", [1.0, 4.0, -0.5])
def test_a_frame_that_does_not_exist_names_the_file(
    small_clip: Path, black_clip: Path, tmp_path: Path, at_seconds: float
) -> None:
    lacking = black_clip if at_seconds > 0 else small_clip
    with pytest.raises(ValueError, match=f"{lacking.name} shows no frame at {at_seconds} s"):
        before_and_after(small_clip, black_clip, tmp_path / "pair.png", at_seconds)
    assert not (tmp_path / "pair.png").exists()


@pytest.mark.parametrize("content", [None, b"", b"not a video"])
def test_a_file_that_is_no_video_is_named(small_clip: Path, tmp_path: Path, content: bytes | None) -> None:
    broken = tmp_path / "broken.mp4"
    if content is not None:
        broken.write_bytes(content)
    for source, result in ((broken, small_clip), (small_clip, broken)):
        with pytest.raises(ValueError, match=r"broken\.mp4 cannot be read as a video"):
            before_and_after(source, result, tmp_path / "pair.png")
