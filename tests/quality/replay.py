"""A clip that is detected and embedded once: decisions for any target, without a further search."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np

from defacer.engine import find, sample
from defacer.engine.deface import Engine
from defacer.engine.faces import Faces
from defacer.engine.findings import Face, Findings, Sighting
from defacer.engine.gallery import Gallery
from defacer.engine.hide import hide
from defacer.engine.identity import limits_of
from defacer.engine.join import SegmentFile, join_files
from defacer.engine.link import link
from defacer.engine.options import Options
from defacer.engine.video import Segment
from tests.quality.clips import Clip, Truth
from tests.quality.grades import Grades, grades_of

_with_embeddings = find.with_embeddings


@dataclass(frozen=True)
class _Window:
    """The sightings of a window, without embeddings and with the embedding of every view."""

    bare: Sequence[Sighting]
    embedded: Sequence[Sighting]

    def faces(self) -> dict[int, Face]:
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
        record = patch.object(find, "with_embeddings", self._embed_and_record)
        with record, nullcontext() if has_cuts else _without_cut_detector():
            self.found = find.find(Segment(str(clip.video)), engine.detector(options.detector), targets)

    def decide(self, gallery: Gallery | None) -> Faces:
        """Return the tracks and decisions that production reaches with these targets."""
        if gallery is None:
            return link([self.found], None, self._options)
        targets = self._targets(gallery)
        sightings: list[Sighting] = []
        for window in sorted(self._windows, key=lambda window: window.bare[0].pts):
            known = window.faces()
            sightings += find.with_embeddings(
                window.bare,
                self.found.sure,
                targets,
                lambda _: True,
                lambda faces, known=known: [known[id(face)] for face in faces],  # type: ignore[misc]
            )
        found = replace(self.found, sightings=tuple(sightings))
        # Between the steps of a job, embeddings have 16 bits.
        return link([Findings.from_bytes(found.to_bytes())], gallery, self._options)

    def _targets(self, gallery: Gallery) -> find.Targets:
        return find.Targets(gallery, self._recognizer, limits_of(self._options))

    def _embed_and_record(self, seen: Sequence[Sighting], *arguments: Any) -> list[Sighting]:
        """Replace `find.with_embeddings`: do the same, and remember the input."""
        embedded = _with_embeddings(seen, *arguments)
        self._windows.append(_Window(seen, embedded))
        return embedded


def grade(
    video: Path, faces: Faces, truth: Truth, folder: Path, score: ModuleType, *, hides_all: bool = False
) -> Grades:
    """Render the video with these decisions into `folder`, and grade the result."""
    nut, out = folder / "segment.nut", folder / "out.mp4"
    written = hide(Segment(str(video)), faces, str(nut), Options())
    join_files(str(video), [SegmentFile.at(str(nut), written)], out)
    return grades_of(truth, video, out, score, hides_all=hides_all)


def _without_cut_detector() -> AbstractContextManager[object]:
    """Switch the cut detector off, so that identity alone has to notice another person in the same place."""
    return patch.object(sample, "CUT_DIFFERENCE", float("inf"))
