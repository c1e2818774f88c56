"""Tests of the sampler: few samples in a calm shot, more at changes, and the same in every segment."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from defacer.engine.media.orientation import Orientation
from defacer.engine.models.arrays import Detection, Image
from defacer.engine.tracking.reduced_frame import (
    WINDOW_SECONDS,
    ReducedFrame,
    crop_side,
    detector_image_of,
)
from defacer.engine.tracking.sampling import Sampler, Window, split_into_windows

RATE = 30


class BrightSquares:
    """Detects white squares of 40 pixels. It replaces the face detector, which has tests of its own."""

    name = "squares"
    confident_score = 0.3

    def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
        return [self._squares(image) for image in images]

    def _squares(self, image: Image) -> list[Detection]:
        rows, columns = np.nonzero(image[..., 0] > 235)
        if not len(rows):
            return []
        box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], np.float32)
        return [Detection(box, 0.9, np.tile(box[:2], (5, 1)))]


def frames(positions: list[int | None], ground: list[int] | None = None) -> list[av.VideoFrame]:
    made = []
    for pts, position in enumerate(positions):
        picture = np.full((180, 320, 3), ground[pts] if ground else 60, np.uint8)
        if position is not None:
            picture[60:100, position : position + 40] = 255
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
        frame.pts, frame.time_base = pts, Fraction(1, RATE)
        made.append(frame)
    return made


def sample(given: list[av.VideoFrame], first: int | None = None, last: int | None = None) -> list[Window]:
    sampler = Sampler(BrightSquares())
    found = list(split_into_windows(given, first, last))
    for window in found:
        sampler.sample(window)
    return found


def sampled_frames(
    given: list[av.VideoFrame], first: int | None = None, last: int | None = None
) -> list[ReducedFrame]:
    return [
        view for window in sample(given, first, last) for view in window.frames if view.detections is not None
    ]


def times(views: list[ReducedFrame]) -> list[int]:
    return [view.pts for view in views]


def test_calm_shot_is_sampled_five_times_a_second() -> None:
    assert times(sampled_frames(frames([50] * 60))) == [*range(0, 60, 6), 59]


def test_windows_contain_every_frame_once_in_order() -> None:
    found = sample(frames([50] * 61))
    assert [view.pts for window in found for view in window.frames] == list(range(61))
    assert {len(window.frames) for window in found[:-1]} == {18}


def test_windows_can_be_sampled_in_any_order_in_threads() -> None:
    given = frames([5 * pts for pts in range(60)])
    found = list(split_into_windows(given))
    sampler = Sampler(BrightSquares())
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(sampler.sample, reversed(found)))
    seen = [view for window in found for view in window.frames if view.detections is not None]
    assert times(seen) == times(sampled_frames(given))


@pytest.mark.parametrize("appears", [7, 9, 11, 18, 25])
def test_face_that_appears_between_samples_is_detected_in_its_first_frame(appears: int) -> None:
    seen = sampled_frames(frames([None] * appears + [50] * (40 - appears)))
    assert {appears - 1, appears} <= set(times(seen))


@pytest.mark.parametrize("first", [7, 13, 20, 31])
@pytest.mark.parametrize("shown", [1, 2, 3, 4])
def test_face_shown_between_samples_is_sampled_from_first_to_last(first: int, shown: int) -> None:
    positions: list[int | None] = [None] * 40
    positions[first : first + shown] = [50] * shown
    borders = {first - 1, first, first + shown - 1, first + shown}
    assert borders <= set(times(sampled_frames(frames(positions))))


@pytest.mark.parametrize("shown", [1, 3, 5])
def test_face_replaced_between_samples_is_sampled(shown: int) -> None:
    """The detector finds both faces in the same place."""
    given = frames([50] * 40)
    for pts in range(19, 19 + shown):
        plane = given[pts].planes[0]
        luma = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size).copy()
        luma[66:94, 56:84] = 120
        plane.update(luma.tobytes())
    found = sampled_frames(given)
    assert all(view.detections for view in found)
    (replaced,) = set(times(found)) - {*range(0, 40, 6), 39}
    assert 19 <= replaced < 19 + shown


def test_motion_without_a_face_adds_no_samples() -> None:
    """A pan and a waving hand change the picture in every frame."""
    random = np.random.default_rng(0)
    wall = cv2.resize(random.integers(0, 200, (9, 60, 3)).astype(np.uint8), (1200, 180))
    given = []
    for pts in range(60):
        picture: Image = wall[:, 10 * pts : 10 * pts + 320].astype(np.uint8)
        picture[100:160, 150 + round(80 * np.sin(pts / 3)) :][:, :40] = 90
        given.append(av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p"))
        given[-1].pts, given[-1].time_base = pts, Fraction(1, RATE)
    assert times(sampled_frames(given)) == [*range(0, 60, 6), 59]


def test_brief_appearance_of_an_object_adds_one_sample() -> None:
    given = frames([50] * 40)
    lamp = frames([50] * 40, [100] * 40)
    for pts in (20, 21):
        picture = given[pts].to_ndarray(format="rgb24")
        picture[120:170, 200:300] = lamp[pts].to_ndarray(format="rgb24")[120:170, 200:300]
        replaced = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
        replaced.pts, replaced.time_base = pts, Fraction(1, RATE)
        given[pts] = replaced
    assert len(set(times(sampled_frames(given))) - {*range(0, 40, 6), 39}) == 1


def test_face_that_moves_slowly_in_a_pan_adds_no_samples() -> None:
    """It moves by 40 % of its width between two samples of the grid."""
    positions = [8 * pts // 3 for pts in range(40)]
    assert times(sampled_frames(frames(list(positions)))) == [*range(0, 40, 6), 39]


def test_fast_face_is_sampled_densely() -> None:
    seen = sampled_frames(frames([5 * pts for pts in range(40)]))
    assert max(np.diff(times(seen))) * 5 <= 20  # pixels between samples: half the face


@pytest.mark.parametrize("speed", [20, 35, 60])
def test_face_that_moves_half_its_width_a_frame_is_sampled_in_every_frame(speed: int) -> None:
    start, frames_shown = 13, 280 // speed
    positions = [0] * start + [speed * n for n in range(frames_shown)] + [speed * (frames_shown - 1)] * 12
    found = times(sampled_frames(frames(list(positions))))
    assert set(range(start, start + frames_shown)) <= set(found)


def starts_of_shots(ground: list[int]) -> list[int]:
    return [view.pts for view in sampled_frames(frames([50] * len(ground), ground)) if view.starts_shot]


def test_both_sides_of_a_cut_are_sampled() -> None:
    ground = [60] * 21 + [160] * 19
    assert starts_of_shots(ground) == [21]
    assert {20, 21} <= set(times(sampled_frames(frames([50] * 40, ground))))


def test_small_jump_in_a_still_picture_is_a_cut() -> None:
    assert starts_of_shots([60] * 21 + [75] * 19) == [21]


def test_flash_and_fast_fade_are_not_cuts() -> None:
    assert starts_of_shots([60] * 20 + [200] + [60] * 19) == []
    assert starts_of_shots([60] * 20 + list(range(60, 210, 10)) + [210] * 5) == []


@pytest.mark.parametrize("seed", range(8))
def test_same_frames_are_sampled_wherever_reading_begins_and_ends(seed: int) -> None:
    """A second before a window and two frames after it are enough for any changes of the picture."""
    random = np.random.default_rng(seed)
    ground = np.clip(60 + np.cumsum(random.choice([0, 0, 2, -2, 12, -12, 60, -60], 120)), 0, 200)
    shown = [None if random.random() < 0.1 else 40 + pts * pts // 80 for pts in range(120)]
    given = frames(shown, [int(level) for level in ground])
    for window in (2, 3, 4, 5):
        whole = [view for view in sampled_frames(given) if int(view.seconds // WINDOW_SECONDS) == window]
        part = sampled_frames(given[18 * window - RATE : 18 * (window + 1) + 2], window, window)
        assert times(part) == times(whole)
        assert [view.starts_shot for view in part] == [view.starts_shot for view in whole]


def test_each_frame_is_sampled_where_frames_are_far_apart() -> None:
    given = frames([50] * 4, [60, 160, 60, 160])
    for n, frame in enumerate(given):
        frame.pts = n * RATE
    assert times(sampled_frames(given)) == [0, 30, 60, 90]


def test_video_without_frames_has_no_samples() -> None:
    assert sampled_frames([]) == []


@pytest.mark.parametrize("width", [1280, 3840])
def test_boxes_are_in_pixels_of_the_displayed_frame(width: int) -> None:
    large = frames([100])[0].reformat(width, width * 9 // 16)
    large.pts, large.time_base = 0, Fraction(1, RATE)
    (view,) = sampled_frames([large])
    assert view.detections is not None
    expected = np.array([400, 240, 560, 400]) * width / 1280
    assert view.detections[0].box == pytest.approx(expected, abs=width / 160)
    assert view.crop_image().shape[1] == min(width, 1920)
    look_width = {1280: 640, 3840: 1280}[width]  # half, but no more than 1280
    assert view.detector_image().shape == (look_width * 9 // 16, look_width, 3)


class Broken:
    """A detector that runs out of memory."""

    name = "broken"
    confident_score = 0.3

    def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
        raise MemoryError


def test_error_of_the_detector_reaches_the_waiting_thread() -> None:
    """The window that waited must not report a transient error as a fault of the video."""
    first, second = list(split_into_windows(frames([50] * 30)))[:2]
    sampler = Sampler(Broken())
    for window in (first, second):
        with pytest.raises(MemoryError):
            sampler.sample(window)


@pytest.mark.parametrize(
    ("size", "rate", "side"),
    [((1280, 720), 30, 1280), ((3840, 2160), 30, 1920), ((1920, 1080), 240, 1026), ((640, 360), 60_000, 320)],
)
def test_frames_are_reduced_where_a_window_exceeds_the_memory_limit(
    tmp_path: Path, size: tuple[int, int], rate: int, side: int
) -> None:
    path = tmp_path / "in.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for pts in range(24):
            frame = av.VideoFrame(*size, "yuv420p")
            frame.pts = pts
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        assert min(crop_side(container.streams.video[0]), max(size)) == side


@pytest.mark.parametrize("size", [(1280, 720), (720, 1280), (2560, 1440), (320, 240)])
def test_check_of_the_result_detects_in_the_same_copy_as_the_first_pass(size: tuple[int, int]) -> None:
    width, height = size
    gray = np.random.default_rng(3).integers(0, 255, (height, width, 3), np.uint8)
    frame = av.VideoFrame.from_ndarray(gray, format="rgb24").reformat(format="yuv420p")
    orientation = Orientation(0, 1, -1, 0)  # a quarter turn
    copy = ReducedFrame(frame, orientation=orientation).detector_image()
    assert max(copy.shape) == min(max(640, max(size) // 2), max(size))
    np.testing.assert_array_equal(detector_image_of(frame, orientation), copy)
