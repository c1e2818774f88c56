"""Where a picture has to be hidden at a given time: from the faces' tracks to boxes."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import pairwise

from defacer.engine.models.arrays import OVERLAP_OF_ONE_FACE
from defacer.engine.rendering.box_motion import SPEED_SECONDS, BoxMotion, overlap, shared_area
from defacer.engine.rendering.redaction import OPAQUE, SOFT, Openings
from defacer.report.compact_boxes import Box, BoxAt
from defacer.report.faces import Faces
from defacer.report.tracks import Track

LEAD_SECONDS = 0.25  # a face is covered this long before it was first seen,
TAIL_SECONDS = 0.4  # and this long after it was last seen
FLASHES_SECONDS = 0.5  # cuts that are nearer to each other are a flashing light: what was hidden stays hidden
# Proportions of a whole face. At the frame's edge a box that is narrower or lower shows a part of one. Beside another
# face a box that is narrower does.
MIN_WIDTH = 0.7  # of its height
MIN_HEIGHT = 1.1  # of its width
EDGE = 0.02  # of the frame's width or height
BESIDE = 0.25  # of a face's size: another face so near may cover a part of it
# A face that fills more than this share of the frame's width or height often reaches beyond the frame. The detector
# then boxes the part that looks like a smaller face. From this share to all of the frame the box grows to CLOSE_UP.
FILLS = 0.75
CLOSE_UP = 1.5


class _Timeline:
    """Spans in order of time."""

    def __init__(self, spans: Iterable[BoxMotion]):
        self._waiting = sorted(spans, key=lambda span: span.start, reverse=True)
        self._active: list[BoxMotion] = []
        self._boxes: list[tuple[BoxMotion, Box]] = []
        self._pts: int | None = None

    def at(self, pts: int) -> list[tuple[BoxMotion, Box]]:
        """Return the spans that hold `pts`, which must not go back, each with its box."""
        if pts != self._pts:
            while self._waiting and self._waiting[-1].start <= pts:
                self._active.append(self._waiting.pop())
            self._active = [span for span in self._active if span.end >= pts]
            self._pts, self._boxes = pts, [(span, span.box(pts)) for span in self._active]
        return self._boxes


class MaskSchedule:
    """The boxes to hide and the openings in their masks, frame by frame, in order of time."""

    def __init__(self, faces: Faces, tail_seconds: float = TAIL_SECONDS):
        self._size = (faces.width, faces.height)
        self._shots = faces.cuts
        self._last_masked: tuple[int, list[tuple[BoxMotion, Box]]] | None = None
        self._hidden = _Timeline(_spans(faces, tail_seconds))
        self._kept = _Timeline(
            BoxMotion(track.start, track.end, track.detections)
            for track in faces.tracks
            if track.decision == "keep"
        )

    def boxes(self, pts: int) -> list[Box]:
        """The boxes (x1, y1, x2, y2 in displayed pixels) to hide at `pts`, which must not go back."""
        return [box for _, box in self._masked(pts)]

    def openings(self, pts: int, held: Sequence[Box] = ()) -> Openings:
        """Return where the masks of `boxes` stay open at `pts`, so that kept faces are seen.

        `held` are the boxes of faces that are followed beyond their tracks (see `hold.py`); they have masks, too.
        A mask is larger than the face under it, and it opens over kept faces. Boxes that can contain a hidden face
        stay closed. In a lead, a tail or a gap a face can be anywhere, so the whole mask stays closed.
        """
        masked = self._masked(pts)
        masks = [_masked_box(box) for _, box in masked]
        kept = [box for _, box in self._kept.at(pts)]
        held_masks = [_masked_box(box) for box in held]
        kept = [box for box in kept if any(shared_area(box, mask) for mask in (*masks, *held_masks))]
        if not kept:
            return Openings()
        seen = self._seen(pts)
        closed = [
            self._whole(span, span.reach(pts), seen) if span.is_followed(pts) else mask
            for (span, _), mask in zip(masked, masks, strict=True)
        ]
        return Openings(kept, [*closed, *held])

    def _whole(self, span: BoxMotion, box: Box, seen: Sequence[tuple[BoxMotion, Box]]) -> Box:
        others = [other for whose, other in seen if whose is not span]
        return complete_clipped_face(box, *self._size, others)

    def _seen(self, pts: int) -> list[tuple[BoxMotion, Box]]:
        """Return the boxes of all faces that are followed at `pts`, hidden or kept."""
        spans = (*self._hidden.at(pts), *self._kept.at(pts))
        return [(span, box) for span, box in spans if span.is_followed(pts)]

    def _masked(self, pts: int) -> list[tuple[BoxMotion, Box]]:
        """Return the hidden spans that have a mask at `pts`, each with its whole box."""
        if self._last_masked is None or self._last_masked[0] != pts:
            seen = self._seen(pts)
            hidden = [(span, box) for span, box in self._hidden.at(pts) if not self._is_replaced(span, pts)]
            self._last_masked = pts, [(span, self._whole(span, box, seen)) for span, box in hidden]
        return self._last_masked[1]

    def _is_replaced(self, span: BoxMotion, pts: int) -> bool:
        """Return whether a kept face took the place of a face that is not seen at `pts`, by a cut.

        A flashing light looks like cuts that follow one another, so the cut alone does not end a mask.
        """
        if span.is_gap or span.is_followed(pts):
            return False
        look = span.nearest_end(pts)
        return any(self._replaces(other, look) for other, _ in self._kept.at(pts)) and not any(
            other.is_followed(pts) and overlap(box, look.box) >= OVERLAP_OF_ONE_FACE
            for other, box in self._hidden.at(pts)
        )

    def _replaces(self, kept: BoxMotion, look: BoxAt) -> bool:
        other = kept.nearest_end(look.pts)
        cuts = bisect_right(self._shots, look.pts), bisect_right(self._shots, other.pts)
        return cuts[0] != cuts[1] and overlap(other.box, look.box) >= OVERLAP_OF_ONE_FACE


def _spans(faces: Faces, tail_seconds: float) -> Iterator[BoxMotion]:
    """What has to be covered: each hidden track, and the gap between two tracks unless both are kept."""
    lead, tail, speed_time, flashes = (
        round(seconds / Fraction(faces.time_base))
        for seconds in (LEAD_SECONDS, tail_seconds, SPEED_SECONDS, FLASHES_SECONDS)
    )
    tracks = {track.id: track for track in faces.tracks}
    following = {track.continues: track for track in reversed(faces.tracks)}
    cuts = _single(faces.cuts, flashes)
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
                is_followed_there=after is not None and _is_followed_there(track, after),
            )
        if before and "hide" in (track.decision, before.decision):
            yield BoxMotion(
                before.end, track.start, (before.detections[-1], track.detections[0]), is_gap=True
            )


def _is_followed_there(track: Track, after: Track) -> bool:
    """Return whether a hidden track follows in the place where `track` ended."""
    in_place = overlap(track.detections[-1].box, after.detections[0].box) >= OVERLAP_OF_ONE_FACE
    return after.decision == "hide" and in_place


def _single(shots: Sequence[int], least: int) -> list[int]:
    """The cuts that have no other one nearer than `least`."""
    apart = [True, *(later - earlier >= least for earlier, later in pairwise(shots)), True]
    return [shot for shot, before, after in zip(shots, apart, apart[1:], strict=False) if before and after]


def _masked_box(box: Box) -> Box:
    """Return the box around the mask that is drawn for this box."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    half_width, half_height = ((box[side + 2] - box[side]) / 2 * OPAQUE * SOFT for side in (0, 1))
    return (x - half_width, y - half_height, x + half_width, y + half_height)


def complete_clipped_face(box: Box, width: int, height: int, others: Sequence[Box]) -> Box:
    """Return the box grown to a face's proportions where the frame's edge or another face cuts the face off.

    The detector boxes the part that is seen, and often not all of it.
    """
    x1, y1, x2, y2 = box
    filled = max((x2 - x1) / width, (y2 - y1) / height)
    grow_x = grow_y = 1 + (CLOSE_UP - 1) * min(max(0.0, filled - FILLS) / (1 - FILLS), 1.0)
    margin_x, margin_y = EDGE * width, EDGE * height
    at_edge = x1 < margin_x or y1 < margin_y or x2 > width - margin_x or y2 > height - margin_y
    if at_edge or any(_is_beside(box, other) for other in others):
        grow_x = max(grow_x, MIN_WIDTH * (y2 - y1) / max(x2 - x1, 1.0))
    if at_edge:
        grow_y = max(grow_y, MIN_HEIGHT * (x2 - x1) / max(y2 - y1, 1.0))
    more_x, more_y = (grow_x - 1) * (x2 - x1) / 2, (grow_y - 1) * (y2 - y1) / 2
    return (x1 - more_x, y1 - more_y, x2 + more_x, y2 + more_y)


def _is_beside(box: Box, other: Box) -> bool:
    near_x, near_y = (BESIDE * (box[side + 2] - box[side]) for side in (0, 1))
    return shared_area((box[0] - near_x, box[1] - near_y, box[2] + near_x, box[3] + near_y), other) > 0
