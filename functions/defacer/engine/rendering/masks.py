"""Compute from the tracks of a video where each frame is masked, and where masks stay open for kept faces."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import pairwise

from defacer.engine.models.arrays import OVERLAP_OF_ONE_FACE
from defacer.engine.rendering.box_motion import SPEED_SECONDS, BoxMotion, compute_overlap, shared_area
from defacer.engine.rendering.redaction import OPAQUE_SCALE, SOFT_SCALE, Openings
from defacer.report.compact_boxes import Box, BoxAt
from defacer.report.faces import Faces
from defacer.report.tracks import TrackRecord

LEAD_SECONDS = 0.25  # a mask starts this long before the first detection of its face,
TAIL_SECONDS = 0.4  # and ends this long after the last one
MIN_CUT_INTERVAL_SECONDS = 0.5  # nearer cuts are a flashing light, and masks stay
# Proportions of a whole face. A narrower or lower box at the frame's edge shows a part of a face, and so does a
# narrower box beside another face.
MIN_WIDTH = 0.7  # of its height
MIN_HEIGHT = 1.1  # of its width
EDGE_MARGIN = 0.02  # of the frame's width or height
NEIGHBOR_DISTANCE = 0.25  # of a face's size: another face at this distance can occlude a part of it
# A face that fills more than this share of the frame's width or height often reaches beyond the frame. The detector
# then returns a box around a part. Boxes grow by a factor of 1 at this share, up to MAX_CLOSE_UP_GROWTH at the frame's
# size.
CLOSE_UP_SHARE = 0.75
MAX_CLOSE_UP_GROWTH = 1.5


class _Timeline:
    """Motions in order of time."""

    def __init__(self, motions: Iterable[BoxMotion]):
        self._waiting = sorted(motions, key=lambda motion: motion.start, reverse=True)
        self._active: list[BoxMotion] = []
        self._boxes: list[tuple[BoxMotion, Box]] = []
        self._pts: int | None = None

    def at(self, pts: int) -> list[tuple[BoxMotion, Box]]:
        """Return the motions that include `pts`, each with its box. `pts` must not decrease."""
        if pts != self._pts:
            while self._waiting and self._waiting[-1].start <= pts:
                self._active.append(self._waiting.pop())
            self._active = [motion for motion in self._active if motion.end >= pts]
            self._pts, self._boxes = pts, [(motion, motion.box(pts)) for motion in self._active]
        return self._boxes


class MaskSchedule:
    """The boxes to redact and the openings in their masks, frame by frame, in order of time.

    The masks that a person drew are in `ManualMasks`.
    """

    def __init__(self, faces: Faces, tail_seconds: float = TAIL_SECONDS):
        faces = faces.without_manual_masks()
        self._size = (faces.width, faces.height)
        self._shots = faces.cuts
        self._last_masked: tuple[int, list[tuple[BoxMotion, Box]]] | None = None
        self._hidden = _Timeline(_motions_to_mask(faces, tail_seconds))
        self._kept = _Timeline(
            BoxMotion(track.start, track.end, track.detections)
            for track in faces.tracks
            if track.decision == "keep"
        )

    def boxes(self, pts: int) -> list[Box]:
        """Return the boxes (x1, y1, x2, y2 in displayed pixels) to redact at `pts`, which must not decrease."""
        return [box for _, box in self._masked_boxes(pts)]

    def openings(self, pts: int, extensions: Sequence[Box] = ()) -> Openings:
        """Return where the masks of `boxes` stay open at `pts`, so that kept faces are visible.

        `extensions` are the boxes of faces that are followed beyond their tracks (see mask_extension.py). They have
        masks, too.

        A mask is larger than the face under it, and it opens over kept faces. Boxes that can contain a hidden face
        stay closed. In a lead, a tail or a gap, a face can be anywhere in the mask, so the whole mask stays closed.
        """
        masked = self._masked_boxes(pts)
        masks = [_masked_box(box) for _, box in masked]
        kept = [box for _, box in self._kept.at(pts)]
        extension_masks = [_masked_box(box) for box in extensions]
        kept = [box for box in kept if any(shared_area(box, mask) for mask in (*masks, *extension_masks))]
        if not kept:
            return Openings()
        tracked = self._tracked_boxes(pts)
        closed = [
            self._complete_box(motion, motion.enclosing_box(pts), tracked) if motion.is_tracked(pts) else mask
            for (motion, _), mask in zip(masked, masks, strict=True)
        ]
        return Openings(kept, [*closed, *extensions])

    def _complete_box(self, motion: BoxMotion, box: Box, tracked: Sequence[tuple[BoxMotion, Box]]) -> Box:
        others = [other for whose, other in tracked if whose is not motion]
        return complete_clipped_face(box, *self._size, others)

    def _tracked_boxes(self, pts: int) -> list[tuple[BoxMotion, Box]]:
        """Return the boxes of all faces that are tracked at `pts`, hidden or kept."""
        motions = (*self._hidden.at(pts), *self._kept.at(pts))
        return [(motion, box) for motion, box in motions if motion.is_tracked(pts)]

    def _masked_boxes(self, pts: int) -> list[tuple[BoxMotion, Box]]:
        """Return the hidden motions that have a mask at `pts`, each with its completed box."""
        if self._last_masked is None or self._last_masked[0] != pts:
            tracked = self._tracked_boxes(pts)
            hidden = [
                (motion, box) for motion, box in self._hidden.at(pts) if not self._is_replaced(motion, pts)
            ]
            self._last_masked = (
                pts,
                [(motion, self._complete_box(motion, box, tracked)) for motion, box in hidden],
            )
        return self._last_masked[1]

    def _is_replaced(self, motion: BoxMotion, pts: int) -> bool:
        """Return whether a cut replaced a face that is not tracked at `pts` with a kept one.

        A flashing light looks like cuts that follow one another, so the cut alone does not end a mask.
        """
        if motion.is_gap or motion.is_tracked(pts):
            return False
        sample = motion.nearest_end(pts)
        return any(self._replaces(other, sample) for other, _ in self._kept.at(pts)) and not any(
            other.is_tracked(pts) and compute_overlap(box, sample.box) >= OVERLAP_OF_ONE_FACE
            for other, box in self._hidden.at(pts)
        )

    def _replaces(self, kept: BoxMotion, sample: BoxAt) -> bool:
        other = kept.nearest_end(sample.pts)
        cuts = bisect_right(self._shots, sample.pts), bisect_right(self._shots, other.pts)
        return cuts[0] != cuts[1] and compute_overlap(other.box, sample.box) >= OVERLAP_OF_ONE_FACE


def _motions_to_mask(faces: Faces, tail_seconds: float) -> Iterator[BoxMotion]:
    """Yield the motions to mask: each hidden track, and the gap between two tracks unless both are kept."""
    lead, tail, speed_time, flashes = (
        round(seconds / Fraction(faces.time_base))
        for seconds in (LEAD_SECONDS, tail_seconds, SPEED_SECONDS, MIN_CUT_INTERVAL_SECONDS)
    )
    tracks = {track.id: track for track in faces.tracks}
    following = {track.continues: track for track in reversed(faces.tracks)}
    cuts = _isolated_cuts(faces.cuts, flashes)
    for track in faces.tracks:
        before = None if track.continues is None else tracks[track.continues]
        if track.decision == "hide":
            cut = bisect_right(cuts, track.start)
            start = track.start - (0 if before else lead)
            end = track.end + tail
            if cut:
                start = max(start, cuts[cut - 1])
            if cut < len(cuts):
                end = min(end, cuts[cut] - 1)
            after = following.get(track.id)
            yield BoxMotion(
                start,
                end,
                track.detections,
                speed_time,
                earlier=before.detections[-1:] if before else (),
                later=after.detections[:1] if after else (),
                continues_in_place=after is not None and _continues_in_place(track, after),
            )
        if before and "hide" in (track.decision, before.decision):
            yield BoxMotion(
                before.end, track.start, (before.detections[-1], track.detections[0]), is_gap=True
            )


def _continues_in_place(track: TrackRecord, after: TrackRecord) -> bool:
    """Return whether a hidden track follows in the place where `track` ended."""
    in_place = compute_overlap(track.detections[-1].box, after.detections[0].box) >= OVERLAP_OF_ONE_FACE
    return after.decision == "hide" and in_place


def _isolated_cuts(shots: Sequence[int], min_interval: int) -> list[int]:
    """Return the cuts without another cut nearer than `min_interval`."""
    apart = [True, *(later - earlier >= min_interval for earlier, later in pairwise(shots)), True]
    return [shot for shot, before, after in zip(shots, apart, apart[1:], strict=False) if before and after]


def _masked_box(box: Box) -> Box:
    """Return the box around the mask that is drawn for this box."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    half_width, half_height = ((box[side + 2] - box[side]) / 2 * OPAQUE_SCALE * SOFT_SCALE for side in (0, 1))
    return (x - half_width, y - half_height, x + half_width, y + half_height)


def complete_clipped_face(box: Box, width: int, height: int, others: Sequence[Box]) -> Box:
    """Return the box grown to a face's proportions where the frame's edge or another face cuts the face off.

    The detector's box contains the visible part of a face, and often not all of it.
    """
    x1, y1, x2, y2 = box
    filled = max((x2 - x1) / width, (y2 - y1) / height)
    grow_x = grow_y = 1 + (MAX_CLOSE_UP_GROWTH - 1) * min(
        max(0.0, filled - CLOSE_UP_SHARE) / (1 - CLOSE_UP_SHARE), 1.0
    )
    margin_x, margin_y = EDGE_MARGIN * width, EDGE_MARGIN * height
    at_edge = x1 < margin_x or y1 < margin_y or x2 > width - margin_x or y2 > height - margin_y
    if at_edge or any(_is_near(box, other) for other in others):
        grow_x = max(grow_x, MIN_WIDTH * (y2 - y1) / max(x2 - x1, 1.0))
    if at_edge:
        grow_y = max(grow_y, MIN_HEIGHT * (x2 - x1) / max(y2 - y1, 1.0))
    more_x, more_y = (grow_x - 1) * (x2 - x1) / 2, (grow_y - 1) * (y2 - y1) / 2
    return (x1 - more_x, y1 - more_y, x2 + more_x, y2 + more_y)


def _is_near(box: Box, other: Box) -> bool:
    near_x, near_y = (NEIGHBOR_DISTANCE * (box[side + 2] - box[side]) for side in (0, 1))
    return shared_area((box[0] - near_x, box[1] - near_y, box[2] + near_x, box[3] + near_y), other) > 0
