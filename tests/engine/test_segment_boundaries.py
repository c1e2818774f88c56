"""Tests that one segment and eight have the same tracks, decisions and boxes."""

import json
import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from defacer.engine.engine import Engine
from defacer.engine.media.reader import Segment
from defacer.engine.options import Options
from defacer.engine.recognition.gallery import Gallery, Picture
from defacer.engine.tracking.linking import link_faces
from defacer.engine.tracking.segment_detections import SegmentDetections
from defacer.report.faces import Faces
from tests.clips import frame_times

EVAL = os.environ.get("DEFACER_EVAL")
MAX_PIXELS = 2.0


def detect(engine: Engine, clip: Path, gallery: Gallery, bounds: list[int | None]) -> Faces:
    """Detect faces in each segment, and serialize the detections as between workers."""
    found = (
        engine.detect_segment(Segment(str(clip), start, end), gallery, Options())
        for start, end in pairwise(bounds)
    )
    return link_faces((SegmentDetections.from_bytes(part.to_bytes()) for part in found), gallery, Options())


def require_same(one: Faces, many: Faces) -> None:
    assert (many.frames, many.sampled_frames, many.cuts) == (one.frames, one.sampled_frames, one.cuts)
    assert len(many.tracks) == len(one.tracks)
    for here, there in zip(one.tracks, many.tracks, strict=True):
        assert (here.decision, here.person, here.reason, here.continues) == (
            there.decision, there.person, there.reason, there.continues,
        )  # fmt: skip
        assert [seen.pts for seen in here.detections] == [seen.pts for seen in there.detections]
        boxes = (np.array([seen.box for seen in track.detections]) for track in (here, there))
        assert np.abs(np.subtract(*boxes)).max() <= MAX_PIXELS


def test_face_that_crosses_every_boundary_has_the_same_tracks(
    engine: Engine, demo_clip: Path, gallery: Gallery
) -> None:
    """Two people move through the whole clip, and pass each other at a boundary."""
    shown = frame_times(demo_clip)
    bounds = [None, *(shown[len(shown) * part // 8] for part in range(1, 8)), None]
    one = detect(engine, demo_clip, gallery, [None, None])
    assert any(track.decision == "keep" for track in one.tracks)
    assert any(track.decision == "hide" for track in one.tracks)
    for bound in bounds[1:-1]:
        assert bound is not None
        assert any(track.start < bound < track.end for track in one.tracks)
    require_same(one, detect(engine, demo_clip, gallery, bounds))


@pytest.mark.slow
@pytest.mark.skipif(not EVAL, reason="DEFACER_EVAL does not name the folder with real clips")
@pytest.mark.parametrize("name", ["c04", "c10"])
def test_real_clip_has_the_same_tracks_in_one_segment_or_eight(engine: Engine, name: str) -> None:
    clip = Path(EVAL or "") / "clips" / f"{name}.mp4"
    picture = clip.parent / json.loads(clip.with_suffix(".json").read_text())["target_image"]
    gallery = engine.gallery([Picture("target", picture.name, picture.read_bytes())], "sface")
    shown = frame_times(clip)
    bounds = [None, *(shown[len(shown) * part // 8] for part in range(1, 8)), None]
    require_same(detect(engine, clip, gallery, [None, None]), detect(engine, clip, gallery, bounds))


def test_segment_without_a_frame_of_its_own_changes_nothing(
    engine: Engine, demo_clip: Path, gallery: Gallery
) -> None:
    """The segment has no frame of its own, but its neighbors have."""
    shown = frame_times(demo_clip)
    bounds: list[int | None] = [None, shown[10], shown[10] + 1, shown[11], None]
    require_same(detect(engine, demo_clip, gallery, [None, None]), detect(engine, demo_clip, gallery, bounds))
