"""The first pass over a segment: look, and embed a few good crops of each face. Decides nothing (see link.py)."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from defacer.engine.media.orientation import Orientation, orientation_of
from defacer.engine.media.reader import Segment, first_frame, open_video, read_frames, time_base
from defacer.engine.models.arrays import Detection, Detector, Image
from defacer.engine.models.embedding import Recognizer
from defacer.engine.recognition.gallery import Gallery
from defacer.engine.recognition.identity import Limits, may_be_target
from defacer.engine.runtime.gpu import has_cuda
from defacer.engine.runtime.malloc import trim_heap
from defacer.engine.runtime.prefetch import map_ordered, usable_threads
from defacer.engine.tracking.sampling import Sampler, Window, windows
from defacer.engine.tracking.segment_detections import DetectedFace, FrameDetections, SegmentDetections
from defacer.engine.tracking.shot_cuts import CONTEXT_SECONDS
from defacer.engine.tracking.tracker import Observation, Tracker
from defacer.engine.tracking.views import WINDOW_SECONDS, View, crop_side

MIN_WIDTH = 24  # pixels of the displayed frame: a smaller face says nothing about who it is
PIECE_WINDOWS = 100
HORIZON_SECONDS = 5
GIVE_BACK_WINDOWS = 4  # each time costs some milliseconds


@dataclass(frozen=True)
class Targets:
    """The targets, the recogniser, and the distances that decide.

    `every_view`: embed every view, so that the segment detections serve any gallery (`make quality` replays them).
    """

    gallery: Gallery
    recognizer: Recognizer
    limits: Limits
    every_view: bool = False


@dataclass(frozen=True)
class _Seen:
    """What a window gave to the segment, and the width and height of its frames."""

    samples: Sequence[FrameDetections]
    frames: int
    size: tuple[int, int]


def detect_segment(
    segment: Segment,
    detector: Detector,
    targets: Targets | None,
    progress: Callable[[int], None] = lambda _: None,
    past_damage: bool = False,
) -> SegmentDetections:
    """What is to be seen in the segment. Without `targets` nobody is embedded.

    Reads as much before and after the segment as its outermost windows need. `progress` gets the number of
    frames that went through, and may raise to stop. `past_damage`: see `read_frames`. Raises VideoError.
    """
    pieces = list(detect_subsegments(segment, detector, targets, progress, past_damage))
    samples = tuple(sample for piece in pieces for sample in piece.samples)
    return replace(pieces[-1], frames=sum(piece.frames for piece in pieces), samples=samples)


def detect_subsegments(
    segment: Segment,
    detector: Detector,
    targets: Targets | None,
    progress: Callable[[int], None] = lambda _: None,
    past_damage: bool = False,
) -> Iterator[SegmentDetections]:
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
        samples = frame_detections_of(window, detector.confident_score, targets, segment.contains)
        own = [sample for sample in samples if segment.contains(sample.pts)]
        frames = sum(segment.contains(view.pts) for view in window.views)
        return _Seen(own, frames, (window.views[0].width, window.views[0].height))

    def piece(seen: Sequence[_Seen]) -> SegmentDetections:
        width, height = seen[-1].size if seen else (0, 0)
        return SegmentDetections(
            detector=detector.name,
            confident_score=detector.confident_score,
            recognizer=targets.recognizer.version if targets else None,
            width=width,
            height=height,
            time_base=base,
            frames=sum(window.frames for window in seen),
            samples=tuple(sample for window in seen for sample in window.samples),
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
    for number, seen in enumerate(map_ordered(look, parts, 1 if has_cuda() else usable_threads())):
        if len(waiting) == PIECE_WINDOWS:
            yield piece(waiting)
            waiting = []
        waiting.append(seen)
        frames += seen.frames
        progress(frames)
        if number % GIVE_BACK_WINDOWS == 0:
            trim_heap()
    yield piece(waiting)


def frame_detections_of(
    window: Window, sure: float, targets: Targets | None, holds: Callable[[int], bool] = lambda _: True
) -> list[FrameDetections]:
    """Return the detections of a sampled window, with embeddings where they help at times that `holds` accepts."""
    sampled = [view for view in window.views if view.detections is not None]
    samples = [
        FrameDetections(
            view.pts,
            view.starts_shot,
            tuple(DetectedFace(face.box, face.score, prominence(face)) for face in view.detections or ()),
        )
        for view in sampled
    ]
    if targets is None:
        return samples
    crops = {
        id(face): (view, detection)
        for view, sample in zip(sampled, samples, strict=True)
        for detection, face in zip(view.detections or (), sample.faces, strict=True)
    }

    def embed(faces: Sequence[DetectedFace]) -> list[DetectedFace]:
        return _embedded(faces, crops, targets.recognizer)

    return with_embeddings(samples, sure, targets, holds, embed)


def prominence(face: Detection) -> float:
    """Return how likely a view says who a face is, from 0 to 1: by its size, its score, and how frontal it is.

    It only chooses which view of a window is embedded first. A profile keeps a third of its value.
    """
    left_eye, right_eye, nose = face.landmarks[:3]
    eyes = float(np.linalg.norm(right_eye - left_eye))
    width = float(face.box[2] - face.box[0])
    # Seen from the front the nose lies midway between the eyes, and these are far apart.
    off = abs(float(nose[0] - (left_eye[0] + right_eye[0]) / 2)) / max(eyes, 1e-3)
    frontal = max(0.0, 1 - off) * min(1.0, eyes / max(0.4 * width, 1e-3))
    return min(1.0, width / 80) * face.score * (1 + 2 * frontal) / 3


def _window_of(pts: int | None, base: Fraction, before: bool = False) -> int | None:
    """The number of the window that holds `pts`, or the time just `before` it."""
    if pts is None:
        return None
    return (math.ceil if before else math.floor)(pts * base / WINDOW_SECONDS) - before


def _horizon(last: int | None, base: Fraction) -> int | None:
    """A time well after the window `last`: reading past damage needs to know where to end."""
    return None if last is None else math.ceil(((last + 1) * WINDOW_SECONDS + HORIZON_SECONDS) / base)


def with_embeddings(
    seen: Sequence[FrameDetections],
    sure: float,
    targets: Targets,
    holds: Callable[[int], bool],
    embed: Callable[[Sequence[DetectedFace]], Sequence[DetectedFace]],
) -> list[FrameDetections]:
    """Embed the best view of each face in a window, and all its views where that one is near a target.

    So each moment of a kept face has evidence of its own. The choice depends on this window alone, so it is the same
    for any segment boundaries.
    """
    tracker = Tracker(lambda _: 0.0, sure)  # a window is too short for a face to be lost in it
    for sample in seen:
        tracker.take(sample)
    best = [(track, track.best_observation()) for track in tracker.tracks]
    first = [(track, view) for track, view in best if view is not None and _is_large(view)]
    embedded = _by_identity([view.face for _, view in first], embed)
    others = [
        observation.face
        for track, view in first
        if targets.every_view or _may_be_target(embedded[id(view.face)], targets)
        for observation in track.observations
        if observation is not view and not observation.is_occluded and holds(observation.pts)
        if _is_large(observation)
    ]
    embedded |= _by_identity(others, embed)
    return [
        replace(sample, faces=tuple(embedded.get(id(face), face) for face in sample.faces)) for sample in seen
    ]


def _by_identity(
    faces: Sequence[DetectedFace], embed: Callable[[Sequence[DetectedFace]], Sequence[DetectedFace]]
) -> dict[int, DetectedFace]:
    """Return the embedded faces by the id of the given ones: arrays cannot be compared, so faces cannot be keys."""
    return {id(face): found for face, found in zip(faces, embed(faces), strict=True)}


def _may_be_target(face: DetectedFace, targets: Targets) -> bool:
    return face.embedding is not None and may_be_target(face.embedding, targets.gallery, targets.limits)


def _is_large(observation: Observation) -> bool:
    return float(observation.box[2] - observation.box[0]) >= MIN_WIDTH


def _embedded(
    faces: Sequence[DetectedFace], crops: Mapping[int, tuple[View, Detection]], recognizer: Recognizer
) -> list[DetectedFace]:
    """Return the faces with their embeddings, and with how clear they are as their quality."""
    images: dict[int, Image] = {}
    found = []
    for face in faces:
        view, detection = crops[id(face)]
        if view.pts not in images:
            images[view.pts] = view.large()
        image = images[view.pts]
        found.append(recognizer.crop(image, detection.scaled(image.shape[1] / view.width)))
    embeddings, clearness = recognizer.embed(found)
    return [
        replace(face, embedding=embedding, quality=float(quality))
        for face, embedding, quality in zip(faces, embeddings, clearness, strict=True)
    ]
