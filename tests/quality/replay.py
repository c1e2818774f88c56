"""A clip that is detected and embedded once: decisions for any target, without a further search."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np

from defacer.engine.engine import Engine
from defacer.engine.media.joiner import SegmentFile, join_files
from defacer.engine.media.reader import Segment
from defacer.engine.options import Options
from defacer.engine.recognition.gallery import Gallery
from defacer.engine.rendering.redact_segment import redact_segment
from defacer.engine.tracking import detection_pass, shot_cuts
from defacer.engine.tracking.identity import limits_of
from defacer.engine.tracking.linking import link_faces
from defacer.engine.tracking.segment_detections import DetectedFace, FrameDetections, SegmentDetections
from defacer.report.faces import Faces
from tests.quality.clips import Clip, Truth
from tests.quality.grades import Grades, grades_of

_add_embeddings = detection_pass.add_embeddings


@dataclass(frozen=True)
class _Window:
    """The samples of a window, without embeddings and with the embedding of every view."""

    bare: Sequence[FrameDetections]
    embedded: Sequence[FrameDetections]

    def faces(self) -> dict[int, DetectedFace]:
        """Return the embedded faces by the id of the bare ones."""
        pairs = zip(self.bare, self.embedded, strict=True)
        return {
            id(face): known
            for one, other in pairs
            for face, known in zip(one.faces, other.faces, strict=True)
        }


class Replay:
    """The detections of a clip with the embedding of every view: biometric data, held in memory."""

    def __init__(self, clip: Clip, engine: Engine, options: Options, *, has_cuts: bool = True):
        self.clip = clip
        self._options = options
        self._recognizer = engine.recognizer(options.recognizer)
        self._windows: list[_Window] = []
        no_one = Gallery((), np.zeros((0, 0), np.float32), self._recognizer.version)
        targets = replace(self._targets(no_one), every_view=True)
        record = patch.object(detection_pass, "add_embeddings", self._embed_and_record)
        with record, nullcontext() if has_cuts else _without_cut_detector():
            self.found = detection_pass.detect_segment(
                Segment(str(clip.video)), engine.detector(options.detector), targets
            )

    def decide(self, gallery: Gallery | None) -> Faces:
        """Return the tracks and decisions that production reaches with these targets."""
        if gallery is None:
            return link_faces([self.found], None, self._options)
        targets = self._targets(gallery)
        samples: list[FrameDetections] = []
        for window in sorted(self._windows, key=lambda window: window.bare[0].pts):
            known = window.faces()
            samples += detection_pass.add_embeddings(
                window.bare,
                self.found.confident_score,
                targets,
                lambda _: True,
                lambda faces, known=known: [known[id(face)] for face in faces],  # type: ignore[misc]
            )
        found = replace(self.found, samples=tuple(samples))
        # Between the steps of a job, embeddings have 16 bits.
        return link_faces([SegmentDetections.from_bytes(found.to_bytes())], gallery, self._options)

    def _targets(self, gallery: Gallery) -> detection_pass.Targets:
        return detection_pass.Targets(gallery, self._recognizer, limits_of(self._options))

    def _embed_and_record(self, seen: Sequence[FrameDetections], *arguments: Any) -> list[FrameDetections]:
        """Replace `find.add_embeddings`: do the same, and remember the input."""
        embedded = _add_embeddings(seen, *arguments)
        self._windows.append(_Window(seen, embedded))
        return embedded


def grade(
    video: Path, faces: Faces, truth: Truth, folder: Path, score: ModuleType, *, hides_all: bool = False
) -> Grades:
    """Render the video with these decisions into `folder`, and grade the result."""
    nut, out = folder / "segment.nut", folder / "out.mp4"
    written = redact_segment(Segment(str(video)), faces, str(nut), Options())
    join_files(str(video), [SegmentFile.from_path(str(nut), written)], out)
    return grades_of(truth, video, out, score, hides_all=hides_all)


def _without_cut_detector() -> AbstractContextManager[object]:
    """Switch the cut detector off, so that identity alone has to notice another person in the same place."""
    return patch.object(shot_cuts, "CUT_DIFFERENCE", float("inf"))
