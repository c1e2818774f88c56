"""Tests of the first pass: which faces are embedded. Simple classes replace the models."""

import weakref
from collections import defaultdict
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from threading import get_ident

import numpy as np
import pytest

from defacer.engine.media.reader import Segment
from defacer.engine.models.arrays import Array, Detection, Image
from defacer.engine.recognition.gallery import Gallery
from defacer.engine.tracking.detection_pass import Targets, detect_segment, detect_subsegments, prominence
from defacer.engine.tracking.identity import Limits
from defacer.engine.tracking.segment_detections import SegmentDetections
from tests.clips import Clip, frame_times, write_clip

LIMITS = Limits.of("sface", 0.97)
WINDOW_SECONDS = Fraction(3, 5)


class OneFace:
    """Detects the same face in every image."""

    def __init__(self, width: float = 60):
        self._width = width

    name = "one"
    confident_score = 0.3

    def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
        box = np.array([100, 50, 100 + self._width, 120], np.float32)
        return [[Detection(box, 0.9, np.tile(box[:2], (5, 1)))] for _ in images]


class SameEmbedding:
    """Returns the same embedding for every crop, at a known distance from the target's."""

    version = "test/1"

    def __init__(self, distance: float):
        angle = 2 * np.arcsin(distance / 2)
        self.embedding = np.zeros(128, np.float32)
        self.embedding[:2] = np.cos(angle), np.sin(angle)

    def crop(self, image: Image, face: Detection) -> Image:
        assert image.dtype == np.uint8
        return image[:1, :1]

    def embed(self, crops: list[Image]) -> tuple[Array, Array]:
        return np.tile(self.embedding, (len(crops), 1)), np.full(len(crops), 0.7, np.float32)


class LiveImages(SameEmbedding):
    """Counts the full images in memory of each thread, in each crop."""

    def __init__(self) -> None:
        super().__init__(0.5)
        self.counts: list[int] = []
        self._images: dict[int, list[weakref.ref[Image]]] = defaultdict(list)

    def crop(self, image: Image, face: Detection) -> Image:
        images = self._images[get_ident()]
        images.append(weakref.ref(image))
        self.counts.append(len({id(one()) for one in images if one() is not None}))
        return super().crop(image, face).copy()


def detect_clip(
    clip: Path,
    distance: float,
    start: int | None = None,
    end: int | None = None,
    width: float = 60,
    every_view: bool = False,
) -> SegmentDetections:
    target = np.zeros((1, 128), np.float32)
    target[0, 0] = 1
    recognizer = SameEmbedding(distance)
    targets = Targets(Gallery(("ann",), target, "test/1"), recognizer, LIMITS, every_view)  # type: ignore[arg-type]
    return detect_segment(Segment(str(clip), start, end), OneFace(width), targets)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("find") / "in.mp4", Clip(seconds=3))


def embedded(findings: SegmentDetections) -> list[int]:
    return [sample.pts for sample in findings.samples for face in sample.faces if face.embedding is not None]


def test_face_unlike_all_targets_is_embedded_once_in_a_window(clip: Path) -> None:
    findings = detect_clip(clip, 1.3)
    windows = [pts * findings.time_base // WINDOW_SECONDS for pts in embedded(findings)]
    assert windows == sorted(set(windows)) == list(range(5))


@pytest.mark.parametrize("distance", [0.2, 0.97, 1.15])
def test_every_view_of_a_face_like_a_target_is_embedded(clip: Path, distance: float) -> None:
    findings = detect_clip(clip, distance)
    assert embedded(findings) == [sample.pts for sample in findings.samples]


def test_every_view_is_embedded_on_request(clip: Path) -> None:
    findings = detect_clip(clip, 1.3, every_view=True)
    assert embedded(findings) == [sample.pts for sample in findings.samples]


def test_embedded_view_has_the_recognizers_quality(clip: Path) -> None:
    faces = [face for sample in detect_clip(clip, 1.3).samples for face in sample.faces]
    assert {round(face.quality, 3) for face in faces if face.embedding is not None} == {0.7}


def test_one_full_image_at_a_time_is_in_memory(clip: Path) -> None:
    recognizer = LiveImages()
    gallery = Gallery(("ann",), recognizer.embedding[None], "test/1")
    targets = Targets(gallery, recognizer, LIMITS)  # type: ignore[arg-type]
    detect_segment(Segment(str(clip)), OneFace(), targets)
    assert len(recognizer.counts) > 10
    assert max(recognizer.counts) == 1


@pytest.mark.parametrize("distance", [0.2, 1.3])
def test_segments_embed_the_same_views_as_the_whole_video(clip: Path, distance: float) -> None:
    times = frame_times(clip)
    bounds = [None, times[7], times[31], times[50], None]
    parts = [detect_clip(clip, distance, start, end) for start, end in pairwise(bounds)]
    assert [pts for part in parts for pts in embedded(part)] == embedded(detect_clip(clip, distance))
    assert sum(part.frames for part in parts) == len(times)


def test_face_too_small_for_recognition_is_not_embedded(clip: Path) -> None:
    assert not embedded(detect_clip(clip, 0.2, width=20))
    assert embedded(detect_clip(clip, 0.2, width=30))


def test_subsegments_of_a_long_video_equal_the_whole(tmp_path: Path) -> None:
    long = write_clip(tmp_path / "long.mp4", Clip(seconds=70, rate=5, audio=False))
    pieces = list(detect_subsegments(Segment(str(long)), OneFace(), None))
    whole = detect_segment(Segment(str(long)), OneFace(), None)
    assert [piece.frames for piece in pieces] == [300, 50]
    assert [s.pts for piece in pieces for s in piece.samples] == [s.pts for s in whole.samples]
    assert (whole.frames, whole.width, whole.height) == (350, 320, 180)


def test_segment_detections_are_equal_after_serialization(clip: Path) -> None:
    findings = detect_clip(clip, 0.97)
    again = SegmentDetections.from_bytes(findings.to_bytes())
    assert (again.frames, again.time_base, again.confident_score) == (
        findings.frames,
        findings.time_base,
        findings.confident_score,
    )
    assert embedded(again) == embedded(findings)
    assert "embedding" not in repr(again)


def test_frontal_or_large_face_is_more_prominent_than_profile_or_small_one() -> None:
    def face(side: float, nose: float = 0.5) -> Detection:
        points = np.array([[0.3, 0.4], [0.7, 0.4], [nose, 0.6], [0.35, 0.8], [0.65, 0.8]], np.float32)
        return Detection(np.array([0, 0, side, side], np.float32), 0.8, points * side)

    assert prominence(face(60)) > prominence(face(60, nose=0.0))
    assert prominence(face(80)) > prominence(face(20))
    assert prominence(face(60, nose=0.0)) > 0.3 * prominence(face(60))
