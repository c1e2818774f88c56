"""Detect, link and decide in a live picture, which has no end: yield a snapshot after each window of frames.

Sampling, embeddings, tracks and decisions are those of `detection_pass.py` and `linking.py`, but only past frames are
known. So more faces are in doubt, and hidden. A track is kept once BEST_VIEWS views match a target, and as long as the
last views do not contradict them.
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property

import av

from defacer.engine.models.arrays import Detector
from defacer.engine.options import Options
from defacer.engine.rendering.masks import LEAD_SECONDS, MaskSchedule
from defacer.engine.runtime.prefetch import prefetch
from defacer.engine.tracking.detection_pass import Targets, frame_detections_of
from defacer.engine.tracking.identity import BEST_VIEWS, TrackDecision, decide_tracks, limits_of
from defacer.engine.tracking.linking import target_predicate, track_record
from defacer.engine.tracking.sampling import Sampler, Window, split_into_windows
from defacer.engine.tracking.tracker import LOST_SECONDS, Track, Tracker
from defacer.engine.tracking.turns.turn_finder import TurnFinder
from defacer.report.faces import Faces
from defacer.report.tracks import Reason

# Shorter than in a video file: a frame can be shown only after its window, and after LEAD_SECONDS more.
WINDOW_SECONDS = Fraction(1, 10)
WINDOWS_AHEAD = 1  # detected while the faces of the last window are embedded
FRAMES_AHEAD = 1
HISTORY_SECONDS = 10  # of detections, and of ended tracks
# A face that is detected again within this time was visible in between, but its path is known too late.
TAIL_SECONDS = LOST_SECONDS


@dataclass(frozen=True)
class LiveSnapshot:
    """The faces of the last seconds. All frames before the time `until` were searched."""

    until: int
    faces: Faces

    @cached_property
    def mask_schedule(self) -> MaskSchedule:
        """The masks. Ask for ascending times only."""
        return MaskSchedule(self.faces, TAIL_SECONDS)

    def covers(self, pts: int) -> bool:
        """Return whether a frame of that time can be shown.

        A mask begins LEAD_SECONDS before its face is first detected, and a face can first be detected at `until`.
        """
        return (self.until - pts) * Fraction(self.faces.time_base) > LEAD_SECONDS

    def counts(self, pts: int) -> tuple[int, int]:
        """Return the numbers of kept and of hidden faces at that time."""
        decisions = [track.decision for track in self.faces.tracks if track.start <= pts <= track.end]
        return decisions.count("keep"), decisions.count("hide")


def follow(
    frames: Iterable[av.VideoFrame],
    time_base: Fraction,
    detector: Detector,
    targets: Targets | None,
    checker: Callable[[], Detector],
) -> Iterator[LiveSnapshot]:
    """Yield a snapshot after each window of `frames`, which can arrive slowly.

    The frames are turned as a player shows them, and of one size. `checker` returns YuNet. Errors of the frames and of
    the models are raised as they are.
    """
    gallery = targets.gallery if targets else None
    recognizer = targets.recognizer.version if targets else None
    limits = targets.limits if targets else limits_of(Options())
    tracker = Tracker(
        lambda units: float(units * time_base), detector.confident_score, target_predicate(gallery, limits)
    )
    shots: list[int] = []
    for window in prefetch(_searched(frames, detector, checker), WINDOWS_AHEAD):
        last = window.frames[-1]
        for sample in frame_detections_of(window, detector.confident_score, targets):
            tracker.add_sample(sample)
            shots += [sample.pts] if sample.starts_shot else []
        before = last.pts - int(HISTORY_SECONDS / time_base)
        tracker.forget_before(before)
        shots = [shot for shot in shots if shot >= before]
        decisions = decide_tracks(tracker.tracks, gallery, limits)
        tracks = [
            track_record(track, _hide_in_doubt(track, decision), 0, limits.match, recognizer)
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


def _searched(
    frames: Iterable[av.VideoFrame], detector: Detector, checker: Callable[[], Detector]
) -> Generator[Window]:
    sampler, set_turns = Sampler(detector), TurnFinder(checker, detector).set_turns
    for window in split_into_windows(
        frames, seconds=WINDOW_SECONDS, frames_ahead=FRAMES_AHEAD, set_turns=set_turns
    ):
        sampler.sample(window)
        yield window


def _hide_in_doubt(track: Track, decision: TrackDecision) -> TrackDecision:
    """Return the decision, or one to hide if a track has few views or its last views are unlike the target."""
    ends = [end for _, end in decision.strangers]
    if decision.keep and (len(track.views) < BEST_VIEWS or len(track.detections) in ends):
        return replace(decision, keep=False, reason=Reason.NOT_ENOUGH_SEEN)
    return decision
