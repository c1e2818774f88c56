"""Live streaming: the decisions match those of a whole video, and faces in doubt are hidden."""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from defacer.engine.engine import Engine
from defacer.engine.media.reader import Segment
from defacer.engine.options import Options
from defacer.engine.recognition.gallery import Gallery
from defacer.engine.rendering.masks import LEAD_SECONDS, MaskSchedule
from defacer.engine.streaming import HISTORY_SECONDS, TAIL_SECONDS, LiveSnapshot
from defacer.engine.tracking.linking import link_faces
from defacer.engine.tracking.segment_detections import DetectedFace, FrameDetections
from defacer.engine.tracking.tracker import Tracker
from defacer.report.compact_boxes import CompactBoxes

TIME_BASE = Fraction(1, 1000)


def frames(clip: Path) -> Iterator[av.VideoFrame]:
    """Every other frame, with times in milliseconds."""
    with av.open(str(clip)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number % 2 == 0:
                frame.pts = round(Fraction(frame.pts or 0) * Fraction(frame.time_base or 1) / TIME_BASE)
                frame.time_base = TIME_BASE
                yield frame


def middle(box: tuple[float, float, float, float]) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def test_faces_hidden_in_a_whole_video_are_hidden_live(
    engine: Engine, gallery: Gallery, demo_clip: Path
) -> None:
    whole = MaskSchedule(
        link_faces([engine.detect_segment(Segment(str(demo_clip)), gallery, Options())], gallery, Options())
    )
    known: list[LiveSnapshot] = list(engine.follow(frames(demo_clip), TIME_BASE, gallery, Options()))
    compared, covered = 0, 0
    with av.open(str(demo_clip)) as container:
        base = Fraction(container.streams.video[0].time_base or 1)
    for frame in frames(demo_clip):
        pts = frame.pts or 0
        first = next((item for item in known if item.covers(pts)), None)
        if first is None:
            continue
        hidden = MaskSchedule(first.faces, TAIL_SECONDS).boxes(pts)
        for x, y in map(middle, whole.boxes(round(pts * TIME_BASE / base))):
            compared += 1
            covered += any(x1 <= x <= x2 and y1 <= y <= y2 for x1, y1, x2, y2 in hidden)
    assert compared > 50
    assert covered == compared


def test_a_target_is_kept_after_enough_views(engine: Engine, gallery: Gallery, demo_clip: Path) -> None:
    known = list(engine.follow(frames(demo_clip), TIME_BASE, gallery, Options()))
    assert {track.decision for track in known[0].faces.tracks} == {"hide"}
    assert any(track.decision == "keep" for item in known for track in item.faces.tracks)
    assert {track.person for item in known for track in item.faces.tracks if track.decision == "keep"} == {
        "astronaut"
    }


def test_a_snapshot_covers_frames_that_end_a_lead_before_it(engine: Engine, demo_clip: Path) -> None:
    known = next(iter(engine.follow(frames(demo_clip), TIME_BASE, None, Options())))
    lead = round(LEAD_SECONDS / TIME_BASE)
    assert known.covers(known.until - lead - 1)
    assert not known.covers(known.until - lead)


def test_a_later_face_does_not_mask_a_covered_frame(
    engine: Engine, gallery: Gallery, demo_clip: Path
) -> None:
    """A face may be first seen in the very frame that the time `until` is that of; it is known one window later."""
    known = list(engine.follow(frames(demo_clip), TIME_BASE, None, Options()))
    first = known[0]
    track = replace(known[-1].faces.tracks[0], id=0, start=first.until, end=first.until, continues=None)
    detection = replace(track.detections[0], pts=first.until)
    later = replace(
        first.faces,
        tracks=(replace(track, decision="hide", detections=CompactBoxes([(detection.pts, detection.box)])),),
        cuts=(),
    )
    decided = [pts for pts in range(first.until - 400, first.until) if first.covers(pts)]
    cover = MaskSchedule(later, TAIL_SECONDS)
    assert len(decided) > 100
    assert [pts for pts in decided if cover.boxes(pts)] == []
    assert cover.boxes(decided[-1] + 1) != []


def sample(pts: int, box: tuple[float, float, float, float], view: int = 0) -> FrameDetections:
    embedding = np.eye(128, dtype=np.float32)[view]
    return FrameDetections(pts, pts == 0, (DetectedFace(np.array(box, np.float32), 0.9, 0.5, embedding),))


def test_hours_of_one_face_take_no_more_memory_than_seconds() -> None:
    tracker = Tracker(lambda units: units / 1000, 0.3, lambda _: True)
    for pts in range(0, 3_600_000, 200):
        tracker.add_sample(sample(pts, (100, 100, 160, 160)))
        tracker.forget_before(pts - HISTORY_SECONDS * 1000)
        assert len(tracker.tracks) == 1
        assert len(tracker.tracks[0].observations) <= HISTORY_SECONDS * 5 + 2
    assert tracker.tracks[0].last == 3_599_800
    assert len(tracker.tracks[0].embeddings) > 0


def test_another_face_in_its_place_is_detected_after_forgetting() -> None:
    views = {True: 0, False: 1}
    tracker = Tracker(lambda units: units / 1000, 0.3, lambda embedding: bool(embedding[0]))
    for pts in range(0, 60_000, 200):
        tracker.add_sample(sample(pts, (100, 100, 160, 160), views[pts < 40_000]))
        tracker.forget_before(pts - 1000)
    last = tracker.tracks[-1]
    assert last.id > 0
    assert (last.embeddings[:, 1] == 1).all()


def test_ended_tracks_are_forgotten_and_their_ids_not_reused() -> None:
    tracker = Tracker(lambda units: units / 1000, 0.3)
    seen = set()
    for pts in range(0, 120_000, 2000):  # too far apart to be one face
        tracker.add_sample(sample(pts, (100, 100, 160, 160)))
        tracker.forget_before(pts - 5000)
        seen |= {track.id for track in tracker.tracks}
        assert len(tracker.tracks) <= 4
    assert len(seen) == 60
