"""Link the detections of all segments to tracks through the whole video, and decide each track once.

It reads all segments, so a face that crosses a segment boundary is one track. It needs no model and no picture.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import count, pairwise

from defacer.engine.errors import NO_FRAME, EngineError, VideoError
from defacer.engine.models.arrays import Array
from defacer.engine.options import Options
from defacer.engine.recognition.gallery import Gallery
from defacer.engine.recognition.recognition_levels import strangers_at
from defacer.engine.tracking.identity import (
    Limits,
    TrackDecision,
    decide_tracks,
    limits_of,
    may_be_target,
    warnings_about,
)
from defacer.engine.tracking.person_groups import person_groups, suggest_merges
from defacer.engine.tracking.segment_detections import SegmentDetections
from defacer.engine.tracking.tracker import Track, Tracker
from defacer.report import tracks as report_tracks
from defacer.report.faces import Faces
from defacer.report.tracks import Reason

MAX_GAP_SECONDS = 1  # between two tracks that are suggested as one person because of their place


def link_faces(
    segments: Iterable[SegmentDetections],
    gallery: Gallery | None,
    options: Options,
    progress: Callable[[], None] = lambda: None,
) -> Faces:
    """Link the detections of all segments, given in the order of time, and decide which tracks are kept.

    Reads one segment's detections at a time. `progress` is called often, and can raise to stop. Raises EngineError if
    the segments were searched with different models or settings.
    """
    limits = limits_of(options)
    first: SegmentDetections | None = None
    tracker: Tracker | None = None
    frames, sampled_frames = 0, 0
    start: int | None = None
    end: int | None = None
    shots: list[int] = []
    for part in segments:
        progress()
        if first is None or tracker is None:
            first, tracker = (
                part,
                Tracker(_seconds_of(part), part.confident_score, target_predicate(gallery, limits)),
            )
        _require_same_models(first, part)
        if not first.width:  # a segment without frames has no size
            first = part
        for sample in part.samples:
            tracker.add_sample(sample)
            start, end = sample.pts if start is None else start, sample.pts
        shots += [sample.pts for sample in part.samples if sample.starts_shot]
        tracker.compact()
        frames += part.frames
        sampled_frames += len(part.samples)
    if first is None or tracker is None or not frames:
        raise VideoError(NO_FRAME)
    if gallery is not None and gallery.people:
        gallery.require_recognizer(first.recognizer)
    tracks, decisions = split_off_strangers(
        tracker.tracks, decide_tracks(tracker.tracks, gallery, limits, progress)
    )
    groups = person_groups(tracks, decisions, limits, progress)
    return Faces(
        detector=first.detector,
        recognizer=first.recognizer,
        match_threshold=limits.match,
        width=first.width,
        height=first.height,
        time_base=f"{first.time_base.numerator}/{first.time_base.denominator}",
        frames=frames,
        sampled_frames=sampled_frames,
        start=start,
        end=end,
        cuts=tuple(shots),
        suggested_merges=suggest_merges(
            tracks, decisions, groups, limits, round(MAX_GAP_SECONDS / first.time_base), progress
        ),
        warnings=warnings_about(tracks, decisions, gallery, limits.match, progress),
        tracks=tuple(
            track_record(track, decision, group, limits.match, first.recognizer)
            for track, decision, group in zip(tracks, decisions, groups, strict=True)
        ),
    )


def _seconds_of(part: SegmentDetections) -> Callable[[int], float]:
    return lambda units: float(units * part.time_base)


def target_predicate(gallery: Gallery | None, limits: Limits) -> Callable[[Array], bool]:
    """Return a predicate for `Tracker`: whether an embedding can be a target's."""
    if gallery is None or not gallery.people:
        return lambda _: False
    return lambda embedding: may_be_target(embedding, gallery, limits)


def split_off_strangers(
    tracks: Sequence[Track], decisions: Sequence[TrackDecision]
) -> tuple[list[Track], list[TrackDecision]]:
    """Split off the parts of kept tracks whose views are unlike the target, and hide them."""
    found: list[tuple[Track, TrackDecision]] = []
    last_parts: dict[int | None, int] = {}  # a track's number to that of its last part
    numbers = count(1 + max((track.id for track in tracks), default=0))
    for track, decision in zip(tracks, decisions, strict=True):
        hidden = replace(decision, keep=False, reason=Reason.UNLIKE_TARGET)
        places = sorted({place for part in decision.strangers for place in part} - {0, len(track.detections)})
        starts = [0, *places]
        parts = [track]
        for before, place in pairwise(starts):
            parts.append(parts[-1].split(place - before, next(numbers)))
        strangers = {start for start, _ in decision.strangers}
        found += [
            (part, hidden if start in strangers else decision)
            for part, start in zip(parts, starts, strict=True)
        ]
        last_parts[track.id] = parts[-1].id
    for track in tracks:
        track.continues = last_parts.get(track.continues)
    return [track for track, _ in found], [decision for _, decision in found]


def _require_same_models(one: SegmentDetections, other: SegmentDetections) -> None:
    for name in ("detector", "recognizer", "time_base"):
        if getattr(one, name) != getattr(other, name):
            raise EngineError(
                f"two segments were searched with another {name}: "
                f"{getattr(one, name)} and {getattr(other, name)}. Process the video again."
            )


def track_record(
    track: Track, decision: TrackDecision, group: int, limit: float, recognizer: str | None
) -> report_tracks.TrackRecord:
    """Return the record of a track and its decision for the report."""
    distance = decision.distance
    return report_tracks.TrackRecord(
        id=track.id,
        start=track.first,
        end=track.last,
        decision="keep" if decision.keep else "hide",
        person=decision.person if decision.keep else None,
        reason=decision.reason,
        distance=None if distance is None else round(distance, 4),
        margin=None if distance is None else round(limit - distance, 4),
        strangers_per_10000=strangers_at(recognizer, distance),
        continues=track.continues,
        rival=decision.rival,
        detections=track.detections,
        group=group,
    )
