"""The first pass over a segment: look, and embed a few good crops of each face. Decides nothing (see link.py)."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np

from functions.engine.detect import Detection, Detector
from functions.engine.embed import FaceNet, crop_face
from functions.engine.findings import Face, Findings, Sighting
from functions.engine.sample import CUT_SECONDS, SLOT_SECONDS, WINDOW_SLOTS, Sampler, View
from functions.engine.track import Tracker
from functions.engine.video import Segment, open_video, read_frames, time_base

WINDOW_SECONDS = SLOT_SECONDS * WINDOW_SLOTS


def find(
    segment: Segment,
    detector: Detector,
    recognizer: FaceNet | None,
    progress: Callable[[int], None] = lambda _: None,
) -> Findings:
    """What is to be seen in the segment. Without `recognizer` nobody is embedded.

    Reads as much before and after the segment as its outermost windows need. `progress` gets the number of
    frames that went through, and may raise to stop. Raises VideoError.
    """
    with open_video(segment.source) as (_, stream):  # one reader at a time may use a file object
        base = time_base(stream)
    first, last = _window_of(segment.start, base), _window_of(segment.end, base, before=True)
    start = None if first is None else math.floor((first * WINDOW_SECONDS - Fraction(CUT_SECONDS)) / base)
    sightings: list[Sighting] = []
    frames, size = 0, (0, 0)
    for window in Sampler(detector).windows(read_frames(segment.source, start), first, last):
        seen = _sightings(window)
        if recognizer:
            seen = _with_embeddings(seen, window, segment, detector.sure, recognizer)
        sightings += [sighting for sighting in seen if segment.holds(sighting.pts)]
        frames += sum(segment.holds(view.pts) for view in window)
        size = (window[0].width, window[0].height)
        progress(frames)
    return Findings(
        detector=detector.name,
        sure=detector.sure,
        recognizer=recognizer.version if recognizer else None,
        width=size[0],
        height=size[1],
        time_base=base,
        frames=frames,
        sightings=tuple(sightings),
    )


def crop_quality(face: Detection) -> float:
    """How much a face says about who it is, 0..1: by size, by the detector's score, by how frontal it is."""
    left_eye, right_eye, nose = face.landmarks[:3]
    eyes = float(np.linalg.norm(right_eye - left_eye))
    width = float(face.box[2] - face.box[0])
    # Seen from the front the nose lies midway between the eyes, and these are far apart.
    middle = (left_eye + right_eye) / 2
    off = abs(float(nose[0] - middle[0])) / max(eyes, 1e-3)
    frontal = max(0.1, 1 - off) * min(1.0, eyes / max(0.4 * width, 1e-3))
    size = min(1.0, width / 80)
    return size * face.score * frontal


def _window_of(pts: int | None, base: Fraction, before: bool = False) -> int | None:
    """The number of the window that holds `pts`, or the time just `before` it."""
    if pts is None:
        return None
    return (math.ceil if before else math.floor)(pts * base / WINDOW_SECONDS) - before


def _sightings(window: Sequence[View]) -> list[Sighting]:
    return [
        Sighting(
            view.pts,
            view.starts_shot,
            tuple(Face(face.box, face.score, crop_quality(face)) for face in view.detections),
        )
        for view in window
        if view.detections is not None
    ]


def _with_embeddings(
    seen: Sequence[Sighting], window: Sequence[View], segment: Segment, sure: float, recognizer: FaceNet
) -> list[Sighting]:
    """Embed the best view of each face in the window, if the segment holds it.

    The window's tracks are its own: which views are taken does not hang on what lies outside it.
    """
    tracker = Tracker(float, sure)  # a window is too short for a face to be lost in it
    for sighting in seen:
        if sighting.starts_shot:
            tracker.cut()
        tracker.look(sighting.pts, sighting.faces)
    best = [track.clearest() for track in tracker.tracks]
    chosen = [view for view in best if view is not None and segment.holds(view.pts)]
    views = {view.pts: view for view in window}
    crops = []
    for observation in chosen:
        view = views[observation.pts]
        crops.append(crop_face(view.large, observation.face.box * (view.large.shape[1] / view.width)))
    embeddings = {id(o.face): embedding for o, embedding in zip(chosen, recognizer.embed(crops), strict=True)}
    return [
        replace(
            sighting,
            faces=tuple(replace(face, embedding=embeddings.get(id(face))) for face in sighting.faces),
        )
        for sighting in seen
    ]
