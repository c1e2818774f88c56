"""The first pass over a segment: sample its frames, detect faces, and embed a few good crops of each face.

It decides nothing: linking.py does, when it has the detections of all segments.
"""

import math
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain, groupby

import numpy as np

from defacer.engine.media.display.picture_form import FormConverter
from defacer.engine.media.reader import (
    Segment,
    first_frame,
    form_of_first,
    open_video,
    read_frames,
    time_base,
)
from defacer.engine.models.arrays import Detection, Detector, Image
from defacer.engine.models.embedding import Recognizer
from defacer.engine.recognition.gallery import Gallery
from defacer.engine.runtime.malloc import trim_heap
from defacer.engine.runtime.prefetch import map_ordered, usable_threads
from defacer.engine.tracking.identity import Limits, may_be_target
from defacer.engine.tracking.reduced_frame import WINDOW_SECONDS, ReducedFrame, crop_side
from defacer.engine.tracking.sampling import Sampler, Window, ignore_turns, split_into_windows
from defacer.engine.tracking.segment_detections import DetectedFace, FrameDetections, SegmentDetections
from defacer.engine.tracking.shot_cuts import CONTEXT_SECONDS
from defacer.engine.tracking.tracker import Observation, Tracker
from defacer.engine.tracking.turns.turn_finder import TURN_WINDOWS, TurnFinder

MIN_WIDTH = 24  # pixels of the displayed frame: smaller faces cannot be recognized
SUBSEGMENT_WINDOWS = 100
MAX_READ_BEYOND_SECONDS = 5  # after a segment whose damaged frames are skipped
TRIM_INTERVAL = 4  # windows: trimming the heap takes some milliseconds


@dataclass(frozen=True)
class Targets:
    """The targets, the recognizer, and the distances that decide.

    With `every_view` all views are embedded, so that the segment detections can be compared with any gallery
    (`make quality` replays them).
    """

    gallery: Gallery
    recognizer: Recognizer
    limits: Limits
    every_view: bool = False


@dataclass(frozen=True)
class _WindowResult:
    """A window's samples and number of frames in the segment, and the width and height of its frames."""

    samples: Sequence[FrameDetections]
    frames: int
    size: tuple[int, int]


def detect_segment(
    segment: Segment,
    detector: Detector,
    targets: Targets | None,
    progress: Callable[[int], None] = lambda _: None,
    past_damage: bool = False,
    checker: Callable[[], Detector] | None = None,
) -> SegmentDetections:
    """Return all detections of the segment. Without `targets` no face is embedded.

    Reads as much before and after the segment as its outermost windows need. `progress` gets the number of frames so
    far, and can raise to stop. With `past_damage` damaged frames are skipped (see `read_frames`). With `checker`, which
    returns YuNet, faces that are not upright are searched too. Raises VideoError.
    """
    subsegments = list(detect_subsegments(segment, detector, targets, progress, past_damage, checker))
    samples = tuple(sample for subsegment in subsegments for sample in subsegment.samples)
    frames = sum(subsegment.frames for subsegment in subsegments)
    return replace(subsegments[-1], frames=frames, samples=samples)


def detect_subsegments(
    segment: Segment,
    detector: Detector,
    targets: Targets | None,
    progress: Callable[[int], None] = lambda _: None,
    past_damage: bool = False,
    checker: Callable[[], Detector] | None = None,
) -> Iterator[SegmentDetections]:
    """Yield the detections of the segment, about a minute at a time. The arguments are those of `detect_segment`.

    A caller that links each subsegment before it takes the next one never holds the embeddings of a whole video.
    """
    with open_video(segment.source) as (container, stream):  # a file object has one reader at a time
        base, side = time_base(stream), crop_side(stream)
        form = form_of_first(first_frame(container, stream), segment.source, container, stream)
    first, last = _window_number(segment.start, base), _window_number(segment.end, base, before=True)
    sampler = Sampler(detector)

    def detect(window: Window) -> _WindowResult:
        sampler.sample(window)
        samples = frame_detections_of(window, detector.confident_score, targets, segment.contains)
        own = [sample for sample in samples if segment.contains(sample.pts)]
        frames = sum(segment.contains(frame.pts) for frame in window.frames)
        return _WindowResult(own, frames, (window.frames[0].width, window.frames[0].height))

    def join(results: Sequence[_WindowResult]) -> SegmentDetections:
        width, height = results[-1].size if results else (0, 0)
        return SegmentDetections(
            detector=detector.name,
            confident_score=detector.confident_score,
            recognizer=targets.recognizer.version if targets else None,
            width=width,
            height=height,
            time_base=base,
            frames=sum(window.frames for window in results),
            samples=tuple(sample for window in results for sample in window.samples),
        )

    def read(begin: int | None, set_turns: Callable[[ReducedFrame], None]) -> Generator[Window]:
        start = (
            None if begin is None else math.floor((begin * WINDOW_SECONDS - Fraction(CONTEXT_SECONDS)) / base)
        )
        frames = read_frames(
            segment.source,
            start,
            _reading_limit(last, base) if past_damage else None,
            [] if past_damage else None,
            lambda: progress(0),
            FormConverter(form),
        )
        return split_into_windows(frames, begin, last, side, form.orientation, set_turns=set_turns)

    found = _windows_with_turns(read, first, checker, detector) if checker else read(first, ignore_turns)
    if first is not None:
        found = (window for window in found if window.frames[0].seconds >= first * WINDOW_SECONDS)
    results: list[_WindowResult] = []
    frames = 0
    # With a GPU, it computes for one window while the cores prepare the others.
    for number, result in enumerate(map_ordered(detect, found, usable_threads())):
        if len(results) == SUBSEGMENT_WINDOWS:
            yield join(results)
            results = []
        results.append(result)
        frames += result.frames
        progress(frames)
        if number % TRIM_INTERVAL == 0:
            trim_heap()
    yield join(results)


def _windows_with_turns(
    read: Callable[[int | None, Callable[[ReducedFrame], None]], Generator[Window]],
    first: int | None,
    checker: Callable[[], Detector],
    detector: Detector,
) -> Iterable[Window]:
    """Return the windows from the block of the turn finder that contains the window `first`.

    The block before is read, too, if the turns of the first frame depend on it.
    """
    finder = TurnFinder(checker, detector)
    begin = None if first is None else first - first % TURN_WINDOWS
    windows = read(begin, finder.set_turns)
    head = next(windows, None)
    if head is None or begin is None or not finder.needs_block_before:
        return chain([head] if head else [], windows)
    windows.close()  # a file object has one reader at a time
    return read(begin - TURN_WINDOWS, TurnFinder(checker, detector).set_turns)


def frame_detections_of(
    window: Window, sure: float, targets: Targets | None, holds: Callable[[int], bool] = lambda _: True
) -> list[FrameDetections]:
    """Return the detections of a sampled window, with embeddings where they help.

    `holds` returns whether a time is in the segment: other frames are not embedded a second time.
    """
    sampled = [frame for frame in window.frames if frame.detections is not None]
    samples = [
        FrameDetections(
            frame.pts,
            frame.starts_shot,
            tuple(DetectedFace(face.box, face.score, prominence(face)) for face in frame.detections or ()),
        )
        for frame in sampled
    ]
    if targets is None:
        return samples
    crops = {
        id(face): (frame, detection)
        for frame, sample in zip(sampled, samples, strict=True)
        for detection, face in zip(frame.detections or (), sample.faces, strict=True)
    }

    def embed(faces: Sequence[DetectedFace]) -> list[DetectedFace]:
        return _embed_crops(faces, crops, targets.recognizer)

    return add_embeddings(samples, sure, targets, holds, embed)


def prominence(face: Detection) -> float:
    """Return how well a face can probably be recognized, from 0 to 1: by its size, its score, and how frontal it is.

    The value only chooses which view of a window is embedded first. A profile keeps a third of its value.
    """
    left_eye, right_eye, nose = face.landmarks[:3]
    eyes = float(np.linalg.norm(right_eye - left_eye))
    width = float(face.box[2] - face.box[0])
    # In a frontal view the nose is midway between the eyes, and the eyes are far apart.
    along = (right_eye - left_eye) / max(eyes, 1e-3)  # the face can be sideways
    off = abs(float((nose - (left_eye + right_eye) / 2) @ along)) / max(eyes, 1e-3)
    frontal = max(0.0, 1 - off) * min(1.0, eyes / max(0.4 * width, 1e-3))
    return min(1.0, width / 80) * face.score * (1 + 2 * frontal) / 3


def _window_number(pts: int | None, base: Fraction, before: bool = False) -> int | None:
    """Return the number of the window that contains `pts`, or the time just `before` it."""
    if pts is None:
        return None
    return (math.ceil if before else math.floor)(pts * base / WINDOW_SECONDS) - before


def _reading_limit(last: int | None, base: Fraction) -> int | None:
    """Return a time well after the window `last`, because reading past damage needs an end."""
    return None if last is None else math.ceil(((last + 1) * WINDOW_SECONDS + MAX_READ_BEYOND_SECONDS) / base)


def add_embeddings(
    samples: Sequence[FrameDetections],
    sure: float,
    targets: Targets,
    holds: Callable[[int], bool],
    embed: Callable[[Sequence[DetectedFace]], Sequence[DetectedFace]],
) -> list[FrameDetections]:
    """Embed the best view of each face in a window, and all its views where that one is near a target.

    So each part of a kept track has its own evidence. The choice depends on this window alone, so it is the same for
    any segment boundaries.
    """
    tracker = Tracker(lambda _: 0.0, sure)  # in a window no face is lost for too long
    for sample in samples:
        tracker.add_sample(sample)
    best = [(track, track.best_observation()) for track in tracker.tracks]
    first = [(track, view) for track, view in best if view is not None and _is_large(view)]
    embedded = _map_by_id([view.face for _, view in first], embed)
    others = [
        observation.face
        for track, view in first
        if targets.every_view or _can_be_target(embedded[id(view.face)], targets)
        for observation in track.observations
        if observation is not view and not observation.is_occluded and holds(observation.pts)
        if _is_large(observation)
    ]
    embedded |= _map_by_id(others, embed)
    return [
        replace(sample, faces=tuple(embedded.get(id(face), face) for face in sample.faces))
        for sample in samples
    ]


def _map_by_id(
    faces: Sequence[DetectedFace], embed: Callable[[Sequence[DetectedFace]], Sequence[DetectedFace]]
) -> dict[int, DetectedFace]:
    """Return the embedded faces by the `id` of the given ones. Faces hold arrays, so they cannot be keys."""
    return {id(face): found for face, found in zip(faces, embed(faces), strict=True)}


def _can_be_target(face: DetectedFace, targets: Targets) -> bool:
    return face.embedding is not None and may_be_target(face.embedding, targets.gallery, targets.limits)


def _is_large(observation: Observation) -> bool:
    return float(observation.box[2] - observation.box[0]) >= MIN_WIDTH


def _embed_crops(
    faces: Sequence[DetectedFace], crops: Mapping[int, tuple[ReducedFrame, Detection]], recognizer: Recognizer
) -> list[DetectedFace]:
    """Return the faces with their embeddings and their measured quality. One full image at a time is in memory."""
    found: dict[int, Image] = {}
    by_frame = sorted(faces, key=lambda face: crops[id(face)][0].pts)
    for frame, group in groupby(by_frame, lambda face: crops[id(face)][0]):
        image = frame.crop_image()
        for face in group:
            detection = crops[id(face)][1].scaled(image.shape[1] / frame.width)
            found[id(face)] = recognizer.crop(image, detection)
    embeddings, qualities = recognizer.embed([found[id(face)] for face in faces])
    return [
        replace(face, embedding=embedding, quality=float(quality))
        for face, embedding, quality in zip(faces, embeddings, qualities, strict=True)
    ]
