"""Find and link where a video has no end: what is known so far, told anew after each window of a live picture.

The same looks, embeddings, tracks and decisions as in `find.py` and `link.py`, but of what has been seen until now. So
more is in doubt, and hidden: a track is kept when as many views as a decision takes say that it is a target's, and
not while one of them says otherwise.
"""

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property

import av

from defacer.engine.models.arrays import Detector
from defacer.engine.options import Options
from defacer.engine.recognition.identity import BEST_VIEWS, Decision, decide, limits_of
from defacer.engine.rendering.masks import LEAD_SECONDS, MaskSchedule
from defacer.engine.runtime.prefetch import prefetch
from defacer.engine.tracking.detection_pass import Targets, frame_detections_of
from defacer.engine.tracking.linking import nearness, reported
from defacer.engine.tracking.sampling import Sampler, Window, windows
from defacer.engine.tracking.tracker import LOST_SECONDS, Track, Tracker
from defacer.report.faces import Faces
from defacer.report.tracks import Reason

# Shorter than a video's: nothing is known of a frame before its window is over, and what LEAD_SECONDS follow it.
WINDOW_SECONDS = Fraction(1, 10)
WINDOWS_AHEAD = 1  # looked at while the last one's faces are embedded
VIEWS_AHEAD = 1
HISTORY_SECONDS = 10  # of boxes, and of tracks that ended
# A face that turns up again within this time was there all along: how it got there will be known too late.
TAIL_SECONDS = LOST_SECONDS


@dataclass(frozen=True)
class LiveSnapshot:
    """The faces of the last seconds. All that was to be seen before the time `until` was looked at."""

    until: int
    faces: Faces

    @cached_property
    def cover(self) -> MaskSchedule:
        """Where to hide; asked for times that do not go back."""
        return MaskSchedule(self.faces, TAIL_SECONDS)

    def decides(self, pts: int) -> bool:
        """Whether a frame of that time can be shown: a face that comes next is covered before it is first seen.

        Also one that is first seen at `until` itself, which was not looked at yet.
        """
        return (self.until - pts) * Fraction(self.faces.time_base) > LEAD_SECONDS

    def counts(self, pts: int) -> tuple[int, int]:
        """How many faces are kept and how many hidden at that time."""
        there = [track.decision for track in self.faces.tracks if track.start <= pts <= track.end]
        return there.count("keep"), there.count("hide")


def follow(
    frames: Iterable[av.VideoFrame], time_base: Fraction, detector: Detector, targets: Targets | None
) -> Iterator[LiveSnapshot]:
    """What is known after each window of `frames`, which may come as slowly as they like.

    They are upright and of one size. Raises what they and the models raise.
    """
    gallery = targets.gallery if targets else None
    recognizer = targets.recognizer.version if targets else None
    limits = targets.limits if targets else limits_of(Options())
    tracker = Tracker(lambda units: float(units * time_base), detector.sure, nearness(gallery, limits))
    shots: list[int] = []
    for window in prefetch(_looked_at(frames, detector), WINDOWS_AHEAD):
        last = window.views[-1]
        for sighting in frame_detections_of(window, detector.sure, targets):
            tracker.take(sighting)
            shots += [sighting.pts] if sighting.starts_shot else []
        before = last.pts - int(HISTORY_SECONDS / time_base)
        tracker.forget(before)
        shots = [shot for shot in shots if shot >= before]
        decisions = decide(tracker.tracks, gallery, limits)
        tracks = [
            reported(track, _in_doubt(track, decision), 0, limits.match, recognizer)
            for track, decision in zip(tracker.tracks, decisions, strict=True)
        ]
        yield LiveSnapshot(
            until=window.following.pts if window.following else last.pts,
            faces=Faces(
                detector=detector.name,
                recognizer=recognizer,
                match_threshold=limits.match,
                width=last.width,
                height=last.height,
                time_base=f"{time_base.numerator}/{time_base.denominator}",
                frames=0,
                sampled_frames=0,
                cuts=tuple(shots),
                tracks=tuple(tracks),
            ),
        )


def _looked_at(frames: Iterable[av.VideoFrame], detector: Detector) -> Generator[Window]:
    sampler = Sampler(detector)
    for window in windows(frames, seconds=WINDOW_SECONDS, views_ahead=VIEWS_AHEAD):
        sampler.look(window)
        yield window


def _in_doubt(track: Track, decision: Decision) -> Decision:
    """Return a decision to hide where little was seen, or where the last views are unlike the target."""
    ends = [end for _, end in decision.strangers]
    if decision.keep and (len(track.views) < BEST_VIEWS or len(track.looks) in ends):
        return replace(decision, keep=False, reason=Reason.NOT_ENOUGH_SEEN)
    return decision
