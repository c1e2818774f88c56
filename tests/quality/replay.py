"""A clip that is detected and embedded once: decisions for any target, without a further search."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import numpy as np

from functions.engine import sample
from functions.engine.deface import Engine
from functions.engine.faces import Faces
from functions.engine.find import Targets, find
from functions.engine.findings import Findings, Sighting
from functions.engine.gallery import Gallery
from functions.engine.hide import hide
from functions.engine.identity import keep_distance_of, may_be_target
from functions.engine.join import SegmentFile, join_files
from functions.engine.link import link
from functions.engine.options import Options
from functions.engine.sample import WINDOW_SECONDS
from functions.engine.track import Tracker
from functions.engine.video import Segment
from tests.quality.clips import Clip, Truth
from tests.quality.grades import Grades, grades_of


class Replay:
    """The detections of a clip with the embedding of every view: biometric data, held in memory."""

    def __init__(self, clip: Clip, engine: Engine, options: Options, *, has_cuts: bool = True):
        self.clip = clip
        self._options = options
        recognizer = engine.recognizer(options.recognizer)
        no_one = Gallery((), np.zeros((0, 0), np.float32), recognizer.version)
        targets = Targets(no_one, recognizer, keep_distance_of(options), every_view=True)
        with _cut_detector(is_on=has_cuts):
            self.found = find(Segment(str(clip.video)), engine.detector(options.detector), targets)

    def decide(self, gallery: Gallery | None) -> Faces:
        """Return the tracks and decisions that production reaches with these targets."""
        found = (
            self.found
            if gallery is None
            else _as_in_production(self.found, gallery, keep_distance_of(self._options))
        )
        return link([found], gallery, self._options)


def _as_in_production(found: Findings, gallery: Gallery, limit: float) -> Findings:
    """Drop the embeddings that `find` does not compute with this gallery."""
    sightings: list[Sighting] = []
    for _, window in groupby(
        found.sightings, lambda sighting: sighting.pts * found.time_base // WINDOW_SECONDS
    ):
        sightings += _window_as_in_production(list(window), found.sure, gallery, limit)
    return replace(found, sightings=tuple(sightings))


def _window_as_in_production(
    window: list[Sighting], sure: float, gallery: Gallery, limit: float
) -> Iterator[Sighting]:
    """Keep one embedding of each face that is surely no target, as `find._with_embeddings` does."""
    tracker = Tracker(lambda _: 0.0, sure)
    bare = [[replace(face, embedding=None) for face in sighting.faces] for sighting in window]
    embedding_of = {}
    for sighting, faces in zip(window, bare, strict=True):
        embedding_of |= {id(one): seen.embedding for one, seen in zip(faces, sighting.faces, strict=True)}
        tracker.take(replace(sighting, faces=tuple(faces)))
    embedded = set()
    for track in tracker.tracks:
        clearest = track.clearest()
        first = embedding_of[id(clearest.face)] if clearest else None
        if clearest is not None and first is not None:
            has_all = may_be_target(first, gallery, limit)
            embedded |= {id(seen.face) for seen in (track.observations if has_all else [clearest])}
    for sighting, faces in zip(window, bare, strict=True):
        yield replace(
            sighting,
            faces=tuple(
                seen if id(one) in embedded else one for one, seen in zip(faces, sighting.faces, strict=True)
            ),
        )


def grade(
    video: Path, faces: Faces, truth: Truth, folder: Path, score: ModuleType, *, hides_all: bool = False
) -> Grades:
    """Render the video with these decisions into `folder`, and grade the result."""
    nut, out = folder / "segment.nut", folder / "out.mp4"
    written = hide(Segment(str(video)), faces, str(nut), Options())
    join_files(str(video), [SegmentFile.at(str(nut), written)], out)
    return grades_of(truth, video, out, score, hides_all=hides_all)


@contextmanager
def _cut_detector(*, is_on: bool) -> Iterator[None]:
    """Switch the cut detector off, so that identity alone has to notice another person in the same place."""
    if is_on:
        yield
    else:
        with patch.object(sample, "CUT_DIFFERENCE", float("inf")):
            yield
