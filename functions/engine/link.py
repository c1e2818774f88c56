"""The light pass between finding and hiding: tracks through the whole video, and one decision for each.

It sees all segments' findings, so where segments meet nothing is decided twice. It needs no model and no picture.
"""

from collections.abc import Callable, Iterable

from functions.engine import faces
from functions.engine.detect import Array
from functions.engine.errors import EngineError, VideoError
from functions.engine.faces import Faces
from functions.engine.findings import Findings
from functions.engine.gallery import Gallery
from functions.engine.identity import (
    Decision,
    decide,
    keep_distance_of,
    nearest_target,
    warnings_about,
)
from functions.engine.options import Options
from functions.engine.track import Track, Tracker


def link(
    findings: Iterable[Findings],
    gallery: Gallery | None,
    options: Options,
    progress: Callable[[], None] = lambda: None,
) -> Faces:
    """Link the sightings of all segments, given in the order of time, and decide who is kept.

    Takes one segment's findings at a time. `progress` is called often, and may raise to stop. Raises EngineError if
    they do not belong together.
    """
    limit = keep_distance_of(options)
    first: Findings | None = None
    tracker: Tracker | None = None
    frames, looks = 0, 0
    shots: list[int] = []
    for part in findings:
        progress()
        if first is None or tracker is None:
            first, tracker = part, Tracker(_seconds_of(part), part.sure, distance_to(gallery, limit))
        _require_same_means(first, part)
        if not first.width:  # a segment without a frame of its own knows no size
            first = part
        for sighting in part.sightings:
            tracker.take(sighting)
        shots += [sighting.pts for sighting in part.sightings if sighting.starts_shot]
        tracker.pack()
        frames += part.frames
        looks += len(part.sightings)
    if first is None or tracker is None or not frames:
        raise VideoError("it shows no frame. Export it again.")
    if gallery is not None and gallery.people and gallery.recognizer != first.recognizer:
        raise EngineError(
            f"the gallery was made with {gallery.recognizer}, the faces found with {first.recognizer}."
        )
    decisions = decide(tracker.tracks, gallery, limit, progress)
    return Faces(
        version=faces.VERSION,
        detector=first.detector,
        recognizer=first.recognizer,
        keep_distance=limit,
        width=first.width,
        height=first.height,
        time_base=f"{first.time_base.numerator}/{first.time_base.denominator}",
        frames=frames,
        looks=looks,
        shots=tuple(shots),
        warnings=warnings_about(tracker.tracks, decisions, gallery, limit, progress),
        tracks=tuple(
            reported(track, decision, limit)
            for track, decision in zip(tracker.tracks, decisions, strict=True)
        ),
    )


def _seconds_of(part: Findings) -> Callable[[int], float]:
    return lambda units: float(units * part.time_base)


def distance_to(gallery: Gallery | None, keep_distance: float) -> Callable[[Array], float] | None:
    """What tells a `Tracker` how far an embedding is from the targets; None where there are none."""
    if gallery is None or not gallery.people:
        return None
    return lambda embedding: nearest_target(embedding, gallery) / keep_distance


def _require_same_means(one: Findings, other: Findings) -> None:
    for name in ("detector", "recognizer", "time_base"):
        if getattr(one, name) != getattr(other, name):
            raise EngineError(
                f"two segments were searched with another {name}: "
                f"{getattr(one, name)} and {getattr(other, name)}. Drop the video again."
            )


def reported(track: Track, decision: Decision, limit: float) -> faces.Track:
    """A track and its decision as the report has them."""
    distance = decision.distance
    return faces.Track(
        id=track.id,
        start=track.first,
        end=track.last,
        decision="keep" if decision.keep else "hide",
        person=decision.person if decision.keep else None,
        reason=decision.reason,
        distance=None if distance is None else round(distance, 4),
        margin=None if distance is None else round(limit - distance, 4),
        continues=track.continues,
        looks=track.looks,
    )
