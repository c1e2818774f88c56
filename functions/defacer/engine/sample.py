"""Choose which frames are sampled, seldom in a calm shot and more densely where neighbours disagree.

Time is cut into slots of a fixed grid. The detector runs on the first frame of each slot, and on both sides of a cut.
Where two neighbouring samples disagree (a face appears, is lost, or moved too far), the frame in the middle is sampled,
until neighbours agree or are adjacent. A frame that shows something for a moment is sampled too (see glimpse.py).

A few slots make a window, whose samples of one round are one batch. The grid depends on presentation times. No decision
in a window depends on frames more than CONTEXT_SECONDS before it, or more than two frames after it. So the same frames
are sampled wherever reading began.
"""

import math
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from threading import Event, Lock, local

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from defacer.engine.ahead import ahead
from defacer.engine.detect import Array, Detection, Detector, Image, overlap
from defacer.engine.glimpse import find_glimpse, parts_of
from defacer.engine.hdr import to_sdr
from defacer.engine.orientation import Orientation

# Pixels, the long side of the frames that are looked at: half of the frame's, between these. So the least face that
# is found grows less than the picture, and looking stays a part of what decoding and encoding take.
LEAST_LOOK, MOST_LOOK = 640, 1280
CROP_SIDE = 1920  # pixels, the long side from which on frames are held smaller,
WINDOW_BYTES = 128_000_000  # or sooner, where more of them come in a window than this holds,
LEAST_CROP_SIDE = 320  # but never below this
VIEWS_AHEAD = 8  # are made while the detector looks
SLOT_SECONDS = Fraction(1, 5)
WINDOW_SECONDS = 3 * SLOT_SECONDS
SAME_PLACE = 0.5  # overlap (intersection over union) of one face in two looks that agree
CUT_SECONDS = 0.5  # a cut is told from what the picture did in this time before
CONTEXT_SECONDS = 2 * CUT_SECONDS  # each of the differences in it is that of two frames, as far apart at most
CUT_DIFFERENCE = 10.0  # mean grey-level difference of neighbouring thumbnails, of 255
CUT_RATIO = 4.0  # and this many times that of the frames before and after
THUMBNAIL = (64, 36)  # long and short side: a face of a tenth of the frame's height has 4 x 3 of its pixels
CUT_POOL = 2  # pixels of the thumbnail, in both directions: cuts are detected in a coarser one


class View:
    """One displayed frame as the first pass sees it, held with a long side of `side` pixels at most.

    `detections` are in displayed pixels, None until the detector has looked. `width` and `height` are those of the
    displayed frame; `thumbnail` (36, 64), or (64, 36) for a portrait frame, is grey and as displayed.
    """

    def __init__(
        self,
        frame: av.VideoFrame,
        side: int = CROP_SIDE,
        orientation: Orientation = Orientation(),  # noqa: B008
    ):
        self.pts = frame.pts or 0
        self.seconds = self.pts * Fraction(frame.time_base or 1)
        self.slot = int(self.seconds // SLOT_SECONDS)
        self.starts_shot = False
        self.detections: list[Detection] | None = None
        self._claim, self._seen = Lock(), Event()
        self._failure: BaseException | None = None
        self._orientation = orientation
        self.width, self.height = self._orientation.displayed_size(frame.width, frame.height)
        self._to_sdr = to_sdr(frame)
        self._frame = _at_most(frame, side)
        width, height = THUMBNAIL if frame.width >= frame.height else THUMBNAIL[::-1]
        grey = _scaling.to_thumbnail.reformat(
            self._frame, width, height, "gray", interpolation="AREA", threads=1
        )
        self.thumbnail: Array = self._orientation.displayed(
            grey.to_ndarray().astype(np.uint8, copy=False)
        ).astype(np.float32)
        self.coarse: Array = cv2.resize(
            self.thumbnail, None, fx=1 / CUT_POOL, fy=1 / CUT_POOL, interpolation=cv2.INTER_AREA
        ).astype(np.float32, copy=False)

    def large(self) -> Image:
        """The frame to take crops from: RGB uint8 (H, W, 3), as large as it is held."""
        plane = _scaling.to_rgb.reformat(self._frame, format="rgb24", threads=1).planes[0]
        rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)  # type: ignore[call-overload]
        image = rows[:, : plane.width * 3].reshape(plane.height, plane.width, 3)
        image = self._orientation.displayed(image)
        return image if self._to_sdr is None else cv2.LUT(image, self._to_sdr).astype(np.uint8, copy=False)

    def small(self) -> Image:
        """The frame as the detector looks at it: RGB uint8 (H, W, 3)."""
        large = self.large()  # scaling down what is RGB already is a third cheaper
        height, width = large.shape[:2]
        side = min(max(LEAST_LOOK, max(self.width, self.height) / 2), MOST_LOOK)
        scale = min(1.0, side / max(height, width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        return cv2.resize(large, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)

    def claim(self) -> bool:
        """Whether the caller is to look: two windows share the frame between them, and one looks for both."""
        return self._claim.acquire(blocking=False)

    def see(self, found: Sequence[Detection], scale: float) -> None:
        """Take what the detector found in the frame at `scale` times its displayed size."""
        self.detections = [face.scaled(1 / scale) for face in found]

    def end_look(self, failure: BaseException | None = None) -> None:
        """Let those go on who wait for the one who claimed this view."""
        self._failure = failure
        self._seen.set()

    def wait(self) -> None:
        """Until whoever claimed this view has looked. Raises what they met."""
        self._seen.wait()
        if self._failure is not None:
            raise self._failure


@dataclass(frozen=True)
class Window:
    """All frames of some slots, and the one that follows, if the video goes on."""

    views: list[View]
    following: View | None = None


def windows(
    frames: Iterable[av.VideoFrame],
    first: int | None = None,
    last: int | None = None,
    side: int = CROP_SIDE,
    orientation: Orientation = Orientation(),  # noqa: B008 - it is frozen
    seconds: Fraction = WINDOW_SECONDS,
    views_ahead: int = VIEWS_AHEAD,
) -> Iterator[Window]:
    """Part a video into windows, in order; frames are held with a long side of `side` pixels at most.

    Those before the one with the number `first` are only read, for the cuts; reading ends after `last`.
    """
    views: list[View] = []
    window = 0
    for view in _marking_cuts(ahead(_views(frames, side, orientation), views_ahead)):
        number = int(view.seconds // seconds)
        if first is not None and number < first:
            continue
        if views and number != window:
            yield Window(views, view)
            views = []
        if last is not None and number > last:
            return
        views.append(view)
        window = number
    if views:
        yield Window(views)


class Sampler:
    """Looks at windows. Several threads may share it."""

    def __init__(self, detector: Detector):
        self._detector = detector

    def look(self, window: Window) -> None:
        """Look at what the grid and the cuts ask for, then between neighbours that disagree, round by round."""
        views = [*window.views, window.following] if window.following else window.views
        ends = {0, len(views) - 1}
        for n, (before, view) in enumerate(pairwise(views), start=1):
            if view.starts_shot:
                ends |= {n - 1, n}
            elif view.slot != before.slot:
                ends.add(n)
        self._detect([views[n] for n in sorted(ends)])
        gaps = [(one, other) for one, other in pairwise(sorted(ends)) if not views[other].starts_shot]
        while gaps:
            split = [
                (one, between, other)
                for one, other in gaps
                if (between := self._next_sample(views, one, other)) is not None
            ]
            self._detect([views[between] for _, between, _ in split])
            gaps = [gap for one, between, other in split for gap in ((one, between), (between, other))]

    def _next_sample(self, views: Sequence[View], one: int, other: int) -> int | None:
        """Return which view between two samples to sample next, or None if they agree and nothing shows there."""
        if other - one < 2:
            return None
        view = views[one]
        if not self._agree(view, views[other]):
            return (one + other) // 2
        first = one - (one > 0 and not view.starts_shot)
        last = other + (other + 1 < len(views) and not views[other + 1].starts_shot)
        thumbnails = [near.thumbnail for near in views[first : last + 1]]
        faces = [parts_of(face, (view.width, view.height), view.thumbnail) for face in self._sure_faces(view)]
        glimpse = find_glimpse(thumbnails, one - first, other - first, faces)
        return None if glimpse is None else first + glimpse

    def _detect(self, views: Sequence[View]) -> None:
        mine = [view for view in views if view.claim()]
        failure: BaseException | None = None
        try:
            images = [view.small() for view in mine]
            for view, image, found in zip(mine, images, self._detector.detect(images), strict=True):
                view.see(found, image.shape[1] / view.width)
        except BaseException as error:
            failure = error
            raise
        finally:
            for view in mine:
                view.end_look(failure)
        for view in views:
            view.wait()

    def _agree(self, one: View, other: View) -> bool:
        return self._all_found(one, other) and self._all_found(other, one)

    def _sure_faces(self, view: View) -> list[Detection]:
        return [face for face in view.detections or () if face.score >= self._detector.sure]

    def _all_found(self, here: View, there: View) -> bool:
        """Every sure face of `here` is at the same place `there`, where a faint one is enough."""
        candidates = np.array([face.box for face in there.detections or ()], np.float32).reshape(-1, 4)
        free = np.ones(len(candidates), bool)
        for face in self._sure_faces(here):
            shares = overlap(face.box, candidates) * free
            if not len(shares) or shares.max() < SAME_PLACE:
                return False
            free[int(shares.argmax())] = False
        return True


def crop_side(stream: VideoStream) -> int:
    """How large the stream's frames are held: by its header, so that all segments' are of one size."""
    frames = max(1.0, float((stream.average_rate or 30) * WINDOW_SECONDS))
    samples = 1.5 if (stream.pix_fmt or "").endswith("420p") else 3  # bytes a pixel
    width, height = max(1, stream.width), max(1, stream.height)
    share = math.sqrt(WINDOW_BYTES / (frames * samples * width * height))
    return max(LEAST_CROP_SIDE, min(CROP_SIDE, round(max(width, height) * share)))


def _views(frames: Iterable[av.VideoFrame], side: int, orientation: Orientation) -> Generator[View]:
    for frame in frames:
        yield View(frame, side, orientation)


def _marking_cuts(views: Iterable[View]) -> Iterator[View]:
    """Mark the views that start a shot: there the picture jumps, and moves far less just before and after.

    So neither a fast pan nor a flash is a cut. Views more than CUT_SECONDS apart are not compared, because that
    would hang on where reading began.
    """
    recent: list[tuple[Fraction, float]] = []
    waiting: tuple[View, float | None] | None = None
    for view, difference in _with_differences(views):
        if waiting:
            _mark_cut(*waiting, recent, difference)
            yield waiting[0]
        waiting = view, difference
    if waiting:
        _mark_cut(*waiting, recent, None)
        yield waiting[0]


def _with_differences(views: Iterable[View]) -> Iterator[tuple[View, float | None]]:
    """Each view with the mean grey-level difference of its thumbnail from the one before, if that is near."""
    last: View | None = None
    for view in views:
        near = last is not None and view.seconds - last.seconds <= CUT_SECONDS
        yield (
            view,
            float(np.abs(view.coarse - last.coarse).mean()) if last is not None and near else None,
        )
        last = view


def _mark_cut(
    view: View, difference: float | None, recent: list[tuple[Fraction, float]], following: float | None
) -> None:
    """Mark `view` by its difference, those of CUT_SECONDS before it (kept in `recent`) and the one after it."""
    if difference is None:
        return
    recent[:] = [item for item in recent if view.seconds - item[0] <= CUT_SECONDS]
    before = [item[1] for item in recent] or [0.0]
    usual = max(float(np.median(before)), before[-1], following or 0.0)
    view.starts_shot = difference > max(CUT_DIFFERENCE, CUT_RATIO * usual)
    recent.append((view.seconds, difference))


class _Scaling(local):
    """Each thread's: a frame's own would be made for it anew, with threads, and be held as long as the frame."""

    def __init__(self) -> None:
        self.to_smaller, self.to_thumbnail, self.to_rgb = (VideoReformatter() for _ in range(3))


_scaling = _Scaling()


def _at_most(frame: av.VideoFrame, side: int) -> av.VideoFrame:
    """The frame, made smaller where its long side exceeds `side` pixels."""
    scale = side / max(frame.width, frame.height)
    if scale >= 1:
        return frame
    width, height = max(1, round(frame.width * scale)), max(1, round(frame.height * scale))
    return _scaling.to_smaller.reformat(frame, width, height, interpolation="AREA")
