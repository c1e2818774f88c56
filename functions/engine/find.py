"""The first pass over a segment: look, and embed a few good crops of each face. Decides nothing (see link.py)."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from functions.engine.cuda import has_cuda
from functions.engine.detect import Array, Detection, Detector, Image
from functions.engine.embed import Recognizer
from functions.engine.findings import Face, Findings, Sighting
from functions.engine.gallery import Gallery
from functions.engine.identity import may_be_target
from functions.engine.memory import give_back
from functions.engine.orientation import Orientation, orientation_of
from functions.engine.parallel import in_order, usable_threads
from functions.engine.sample import CONTEXT_SECONDS, WINDOW_SECONDS, Sampler, View, Window, crop_side, windows
from functions.engine.track import Observation, Tracker
from functions.engine.video import Segment, first_frame, open_video, read_frames, time_base

LEAST_WIDTH = 24  # pixels of the displayed frame: a smaller face says nothing about who it is
PIECE_WINDOWS = 100
HORIZON_SECONDS = 5
GIVE_BACK_WINDOWS = 4  # each time costs some milliseconds


@dataclass(frozen=True)
class Targets:
    """Who is to be kept, by which recogniser, and how near to them a face must be.

    `every_view`: embed every view, so that the segment detections serve any gallery (`make quality` replays them).
    """

    gallery: Gallery
    recognizer: Recognizer
    keep_distance: float
    every_view: bool = False


@dataclass(frozen=True)
class _Seen:
    """What a window gave to the segment, and the width and height of its frames."""

    sightings: Sequence[Sighting]
    frames: int
    size: tuple[int, int]


def find(
    segment: Segment,
    detector: Detector,
    targets: Targets | None,
    progress: Callable[[int], None] = lambda _: None,
    past_damage: bool = False,
) -> Findings:
    """What is to be seen in the segment. Without `targets` nobody is embedded.

    Reads as much before and after the segment as its outermost windows need. `progress` gets the number of
    frames that went through, and may raise to stop. `past_damage`: see `read_frames`. Raises VideoError.
    """
    pieces = list(find_pieces(segment, detector, targets, progress, past_damage))
    sightings = tuple(sighting for piece in pieces for sighting in piece.sightings)
    return replace(pieces[-1], frames=sum(piece.frames for piece in pieces), sightings=sightings)


def find_pieces(
    segment: Segment,
    detector: Detector,
    targets: Targets | None,
    progress: Callable[[int], None] = lambda _: None,
    past_damage: bool = False,
) -> Iterator[Findings]:
    """As `find`, about a minute at a time: who links each piece and lets it go holds no video's embeddings."""
    with open_video(segment.source) as (container, stream):  # one reader at a time may use a file object
        base, side = time_base(stream), crop_side(stream)
        frame = first_frame(container, stream)
        orientation = Orientation() if frame is None else orientation_of(frame, stream.sample_aspect_ratio)
        del frame
    first, last = _window_of(segment.start, base), _window_of(segment.end, base, before=True)
    start = None if first is None else math.floor((first * WINDOW_SECONDS - Fraction(CONTEXT_SECONDS)) / base)
    sampler = Sampler(detector)

    def look(window: Window) -> _Seen:
        sampler.look(window)
        sightings = sightings_of(window, detector.sure, targets, segment.holds)
        own = [sighting for sighting in sightings if segment.holds(sighting.pts)]
        frames = sum(segment.holds(view.pts) for view in window.views)
        return _Seen(own, frames, (window.views[0].width, window.views[0].height))

    def piece(seen: Sequence[_Seen]) -> Findings:
        width, height = seen[-1].size if seen else (0, 0)
        return Findings(
            detector=detector.name,
            sure=detector.sure,
            recognizer=targets.recognizer.version if targets else None,
            width=width,
            height=height,
            time_base=base,
            frames=sum(window.frames for window in seen),
            sightings=tuple(sighting for window in seen for sighting in window.sightings),
        )

    frames_read = read_frames(
        segment.source,
        start,
        _horizon(last, base) if past_damage else None,
        [] if past_damage else None,
        lambda: progress(0),
    )
    parts = windows(frames_read, first, last, side, orientation)
    waiting: list[_Seen] = []
    frames = 0
    for number, seen in enumerate(in_order(look, parts, 1 if has_cuda() else usable_threads())):
        if len(waiting) == PIECE_WINDOWS:
            yield piece(waiting)
            waiting = []
        waiting.append(seen)
        frames += seen.frames
        progress(frames)
        if number % GIVE_BACK_WINDOWS == 0:
            give_back()
    yield piece(waiting)


def sightings_of(
    window: Window, sure: float, targets: Targets | None, holds: Callable[[int], bool] = lambda _: True
) -> list[Sighting]:
    """What was seen in a window that was looked at, with embeddings; of such times as `holds` says, all that help."""
    sightings = _sightings(window.views)
    return _with_embeddings(sightings, window.views, holds, sure, targets) if targets else sightings


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


def _horizon(last: int | None, base: Fraction) -> int | None:
    """A time well after the window `last`: reading past damage needs to know where to end."""
    return None if last is None else math.ceil(((last + 1) * WINDOW_SECONDS + HORIZON_SECONDS) / base)


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
    seen: Sequence[Sighting],
    window: Sequence[View],
    holds: Callable[[int], bool],
    sure: float,
    targets: Targets,
) -> list[Sighting]:
    """Embed the best view of each face in the window, and the others where that one leaves open who it is.

    The window's tracks are its own: which views are taken does not hang on what lies outside it.
    """
    tracker = Tracker(lambda _: 0.0, sure)  # a window is too short for a face to be lost in it
    for sighting in seen:
        tracker.take(sighting)
    detections = {
        id(face): (detection, view)
        for sighting, view in zip(seen, (view for view in window if view.detections is not None), strict=True)
        for face, detection in zip(sighting.faces, view.detections or (), strict=True)
    }
    best = [(track, track.clearest()) for track in tracker.tracks]
    first = [observation for _, observation in best if observation is not None and _is_large(observation)]
    embedded = _embeddings(first, detections, targets.recognizer)
    others = [
        observation
        for track, clearest in best
        if clearest and clearest in first
        if targets.every_view
        or may_be_target(embedded[id(clearest.face)], targets.gallery, targets.keep_distance)
        for observation in track.observations
        if observation is not clearest and not observation.contended and holds(observation.pts)
        if _is_large(observation)
    ]
    embedded |= _embeddings(others, detections, targets.recognizer)
    return [
        replace(
            sighting, faces=tuple(replace(face, embedding=embedded.get(id(face))) for face in sighting.faces)
        )
        for sighting in seen
    ]


def _is_large(observation: Observation) -> bool:
    return float(observation.box[2] - observation.box[0]) >= LEAST_WIDTH


def _embeddings(
    observations: Sequence[Observation],
    detections: Mapping[int, tuple[Detection, View]],
    recognizer: Recognizer,
) -> dict[int, Array]:
    """Return the embeddings by the id of the observed face: arrays cannot be compared, so faces cannot be keys."""
    images: dict[int, Image] = {}
    crops = []
    for observation in observations:
        detection, view = detections[id(observation.face)]
        if observation.pts not in images:
            images[observation.pts] = view.large()
        image = images[observation.pts]
        crops.append(recognizer.crop(image, detection.scaled(image.shape[1] / view.width)))
    faces = (id(observation.face) for observation in observations)
    return dict(zip(faces, recognizer.embed(crops), strict=True))
