"""Choose the frames that the detector samples: few in a calm shot, and more where neighboring samples disagree.

Time is divided into slots of a fixed grid. The detector runs on the first frame of each slot, and on both sides of a
cut. Two neighboring samples disagree if a face appears, is lost, or moved too far. Then the frame in the middle is
sampled, until neighbors agree or are adjacent. A frame that shows something briefly is sampled too (see
brief_appearances.py).

A few slots make a window, and the samples of one round in it make one batch. The grid depends on presentation times
alone. No decision in a window depends on frames more than CONTEXT_SECONDS before it, or more than two frames after it.
So the same frames are sampled wherever reading began.
"""

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np

from defacer.engine.media.orientation import Orientation
from defacer.engine.models.arrays import Detection, Detector, compute_overlaps
from defacer.engine.runtime.prefetch import prefetch
from defacer.engine.tracking.brief_appearances import face_slices, find_brief_appearance
from defacer.engine.tracking.reduced_frame import CROP_SIDE, WINDOW_SECONDS, ReducedFrame, reduce_frames
from defacer.engine.tracking.shot_cuts import mark_cuts
from defacer.engine.tracking.turns.turned_views import detect_in_turns

FRAMES_AHEAD = 8  # frames that are decoded and reduced while the detector works
# Overlap (intersection over union) of one face in two samples that agree: it moves by 43 % of its size at most. So a
# mask that is interpolated between the samples covers 70 % of a face, even of a face that jumps.
SAME_PLACE = 0.4


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
) -> Generator[Window]:
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
    """Runs the detector on frames of windows. Several threads can share it."""

    def __init__(self, detector: Detector):
        self._detector = detector

    def sample(self, window: Window) -> None:
        """Sample the frames of the grid and at cuts, then between neighbors that disagree, round by round."""
        frames = [*window.frames, window.following] if window.following else window.frames
        ends = {0, len(frames) - 1}
        for n, (before, frame) in enumerate(pairwise(frames), start=1):
            if frame.starts_shot:
                ends |= {n - 1, n}
            elif frame.slot != before.slot:
                ends.add(n)
        self._detect([frames[n] for n in sorted(ends)])
        gaps = [(one, other) for one, other in pairwise(sorted(ends)) if not frames[other].starts_shot]
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
