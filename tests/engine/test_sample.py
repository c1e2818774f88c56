"""Where the detector looks: seldom in a calm shot, everywhere it matters, the same in every segment."""

from fractions import Fraction

import av
import numpy as np
import pytest

from functions.engine.detect import Detection, Image
from functions.engine.sample import Sampler

RATE = 30


class BrightSquares:
    """Finds white squares of 40 pixels: stands in for a face detector, whose own test is elsewhere."""

    name = "squares"
    sure = 0.3

    def detect(self, images: list[Image]) -> list[list[Detection]]:
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


def looks(given: list[av.VideoFrame]) -> tuple[Sampler, list[int]]:
    sampler = Sampler(BrightSquares())
    return sampler, [sighting.pts for sighting in sampler.run(given)]


def test_a_calm_shot_is_looked_at_five_times_a_second() -> None:
    sampler, seen = looks(frames([50] * 60))
    assert seen == [*range(0, 60, 6), 59]
    assert sampler.looks == len(seen)
    assert sampler.pts == list(range(60))


@pytest.mark.parametrize("appears", [7, 9, 11, 25])
def test_a_face_that_appears_between_looks_is_found_on_its_first_frame(appears: int) -> None:
    _, seen = looks(frames([None] * appears + [50] * (40 - appears)))
    assert {appears - 1, appears} <= set(seen)


def test_a_face_that_moves_fast_is_followed_closely() -> None:
    _, seen = looks(frames([5 * pts for pts in range(40)]))
    assert max(np.diff(seen)) * 5 <= 20  # pixels between looks: half the face


def test_both_sides_of_a_cut_are_looked_at() -> None:
    sampler, seen = looks(frames([50] * 40, [60] * 21 + [160] * 19))
    assert sampler.cuts == [21]
    assert {20, 21} <= set(seen)


def test_a_segment_that_begins_later_looks_at_the_same_frames() -> None:
    given = frames([40 + pts // 2 for pts in range(90)])
    _, whole = looks(given)
    _, part = looks(given[31:])
    assert [pts for pts in whole if pts >= 36] == [pts for pts in part if pts >= 36]


def test_no_frames_give_no_looks() -> None:
    assert looks([])[1] == []


def test_boxes_are_in_pixels_of_the_displayed_frame() -> None:
    large = frames([100])[0].reformat(1280, 720)
    large.pts, large.time_base = 0, Fraction(1, RATE)
    (sighting,) = Sampler(BrightSquares()).run([large])
    assert sighting.detections is not None
    assert sighting.detections[0].box == pytest.approx([400, 240, 560, 400], abs=8)
