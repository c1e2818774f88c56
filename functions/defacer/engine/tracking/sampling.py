"""Choose which frames are sampled, seldom in a calm shot and more densely where neighbours disagree.

Time is cut into slots of a fixed grid. The detector runs on the first frame of each slot, and on both sides of a cut.
Where two neighbouring samples disagree (a face appears, is lost, or moved too far), the frame in the middle is sampled,
until neighbours agree or are adjacent. A frame that shows something for a moment is sampled too (see glimpse.py).

A few slots make a window, whose samples of one round are one batch. The grid depends on presentation times. No decision
in a window depends on frames more than CONTEXT_SECONDS before it, or more than two frames after it. So the same frames
are sampled wherever reading began.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np

from defacer.engine.media.orientation import Orientation
from defacer.engine.models.arrays import Detection, Detector, overlap
from defacer.engine.runtime.prefetch import prefetch
from defacer.engine.tracking.brief_appearances import find_brief_appearance, parts_of
from defacer.engine.tracking.shot_cuts import marking_cuts
from defacer.engine.tracking.views import CROP_SIDE, WINDOW_SECONDS, View, views_of

VIEWS_AHEAD = 8  # are made while the detector looks
SAME_PLACE = 0.5  # overlap (intersection over union) of one face in two looks that agree


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
    for view in marking_cuts(prefetch(views_of(frames, side, orientation), views_ahead)):
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
        glimpse = find_brief_appearance(thumbnails, one - first, other - first, faces)
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
        return [face for face in view.detections or () if face.score >= self._detector.confident_score]

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
