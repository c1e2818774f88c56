"""Find faces that the detection pass missed: search a time span at full size and at a low threshold."""

from defacer.engine.corrections.span_search import FrameCallback, TimeSpan, search_span
from defacer.engine.models.arrays import Detector
from defacer.engine.rendering.box_motion import compute_overlap
from defacer.engine.tracking.segment_detections import DetectedFace
from defacer.engine.tracking.tracker import Track, Tracker
from defacer.report.compact_boxes import CompactBoxes
from defacer.report.edits import AddedTrack
from defacer.report.tracks import Origin, TrackRecord

SAMPLES_PER_SECOND = 5
MIN_SCORE = 0.2  # of the best detection of a new track
MIN_SCORE_ALONE = 0.3  # of a face in a single sampled frame
SAME_PLACE = 0.3  # overlap (intersection over union) with a track of the report
NEAR_SECONDS = 0.4  # a track of the report hides its face for this time after its end
MAX_SHARE_KNOWN = 0.5  # of a new track's detections in the place of tracks of the report
MAX_FOUND = 100


def look_again(
    span: TimeSpan, detector: Detector, progress: FrameCallback = lambda _: None
) -> list[AddedTrack]:
    """Return hidden tracks of faces that are in no track's place, the likeliest first, at most MAX_FOUND.

    `progress` gets the number of read frames, and can raise to stop. Raises the errors of `search_span`.
    """
    tracker = Tracker(span.seconds, MIN_SCORE)
    cuts = set(span.faces.cuts)
    for sample in search_span(span, detector, SAMPLES_PER_SECOND, progress, full_size=True):
        if sample.pts in cuts:
            tracker.end_shot()
        faces = [DetectedFace(face.box, face.score, 0.0) for face in sample.detections]
        tracker.add_faces(sample.pts, faces)
    near = round(NEAR_SECONDS / span.seconds(1))
    found = [
        (_score(track), track.detections)
        for track in tracker.tracks
        if len(track.observations) > 1 or _score(track) >= MIN_SCORE_ALONE
    ]
    new = [item for item in found if not _is_known(item[1], span.faces.tracks, near)]
    new.sort(key=lambda item: -item[0])
    return [AddedTrack(boxes, Origin.SEARCH) for _, boxes in new[:MAX_FOUND]]


def _score(track: Track) -> float:
    return max(observation.face.score for observation in track.observations)


def _is_known(boxes: CompactBoxes, tracks: tuple[TrackRecord, ...], near: int) -> bool:
    known = sum(
        any(
            track.start - near <= sample.pts <= track.end + near
            and compute_overlap(track.detections.box_at(sample.pts), sample.box) >= SAME_PLACE
            for track in tracks
            if not (track.is_manual_mask and track.decision == "keep")
        )
        for sample in boxes
    )
    return bool(known > MAX_SHARE_KNOWN * len(boxes))
