"""Tests of masks by pixels: which faces are visible after generated scenes were redacted."""

from functools import cache

import cv2
import numpy as np
import pytest

from defacer.engine.models.centerface import CenterFace
from defacer.engine.rendering.masks import MaskSchedule
from defacer.engine.rendering.redaction import Style
from defacer.report.compact_boxes import Box
from defacer.report.tracks import Decision, TrackRecord
from tests.clips import Picture
from tests.engine.scenes import RATE, Shown, draw, faces_of, is_seen, redacted, track, visible

CLOSE_UP: Box = (250, 80, 400, 280)
HIDDEN, TARGET = "astronaut", "admiral"


def moved(box: Box, x: float, y: float = 0.0) -> Box:
    return (box[0] + x, box[1] + y, box[2] + x, box[3] + y)


def shot(number: int, first: int, last: int, box: Box = CLOSE_UP, decision: Decision = "hide") -> TrackRecord:
    """Return a track that fills a shot: sampled at both ends, like all frames beside cuts."""
    return track(number, {first: box, (first + last) // 2: box, last: box}, decision)


def test_target_in_a_shot_of_eight_frames_stays_visible() -> None:
    """The shots before and after it show strangers in the same place."""
    target = moved(CLOSE_UP, 20, -10)
    frames = [[Shown(HIDDEN, CLOSE_UP)]] * 8 + [[Shown(TARGET, target)]] * 8 + [[Shown(HIDDEN, CLOSE_UP)]] * 8
    tracks = [shot(0, 0, 7), shot(1, 8, 15, target, "keep"), shot(2, 16, 23)]
    assert visible(frames, faces_of(tracks, shots=(8, 16))) == [[]] * 8 + [[TARGET]] * 8 + [[]] * 8


def test_frames_before_the_target_was_sampled_stay_masked() -> None:
    """The stranger can be in any frame between the last sample of one shot and the first sample of the next one."""
    frames = (
        [[Shown(HIDDEN, CLOSE_UP)]] * 11 + [[Shown(TARGET, CLOSE_UP)]] * 5 + [[Shown(HIDDEN, CLOSE_UP)]] * 8
    )
    tracks = [shot(0, 0, 7), shot(1, 11, 15, CLOSE_UP, "keep"), shot(2, 19, 23)]
    assert visible(frames, faces_of(tracks, shots=(8, 16))) == [[]] * 11 + [[TARGET]] * 5 + [[]] * 8


def test_flash_without_a_target_does_not_end_the_mask() -> None:
    frames = [[Shown(HIDDEN, CLOSE_UP)]] * 24
    assert visible(frames, faces_of([shot(0, 0, 7), shot(1, 14, 23)], shots=(8, 12))) == [[]] * 24


def test_target_beside_a_stranger_does_not_end_the_mask_in_a_flash() -> None:
    """Two faces of one frame can overlap by a third of their boxes."""
    beside = moved(CLOSE_UP, 80)
    frames = [[Shown(HIDDEN, CLOSE_UP)]] * 8 + [[Shown(TARGET, beside), Shown(HIDDEN, CLOSE_UP)]] * 8
    tracks = [shot(0, 0, 7), shot(1, 8, 15, beside, "keep")]
    assert not any(HIDDEN in seen for seen in visible(frames, faces_of(tracks, shots=(8, 12))))


def test_mask_stays_where_a_target_walks_past_without_a_cut() -> None:
    walk = {8 + n: moved(CLOSE_UP, 45 + 10 * n) for n in range(6)}
    frames = [[Shown(HIDDEN, CLOSE_UP)]] * 8
    frames += [[Shown(HIDDEN, CLOSE_UP), Shown(TARGET, box)] for box in walk.values()]
    tracks = [shot(0, 0, 7), track(1, walk, "keep")]
    assert not any(HIDDEN in seen for seen in visible(frames, faces_of(tracks)))


STRANGER: Box = (200, 60, 360, 270)
BESIDE: Box = (365, 110, 425, 190)  # a smaller face that the stranger's mask reaches


def near_face(decision: Decision = "keep", box: Box = BESIDE) -> TrackRecord:
    return track(1, dict.fromkeys(range(0, RATE, 5), box), decision)


@pytest.mark.parametrize("mode", ["blur", "pixelate", "solid", "image"])
def test_target_under_a_neighbors_mask_stays_visible(mode: str) -> None:
    style = Style(mode, picture=np.full((8, 8, 4), 255, np.uint8))
    frames = [[Shown(TARGET, BESIDE), Shown(HIDDEN, STRANGER)]] * 20
    tracks = [track(0, dict.fromkeys(range(0, RATE, 5), STRANGER)), near_face()]
    assert visible(frames, faces_of(tracks), style, patch=0.0) == [[TARGET]] * 20


def test_mask_of_a_third_face_stays_closed() -> None:
    third = moved(BESIDE, 6, 6)
    frames = [[Shown(TARGET, BESIDE), Shown(HIDDEN, third)]] * 20
    tracks = [
        track(0, dict.fromkeys(range(0, RATE, 5), STRANGER)),
        near_face(),
        track(2, dict.fromkeys(range(0, RATE, 5), third)),
    ]
    assert visible(frames, faces_of(tracks), patch=0.0) == [[]] * 20


def test_mask_of_a_face_that_is_not_seen_stays_closed() -> None:
    """After its last sample a face can be anywhere under its mask."""
    frames = [[Shown(HIDDEN, STRANGER)]] * 5 + [[Shown(HIDDEN, BESIDE)]] * 6
    tracks = [track(0, {0: STRANGER, 4: STRANGER}), near_face()]
    assert visible(frames, faces_of(tracks), patch=0.0) == [[]] * 11


@pytest.mark.parametrize("step", [10, 20, 25])
@pytest.mark.parametrize("is_split", [False, True])
def test_face_in_a_fast_pan_is_masked_before_and_after_two_samples(step: int, is_split: bool) -> None:
    """It is detected in two consecutive frames. The lead has 6 frames, and the tail 10."""
    first, second, frames = 8, 9, range(2, 20)
    places = [moved((0, 120, 90, 240), step * n) for n in range(20)]
    if is_split:
        tracks = [track(0, {first: places[first]}), track(1, {second: places[second]}, continues=0)]
    else:
        tracks = [track(0, {first: places[first], second: places[second]})]
    faces = faces_of(tracks, width=960, height=360)
    assert visible([[Shown(HIDDEN, place)] for place in places], faces)[frames[0] :] == [[]] * len(frames)


def test_growing_box_does_not_move_the_mask() -> None:
    """From one frame to the next, an arm no longer occludes the face."""
    box, part = CLOSE_UP, (CLOSE_UP[0], CLOSE_UP[1], CLOSE_UP[2] - 40, CLOSE_UP[3])
    schedule = MaskSchedule(faces_of([track(0, {8: part, 9: box})]))
    assert schedule.boxes(19) == [pytest.approx((242.5, 70, 407.5, 290))]


@cache
def centerface() -> CenterFace:
    return CenterFace()


def detected(picture: Picture, width: int) -> list[Box]:
    """Return the faces that CenterFace finds in a copy of this width."""
    scale = picture.shape[1] / width
    copy = cv2.resize(picture, None, fx=1 / scale, fy=1 / scale, interpolation=cv2.INTER_AREA)
    found = [
        face.box * scale for face in centerface().detect([copy.astype(np.uint8)])[0] if face.score >= 0.3
    ]
    return [(float(x1), float(y1), float(x2), float(y2)) for x1, y1, x2, y2 in found]


@pytest.mark.parametrize("right", [-300, -150, 0])
@pytest.mark.parametrize("down", [-100, 0])
def test_both_eyes_of_an_extreme_close_up_are_masked(down: int, right: int) -> None:
    """A face that is larger than the frame is detected as a smaller face beside its centre."""
    size = 1300
    left, top = 640 - size / 2 + right, 360 - size * 0.65 + down
    picture = draw([Shown(HIDDEN, (left, top, left + size, top + size * 1.3))], 1280, 720)
    eyes = [(left + size * across, top + size * 0.52) for across in (0.3, 0.72)]
    if down == 0:  # with glasses
        for x, y in eyes:
            cv2.circle(picture, (int(x), int(y)), int(size * 0.19), (15, 15, 15), int(size * 0.04))
        bridge = [(int(left + size * across), int(top + size / 2)) for across in (0.45, 0.55)]
        cv2.line(picture, bridge[0], bridge[1], (15, 15, 15), int(size * 0.04))
    boxes = detected(picture, 640)
    assert boxes
    faces = faces_of([track(n, {0: box}) for n, box in enumerate(boxes)], width=1280, height=720)
    before, after = redacted(picture, faces)
    half = size * 0.12
    for x, y in eyes:
        assert not is_seen(before, after, (x - half, y - half, x + half, y + half))
