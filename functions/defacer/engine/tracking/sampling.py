"""Choose the frames that the detector samples: few in a calm shot, and more where neighboring samples disagree.

Time is divided into slots of a fixed grid. The detector runs on the first frame of each slot, and on both sides of a
cut. Two neighboring samples disagree if a face appears, is lost, or moved too far. Then the frame in the middle is
sampled, until neighbors agree or are adjacent. A frame that shows something briefly is sampled too (see
brief_appearances.py).

The detector takes most of the time, and most frames of the grid show the same faces as their neighbors. Where everyone
is hidden, YuNet searches the frames inside a window first. If it detects the faces of the window's ends in the same
places, and no other face, the frames are confirmed, and the detector does not run. With a target the detector searches
all samples, because another person can come to a face's place within a window. Embeddings can only be compared if the
landmarks are those of the detector.

A few slots make a window, and the samples of one round in it make one batch. The grid depends on presentation times
alone. No decision in a window depends on frames more than CONTEXT_SECONDS before it, or more than two frames after it.
So the same frames are sampled wherever reading began.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

import av
import cv2
import numpy as np

from defacer.engine.media.orientation import Orientation
from defacer.engine.models.arrays import Detection, Detector, box_areas, compute_overlaps
from defacer.engine.models.crowds import MIN_CROWD
from defacer.engine.runtime.prefetch import prefetch
from defacer.engine.tracking.brief_appearances import face_slices, find_brief_appearance
from defacer.engine.tracking.reduced_frame import CROP_SIDE, WINDOW_SECONDS, ReducedFrame, reduce_frames
from defacer.engine.tracking.shot_cuts import mark_cuts
from defacer.engine.tracking.turns.turned_views import detect_in_turns

FRAMES_AHEAD = 8  # frames that are decoded and reduced while the detector works
# Overlap (intersection over union) of one face in two samples that agree: it moves by 43 % of its size at most. So a
# mask that is interpolated between the samples covers 70 % of a face, even of a face that jumps.
SAME_PLACE = 0.4
# YuNet searches a copy of half the detector's size, in a fifteenth of the detector's time. It detects fewer small faces
# there, and the detector then runs.
CONFIRM_SCALE = 0.5
MAX_ERROR = 0.1  # of a face's size, in the place of a face in this copy


@dataclass(frozen=True)
class Window:
    """All frames of some slots, and the frame that follows, unless the video ends."""

    frames: list[ReducedFrame]
    following: ReducedFrame | None = None


def ignore_turns(frame: ReducedFrame) -> None:
    """Search the frame in its upright view only."""
    frame.turns = ()


def split_into_windows(
    frames: Iterable[av.VideoFrame],
    first: int | None = None,
    last: int | None = None,
    side: int = CROP_SIDE,
    orientation: Orientation = Orientation(),  # noqa: B008 - it is frozen
    seconds: Fraction = WINDOW_SECONDS,
    frames_ahead: int = FRAMES_AHEAD,
    set_turns: Callable[[ReducedFrame], None] = ignore_turns,
) -> Iterator[Window]:
    """Yield the windows of a video, in order. Frames are held with a long side of `side` pixels at most.

    `set_turns` is called for the first frame of each window and of each shot. The other frames get the same turns.
    Frames before the window with the number `first` are only read to detect cuts. Reading ends after window `last`.
    """
    held: list[ReducedFrame] = []
    window = 0
    for frame in mark_cuts(prefetch(reduce_frames(frames, side, orientation), frames_ahead)):
        number = int(frame.seconds // seconds)
        if first is not None and number < first:
            continue
        if held and number == window and not frame.starts_shot:
            frame.turns = held[-1].turns
        else:
            set_turns(frame)
        if held and number != window:
            yield Window(held, frame)
            held = []
        if last is not None and number > last:
            return
        held.append(frame)
        window = number
    if held:
        yield Window(held)


class Sampler:
    """Runs the detector on frames of windows. Several threads can share it.

    With `checker`, which returns YuNet, it can confirm frames. Without it, the detector searches all samples.
    """

    def __init__(self, detector: Detector, checker: Callable[[], Detector] | None = None):
        self._detector = detector
        self._checker = checker

    def sample(self, window: Window) -> None:
        """Sample the frames of the grid and at cuts, then between neighbors that disagree, round by round."""
        frames = _frames_of(window)
        ends, inner = {0, len(frames) - 1}, set()
        for n, (before, frame) in enumerate(pairwise(frames), start=1):
            if frame.starts_shot:
                ends |= {n - 1, n}
            elif frame.slot != before.slot:
                inner.add(n)
        inner -= ends
        self._detect([frames[n] for n in sorted(ends)])
        in_doubt = [
            n
            for one, other in _gaps_between(frames, ends)
            if (between := sorted(n for n in inner if one < n < other))
            if not self._confirm(frames[one], [frames[n] for n in between], frames[other])
            for n in between
        ]
        self._detect([frames[n] for n in in_doubt])
        self._fill_gaps(frames, _gaps_between(frames, ends | inner))

    def _confirm(self, one: ReducedFrame, between: Sequence[ReducedFrame], other: ReducedFrame) -> bool:
        """Search the frames between two samples with YuNet. Return whether they show the faces of the samples alone.

        Only faces are confirmed, not their absence. A crowd or a turned face is not, because YuNet misses more there.
        """
        faces = [len(self._confident_faces(end)) for end in (one, other)]
        if self._checker is None or not 0 < min(faces) <= max(faces) < MIN_CROWD or one.turns or other.turns:
            return False
        for frame in between:
            frame.detections = self._find_known_faces(frame, self._checker(), _interpolate(one, frame, other))
        return all(self._samples_agree(*pair) for pair in pairwise([one, *between, other]))

    def _find_known_faces(
        self, frame: ReducedFrame, checker: Detector, known: Sequence[Detection]
    ) -> list[Detection]:
        """Return the faces that YuNet detects. A face in the place of a known one gets its size and score."""
        image = cv2.resize(
            frame.detector_image(), None, fx=CONFIRM_SCALE, fy=CONFIRM_SCALE, interpolation=cv2.INTER_AREA
        ).astype(np.uint8, copy=False)
        boxes = np.array([face.box for face in known], np.float32)
        found = []
        for small in checker.detect([image])[0]:
            face = small.scaled(frame.width / image.shape[1])
            shares = compute_overlaps(face.box, boxes)
            same = known[int(shares.argmax())]
            if shares.max() >= SAME_PLACE:
                found.append(_move_to(same, face))
            else:
                score = face.score * self._detector.confident_score / checker.confident_score
                found.append(replace(face, score=score))
        return found

    def _fill_gaps(self, frames: Sequence[ReducedFrame], gaps: Sequence[tuple[int, int]]) -> None:
        """Sample between neighbors that disagree, round by round."""
        while gaps:
            split = [
                (one, between, other)
                for one, other in gaps
                if (between := self._next_sample(frames, one, other)) is not None
            ]
            self._detect([frames[between] for _, between, _ in split])
            gaps = [gap for one, between, other in split for gap in ((one, between), (between, other))]

    def _next_sample(self, frames: Sequence[ReducedFrame], one: int, other: int) -> int | None:
        """Return the index of the frame between two samples to sample next, or None if there is no reason to."""
        if other - one < 2:
            return None
        frame = frames[one]
        if not self._samples_agree(frame, frames[other]):
            return (one + other) // 2
        first = one - (one > 0 and not frame.starts_shot)
        last = other + (other + 1 < len(frames) and not frames[other + 1].starts_shot)
        thumbnails = [near.thumbnail for near in frames[first : last + 1]]
        size = (frame.width, frame.height)
        faces = [face_slices(face, size, frame.thumbnail) for face in self._confident_faces(frame)]
        brief = find_brief_appearance(thumbnails, one - first, other - first, faces)
        return None if brief is None else first + brief

    def _detect(self, frames: Sequence[ReducedFrame]) -> None:
        started = [frame for frame in frames if frame.try_start()]
        failure: BaseException | None = None
        try:
            images = [frame.detector_image() for frame in started]
            results = detect_in_turns(self._detector, images, [frame.turns for frame in started])
            for frame, image, found in zip(started, images, results, strict=True):
                frame.set_result(found, image.shape[1] / frame.width)
        except BaseException as error:
            failure = error
            raise
        finally:
            for frame in started:
                frame.finish(failure)
        for frame in frames:
            frame.wait()

    def _samples_agree(self, one: ReducedFrame, other: ReducedFrame) -> bool:
        return self._shows_faces_of(other, one) and self._shows_faces_of(one, other)

    def _confident_faces(self, frame: ReducedFrame) -> list[Detection]:
        return [face for face in frame.detections or () if face.score >= self._detector.confident_score]

    def _shows_faces_of(self, frame: ReducedFrame, other: ReducedFrame) -> bool:
        """Return whether each confident face of `other` is at the same place in `frame`, with any score."""
        candidates = np.array([face.box for face in frame.detections or ()], np.float32).reshape(-1, 4)
        free = np.ones(len(candidates), bool)
        for face in self._confident_faces(other):
            shares = compute_overlaps(face.box, candidates) * free
            if not len(shares) or shares.max() < SAME_PLACE:
                return False
            free[int(shares.argmax())] = False
        return True


def _frames_of(window: Window) -> list[ReducedFrame]:
    return [*window.frames, window.following] if window.following else window.frames


def _gaps_between(frames: Sequence[ReducedFrame], sampled: Iterable[int]) -> list[tuple[int, int]]:
    """Return the pairs of neighboring samples in one shot."""
    return [(one, other) for one, other in pairwise(sorted(sampled)) if not frames[other].starts_shot]


def _interpolate(one: ReducedFrame, frame: ReducedFrame, other: ReducedFrame) -> list[Detection]:
    """Return the faces of both samples, those in the same place once, where they are expected in the frame between."""
    share = float((frame.seconds - one.seconds) / (other.seconds - one.seconds))
    later, faces = list(other.detections or ()), []
    for face in one.detections or ():
        overlaps = compute_overlaps(face.box, np.array([end.box for end in later], np.float32).reshape(-1, 4))
        if len(overlaps) and overlaps.max() >= SAME_PLACE:
            end = later.pop(int(overlaps.argmax()))
            box = ((1 - share) * face.box + share * end.box).astype(np.float32)
            face = Detection(box, max(face.score, end.score), face.landmarks)
        faces.append(face)
    return faces + later


def _move_to(known: Detection, face: Detection) -> Detection:
    """Return the known face in the place of `face`, unless the difference is within the error of YuNet."""
    shift = (face.box - known.box).reshape(2, 2).mean(axis=0)
    if np.linalg.norm(shift) <= MAX_ERROR * np.sqrt(box_areas(known.box)):
        return known
    return replace(known, box=known.box + np.tile(shift, 2))
