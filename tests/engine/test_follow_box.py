"""A drawn box follows the face inside it, and its mask covers more where nothing confirms the place."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from defacer.engine.corrections.follow_box import GAP_MARGIN
from defacer.engine.corrections.span_search import TimeSpan
from defacer.engine.engine import Engine
from defacer.engine.errors import ArgumentError
from defacer.engine.media.reader import Segment, read_frames
from defacer.engine.options import Options
from defacer.engine.rendering.box_motion import enclose_boxes, expand_box
from defacer.engine.rendering.redact_segment import redact_segment
from defacer.engine.tracking.linking import link_faces
from defacer.engine.tracking.report_edit import with_edits
from defacer.engine.verification.visible_faces import covered_share
from defacer.report.compact_boxes import Box, BoxAt
from defacer.report.edits import AddedTrack, Edits
from defacer.report.faces import Faces
from defacer.report.tracks import Origin, TrackRecord
from tests.clips import frame_times
from tests.engine.scene_files import RATE, faces_in
from tests.engine.scenes import HEIGHT, WIDTH, Shown, draw, is_seen, track

OFF = Options(verify="off")
FRAMES = 50
EVAL = os.environ.get("DEFACER_EVAL")
HIDDEN_SHARE = 0.9  # of an annotated face under a mask


def walk(number: int) -> Box:
    """Return the place of a face that walks to the right and comes nearer."""
    x, size = 60 + 6 * number, 80 + number / 2
    return (x, 80, x + size * 0.75, 80 + size)


def around(box: Box, share: float = 0.15) -> Box:
    """Return a box as a person draws it around a face."""
    more_x, more_y = share * (box[2] - box[0]), share * (box[3] - box[1])
    return (box[0] - more_x, box[1] - more_y, box[2] + more_x, box[3] + more_y)


def shown(*numbers: int, person: str = "astronaut") -> list[list[Shown]]:
    """Return frames with a walking face, which is only visible at these frame numbers."""
    return [[Shown(person, walk(number))] if number in numbers else [] for number in range(FRAMES)]


@dataclass(frozen=True)
class Scene:
    """A written video. Times are frame numbers here, and units of the time base in its file."""

    path: Path
    frames: Sequence[Sequence[Shown]]
    engine: Engine

    @property
    def unit(self) -> int:
        return frame_times(self.path)[1]

    def follow(
        self,
        drawn: dict[int, Box],
        first: int = 0,
        last: int = FRAMES - 1,
        tracks: Sequence[TrackRecord] = (),
        shots: Sequence[int] = (),
    ) -> AddedTrack:
        """Follow the boxes that were drawn at these frames."""
        unit = self.unit
        faces = replace(faces_in(self.path, *tracks), cuts=tuple(shot * unit for shot in shots))
        span = TimeSpan(str(self.path), faces, first * unit, last * unit)
        anchors = [BoxAt(number * unit, box) for number, box in drawn.items()]
        return self.engine.follow_box(span, anchors)

    def covered(self, mask: AddedTrack) -> list[bool]:
        """Return for each shown face whether the mask covers it."""
        faces = [(number, face.box) for number, frame in enumerate(self.frames) for face in frame[:1]]
        boxes = [(box, mask.detections.box_at(number * self.unit)) for number, box in faces]
        return [covered_share(box, [], WIDTH, HEIGHT, [place]) >= HIDDEN_SHARE for box, place in boxes]

    def unconfirmed(self, mask: AddedTrack) -> list[int]:
        """Return the numbers of the frames in which the mask is to be checked."""
        spans = mask.unconfirmed
        return [n for n in range(FRAMES) if any(first <= n * self.unit <= last for first, last in spans)]


@pytest.fixture
def scene(tmp_path: Path, engine: Engine) -> Callable[[Sequence[Sequence[Shown]]], Scene]:
    """Write these frames as H.264."""

    def write(frames: Sequence[Sequence[Shown]]) -> Scene:
        path = tmp_path / "scene.mp4"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=RATE)
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            stream.options = {"preset": "ultrafast", "crf": "15"}
            for number, faces in enumerate(frames):
                frame = av.VideoFrame.from_ndarray(draw(faces), format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, RATE)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return Scene(path, frames, engine)

    return write


Write = Callable[[Sequence[Sequence[Shown]]], Scene]


@pytest.mark.parametrize("drawn", [0, pytest.param(20, marks=pytest.mark.slow), 49])
def test_one_box_covers_a_walking_face_before_and_after_it(drawn: int, scene: Write) -> None:
    video = scene(shown(*range(FRAMES)))
    mask = video.follow({drawn: around(walk(drawn))})
    assert video.covered(mask) == [True] * FRAMES
    assert video.unconfirmed(mask) == []
    assert (mask.origin, mask.decision) == (Origin.MANUAL, "hide")
    assert (mask.detections[0].pts, mask.detections[-1].pts) == (0, 49 * video.unit)
    assert mask.detections.box_at(drawn * video.unit) == pytest.approx(around(walk(drawn)), abs=0.1)


def test_no_face_is_visible_after_one_box_covers_a_deleted_track(
    scene: Write, engine: Engine, tmp_path: Path
) -> None:
    """Judge the pixels as the evaluation's `score.py` does."""
    video = scene(shown(*range(FRAMES)))
    found = engine.detect_segment(Segment(str(video.path)), None, Options())
    deleted = replace(link_faces([found], None, Options()), tracks=())
    span = TimeSpan(str(video.path), deleted, 0, 49 * video.unit)
    mask = engine.follow_box(span, [BoxAt(25 * video.unit, around(walk(25)))])
    made = Faces.from_bytes(with_edits(deleted.to_bytes(), Edits(added=(mask,)), None).document)
    out = tmp_path / "out.nut"
    redact_segment(Segment(str(video.path)), made, str(out), OFF)
    pairs = zip(read_frames(str(video.path)), read_frames(str(out)), strict=True)
    grays = [[frame.to_ndarray(format="gray").astype(np.uint8) for frame in pair] for pair in pairs]
    seen = [is_seen(before, after, walk(n)) for n, (before, after) in enumerate(grays)]
    assert seen == [False] * FRAMES


def test_gap_is_covered_by_the_union_of_the_boxes_around_it_and_marked(scene: Write) -> None:
    """The mask covers the union of the last and the next confirmed box with a margin."""
    gap = range(20, 35)
    video = scene(shown(*(n for n in range(FRAMES) if n not in gap)))
    mask = video.follow({5: around(walk(5)), 45: around(walk(45))})
    assert set(gap) <= set(video.unconfirmed(mask)) <= set(range(17, 38))
    (first, last), *_ = mask.unconfirmed
    before = max(item.pts for item in mask.detections if item.pts < first)
    after = min(item.pts for item in mask.detections if item.pts > last)
    union = enclose_boxes(*(mask.detections.box_at(pts) for pts in (before, after)))
    for number in gap:
        place = mask.detections.box_at(number * video.unit)
        assert place == pytest.approx(expand_box(union, GAP_MARGIN), abs=0.2)
        assert covered_share(walk(number), [], WIDTH, HEIGHT, [place]) == 1


def test_mask_stays_at_the_last_place_until_the_end_and_is_marked(scene: Write) -> None:
    video = scene(shown(*range(20)))
    mask = video.follow({5: around(walk(5))})
    assert set(range(20, FRAMES)) <= set(video.unconfirmed(mask)) <= set(range(17, FRAMES))
    last = mask.detections.box_at(49 * video.unit)
    assert covered_share(walk(19), [], WIDTH, HEIGHT, [last]) == 1


def test_box_around_something_else_stays_in_its_place(scene: Write) -> None:
    video = scene([[]] * FRAMES)
    sign = (400.0, 200.0, 500.0, 240.0)
    mask = video.follow({10: sign}, 5, 30)
    assert mask.detections.box_at(20 * video.unit) == pytest.approx((375, 190, 525, 250), abs=0.1)
    assert set(range(5, 31)) - {10} <= set(video.unconfirmed(mask)) <= set(range(5, 31))


def test_corrections_pull_the_mask_back_to_the_right_face(scene: Write) -> None:
    """The chain from the first box ends where the face is hidden for long. A correction begins another one."""
    video = scene(shown(*range(12), *range(38, 50)))
    mask = video.follow({0: around(walk(0)), 40: around(walk(40))})
    assert video.covered(mask) == [True] * 24


def test_mask_does_not_follow_across_a_cut(scene: Write) -> None:
    first: list[list[Shown]] = [[Shown("astronaut", walk(0))]] * 25
    second: list[list[Shown]] = [[Shown("admiral", walk(3))]] * 25
    video = scene([*first, *second])
    mask = video.follow({10: around(walk(0))}, shots=[25])
    assert video.unconfirmed(mask) == list(range(25, FRAMES))


def test_mask_does_not_jump_to_a_face_that_has_a_track(scene: Write) -> None:
    """The followed face disappears beside another one, which the report has already."""
    beside = (200.0, 80.0, 270.0, 170.0)
    frames = [[Shown("astronaut", (130, 80, 195, 167)), Shown("admiral", beside)]] * 20
    video = scene(frames + [[Shown("admiral", beside)]] * 30)
    other = track(0, {n * video.unit: beside for n in range(0, FRAMES, 5)})
    mask = video.follow({5: (120, 70, 200, 175)}, tracks=[other])
    assert set(range(20, FRAMES - 1)) <= set(video.unconfirmed(mask)) <= set(range(17, FRAMES))
    assert mask.detections.box_at(40 * video.unit)[0] < 130


@pytest.mark.parametrize(("tracked", "drawn"), [(range(21), 22), (range(30, FRAMES), 28)])
def test_box_drawn_shortly_before_or_after_a_track_follows_its_face(
    tracked: range, drawn: int, scene: Write, engine: Engine
) -> None:
    places: list[Box] = [(60.0 + n, 80.0, 120.0 + n, 160.0) for n in range(FRAMES)]
    video = scene([[Shown("astronaut", place)] for place in places])
    found = engine.detect_segment(Segment(str(video.path)), None, Options())
    (whole,) = link_faces([found], None, Options()).tracks
    part = {item.pts: item.box for item in whole.detections if item.pts // video.unit in tracked}
    first, last = (drawn, FRAMES - 1) if tracked[0] == 0 else (0, drawn)
    mask = video.follow({drawn: around(places[drawn])}, first, last, tracks=[track(0, part)])
    assert video.covered(mask)[first : last + 1] == [True] * (last + 1 - first)
    assert video.unconfirmed(mask) == []


def test_box_around_two_faces_stays_around_both(scene: Write) -> None:
    one, other = (130.0, 80.0, 195.0, 167.0), (220.0, 80.0, 285.0, 167.0)
    video = scene([[Shown("astronaut", one), Shown("admiral", other)]] * FRAMES)
    mask = video.follow({10: (120, 70, 295, 180)})
    for face in (one, other):
        assert covered_share(face, [], WIDTH, HEIGHT, [mask.detections.box_at(40 * video.unit)]) == 1
    assert len(video.unconfirmed(mask)) >= FRAMES - 1


def test_box_outside_its_time_span_is_refused(scene: Write) -> None:
    video = scene([[]] * FRAMES)
    for drawn in ({}, {40: walk(0)}):
        with pytest.raises(ArgumentError, match="outside its time span"):
            video.follow(drawn, 0, 30)
    with pytest.raises(ArgumentError, match="has no frame"):
        video.follow({80: walk(0)}, 70, 90)


def test_following_stops_when_the_caller_raises(scene: Write) -> None:
    video = scene([[]] * FRAMES)
    span = TimeSpan(str(video.path), faces_in(video.path), 0, 49 * video.unit)

    def stop(done: int) -> None:
        if done == 10:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        video.engine.follow_box(span, [BoxAt(0, walk(0))], stop)


@pytest.mark.slow
@pytest.mark.skipif(not EVAL, reason="DEFACER_EVAL does not name the folder with real clips")
@pytest.mark.parametrize("name", ["c04", "c10"])
def test_one_box_covers_each_deleted_track_of_a_real_clip(name: str, engine: Engine) -> None:
    clip = Path(EVAL or "") / "clips" / f"{name}.mp4"
    truth = json.loads(clip.with_suffix(".json").read_text())
    times = frame_times(clip)
    faces = link_faces([engine.detect_segment(Segment(str(clip)), None, Options())], None, Options())
    missed = count = 0
    for face in (one for one in faces.tracks if one.end - one.start > times[12] - times[0]):
        rest = replace(faces, tracks=tuple(one for one in faces.tracks if one.id != face.id))
        middle = face.detections[len(face.detections) // 2]
        span = TimeSpan(str(clip), replace(rest, cuts=faces.cuts), face.start, face.end)
        mask = engine.follow_box(span, [BoxAt(middle.pts, around(middle.box))])
        for number, _, role, *box in truth["faces"]:
            if role == "ignore" or not face.start <= times[number] <= face.end:
                continue
            own = face.detections.box_at(times[number])
            if covered_share(box, [], faces.width, faces.height, [around(own)]) >= HIDDEN_SHARE:
                place = mask.detections.box_at(times[number])
                count += 1
                missed += covered_share(box, [], faces.width, faces.height, [place]) < HIDDEN_SHARE
    assert count > 500
    assert missed <= 0.002 * count
