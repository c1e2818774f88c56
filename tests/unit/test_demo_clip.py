"""The demo's clips: their format, the true boxes of their faces, and the picture before and after."""

from dataclasses import astuple
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from defacer.engine.errors import VideoError
from defacer_emulator.demo.demo_clip import (
    ASTRONAUT_FACE,
    demo_cast,
    load_astronaut,
    make_demo_clip,
    render_frames,
    write_target_picture,
)
from defacer_emulator.demo.picture import Picture, before_and_after, write_clip
from tests.demo_boxes import compute_boxes, compute_demo_boxes
from tests.drawn_clip import drawn_cast, make_drawn_clip, write_drawn_target_picture

SMALL = (320, 180)
BOTH_LARGE_AT = 0.25  # of the clip's length: both faces are frontal and large


@pytest.fixture(scope="module")
def small_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a demo clip of 4.5 s at 30 frames/s, 320x180."""
    path = tmp_path_factory.mktemp("clips") / "small.mp4"
    make_demo_clip(path, seconds=4.5, size=SMALL)
    return path


def read_picture(path: Path) -> Picture:
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    assert picture is not None
    return np.asarray(picture, np.uint8)


@pytest.mark.parametrize(
    ("seconds", "size", "fps", "count"), [(1.0, (640, 360), 30, 30), (1.5, (180, 320), 25, 38)]
)
def test_clip_has_requested_length_size_rate_and_sound(
    tmp_path: Path, seconds: float, size: tuple[int, int], fps: int, count: int
) -> None:
    make_demo_clip(tmp_path / "clip.mp4", seconds, size, fps)
    with av.open(str(tmp_path / "clip.mp4")) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert [video.width, video.height, video.average_rate] == [*size, fps]
        assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
        samples = np.concatenate([frame.to_ndarray() for frame in container.decode(audio)], axis=1)
        container.seek(0)
        assert [frame.time for frame in container.decode(video)] == pytest.approx(np.arange(count) / fps)
    # AAC has whole blocks of 1024 samples. The encoder can add a block at the start and at the end.
    assert samples.shape[1] == pytest.approx(count / fps * 48_000, abs=2 * 1024)
    assert np.abs(samples).max() > 0.02


def test_clip_has_a_key_frame_every_two_seconds(small_clip: Path) -> None:
    with av.open(str(small_clip)) as container:
        keyframes = [frame.time for frame in container.decode(video=0) if frame.key_frame]
    assert keyframes == [0.0, 2.0, 4.0]


@pytest.mark.parametrize("size", [(1280, 720), (640, 360), (360, 640)])
def test_every_true_box_is_inside_the_frame(size: tuple[int, int]) -> None:
    boxes = compute_demo_boxes(seconds=6, size=size)
    assert sorted((box.frame, box.name) for box in boxes) == [
        (frame, name) for frame in range(180) for name in ("admiral", "astronaut")
    ]
    for box in boxes:
        assert 0 <= box.x1 < box.x2 <= size[0]
        assert 0 <= box.y1 < box.y2 <= size[1]


def test_smaller_clip_has_the_same_boxes_scaled() -> None:
    large, small = compute_demo_boxes(2), compute_demo_boxes(2, size=(640, 360))
    corners = [np.array([astuple(box)[2:6] for box in boxes]) for boxes in (large, small)]
    np.testing.assert_allclose(corners[0], 2 * corners[1])
    assert [box.visible for box in large] == [box.visible for box in small]


def test_people_turn_away_cross_and_are_large_once() -> None:
    astronaut, admiral = (
        [box for box in compute_demo_boxes() if box.name == name] for name in ("astronaut", "admiral")
    )
    for boxes in (astronaut, admiral):
        large = boxes[round(12 * 30 * BOTH_LARGE_AT)]
        assert large.visible
        assert abs(large.turn_degrees) < 1
        assert large.y2 - large.y1 > 0.3 * 720
        away = [box for box in boxes if abs(box.turn_degrees) > 60]
        assert 0 < len(away) < 30  # less than a second
        assert not any(box.visible for box in away)
    assert max(box.covered for box in admiral) > 0.9
    assert max(box.covered for box in astronaut) == 0  # she passes in front of him
    assert astronaut[0].x2 < admiral[0].x1
    assert admiral[-1].x2 < astronaut[-1].x1


def test_true_box_contains_the_drawn_face() -> None:
    count, size = 40, (1280, 720)
    number = round(BOTH_LARGE_AT * (count - 1))
    frame = next(
        picture for index, picture in enumerate(render_frames(demo_cast(), count, size)) if index == number
    )
    boxes = compute_boxes(demo_cast(), count, size)
    box = next(box for box in boxes if box.frame == number and box.name == "astronaut")
    x1, y1, x2, y2 = (round(edge) for edge in ASTRONAUT_FACE)
    width, height = round(box.x2 - box.x1), round(box.y2 - box.y1)
    face = cv2.resize(load_astronaut()[y1:y2, x1:x2], (width, height), interpolation=cv2.INTER_CUBIC)
    left, top = round(box.x1) - 30, round(box.y1) - 30
    area = frame[top : top + height + 60, left : left + width + 60]
    _, likeness, _, (right, below) = cv2.minMaxLoc(cv2.matchTemplate(area, face, cv2.TM_CCOEFF_NORMED))
    assert likeness > 0.8  # she is tilted by a degree, so her upright picture does not match perfectly
    assert abs(right - 30) <= 3
    assert abs(below - 30) <= 3


def test_drawn_clip_has_two_visible_people_in_every_frame(tmp_path: Path) -> None:
    make_drawn_clip(tmp_path / "drawn.mp4", seconds=0.5, size=SMALL)
    with av.open(str(tmp_path / "drawn.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 15
    boxes = compute_boxes(drawn_cast(), 15, SMALL)
    assert {box.name for box in boxes} == {"woman", "man"}
    assert all(box.visible and box.x1 >= 0 and box.x2 <= 320 and box.y1 >= 0 for box in boxes)


def test_target_pictures_are_png_files(tmp_path: Path) -> None:
    write_target_picture(tmp_path / "astronaut.png")
    write_drawn_target_picture(tmp_path / "woman.png")
    assert (read_picture(tmp_path / "astronaut.png") == load_astronaut()[0:350, 50:400]).all()
    assert read_picture(tmp_path / "woman.png").shape == (700, 660, 3)


@pytest.mark.parametrize(
    ("seconds", "size", "message"),
    [
        (0.0, SMALL, "a clip of 0.0 s at 30 frames/s has no frame"),
        (1.0, (321, 180), "a clip of 321x180 pixels can't be encoded"),
        (1.0, (320, 0), "a clip of 320x0 pixels can't be encoded"),
    ],
)
def test_invalid_clip_length_or_size_raises_before_a_file_is_written(
    tmp_path: Path, seconds: float, size: tuple[int, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make_demo_clip(tmp_path / "clip.mp4", seconds, size)
    assert not (tmp_path / "clip.mp4").exists()


def test_before_and_after_shows_the_same_frame_side_by_side(tmp_path: Path) -> None:
    """The frames get brighter by 5 each: panes of the same frame differ only as black and white do."""
    frames = [np.full((180, 320, 3), 5 * number, np.uint8) for number in range(30)]
    write_clip(tmp_path / "source.mp4", frames, 1.0, SMALL, 30)
    write_clip(tmp_path / "result.mp4", [255 - frame for frame in frames], 1.0, SMALL, 30)

    before_and_after(tmp_path / "source.mp4", tmp_path / "result.mp4", tmp_path / "pair.png")

    pair = read_picture(tmp_path / "pair.png")
    # Panes of 632x355.5 below a label of 30 rows, 16 columns apart
    assert pair.shape == (30 + 356, 1280, 3)
    left, right = pair[40:380, 10:620].mean(), pair[40:380, 660:1270].mean()
    assert left == pytest.approx(75, abs=3)
    assert left + right == pytest.approx(255, abs=3)
    assert pair[30:, 632:648].min() == 255
    for label in (pair[:30, :632], pair[:30, 648:]):
        assert 0 < (label < 200).sum() < 1500  # some ink


def test_before_and_after_names_a_video_that_lacks_the_frame(small_clip: Path, tmp_path: Path) -> None:
    write_clip(tmp_path / "short.mp4", [np.zeros((180, 320, 3), np.uint8)] * 30, 1.0, SMALL, 30)
    with pytest.raises(VideoError, match=r"short\.mp4 has no frame at 2\.2"):
        before_and_after(small_clip, tmp_path / "short.mp4", tmp_path / "pair.png")
    assert not (tmp_path / "pair.png").exists()
