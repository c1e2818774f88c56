"""Redact a segment, and check it with another detector than the one that found the tracks.

The detector searches the redacted frames just before they are encoded, and the encoded result is compared with them.
Faces that are found too late for a mask are masked by encoding parts of the segment again, once. If a face is visible
after that, the segment is refused. The check needs no embedding.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from defacer.engine.errors import QuarantinedError
from defacer.engine.media.readback import Readback
from defacer.engine.media.reader import Segment
from defacer.engine.media.segment_writer import WrittenSegment
from defacer.engine.models.arrays import OVERLAP_OF_ONE_FACE, Detector, compute_overlaps
from defacer.engine.options import Options
from defacer.engine.rendering.drawn_masks import DrawnMasks
from defacer.engine.rendering.masks import LEAD_SECONDS, TAIL_SECONDS, MaskSchedule
from defacer.engine.rendering.redact_segment import redact_segment
from defacer.engine.verification.check_ahead import (
    CheckAhead,
    hidden_tracks,
    intervals_around_candidates,
    intervals_around_ends,
    kept_tracks,
)
from defacer.engine.verification.inspection import Detections, Inspector
from defacer.engine.verification.splicing import Interval, Part, ranges_around, splice
from defacer.engine.verification.visible_faces import (
    MASKED_SHARE,
    REASONS,
    classify_detections,
    covered_share,
    find_visible_faces,
)
from defacer.plurals import pluralize
from defacer.report.compact_boxes import Box, CompactBoxes
from defacer.report.faces import Faces
from defacer.report.tracks import TrackRecord

MIN_DRAWN_SHARE = 0.8  # of a face: where masks cover less of it, the frame is encoded again
EXTRA_SCORE = 0.05  # for the second check, because scores change when a frame is encoded again
MAX_TIMES = 5  # in a message

FrameCallback = Callable[[int], None]


@dataclass(frozen=True)
class Checked:
    """The result of the check of a segment.

    `frames` is the number of sampled frames. `tracks` are the faces that were found and are masked now. `passed` counts
    other faces outside all masks, by the reason why they stay visible.
    """

    verify: str
    frames: int
    tracks: tuple[TrackRecord, ...]
    passed: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """Return the object for the report. It lists the numbers of the tracks, which are part of the faces."""
        passed = {f"passed_as_{reason}": self.passed.get(reason, 0) for reason in REASONS}
        return {
            "verify": self.verify,
            "frames": self.frames,
            **passed,
            "tracks": [track.id for track in self.tracks],
        }


@dataclass(frozen=True)
class VerifiedSegment:
    """A redacted segment. `checked` is None if the policy says `verify: off`."""

    written: WrittenSegment
    checked: Checked | None


def redact_and_verify(
    segment: Segment,
    faces: Faces,
    out: Path,
    options: Options,
    detector: Callable[[], Detector],
    replacement: bytes | None = None,
    progress: FrameCallback = lambda _: None,
    on_encoded: Callable[[], None] = lambda: None,
) -> VerifiedSegment:
    """Write the segment to the NUT file `out` as `redact_segment` does, and check it as `options.verify` says.

    `detector` is called unless the check is off, and so is `on_encoded` after the last frame was encoded. Raises
    QuarantinedError if a face is still visible after it was masked, and the errors of `redact_segment`.
    """
    drawn = DrawnMasks()
    if options.verify == "off":
        return VerifiedSegment(
            redact_segment(segment, faces, str(out), options, replacement, progress, drawn), None
        )
    base = Fraction(faces.time_base)
    inspector = Inspector(detector(), base, lambda: progress(0))
    check = CheckAhead(inspector, faces, every_frame=options.verify == "strict")
    is_strict = options.verify == "strict"
    with Readback(every_frame=is_strict, has_copies=options.copy_untouched) as readback:
        written = redact_segment(
            segment, faces, str(out), options, replacement, progress, drawn, check, readback
        )
    on_encoded()
    detections, searched = check.detections, set(check.detections)
    wanted = readback.differing if readback.is_readable else set(written.frames)
    while True:
        detections = _with_new_detections(detections, inspector.detect_in_file(out, wanted), drawn, faces)
        searched |= wanted
        samples = classify_detections(detections, faces, check.masks.at)
        found = find_visible_faces(samples, faces)
        # Frames near a visible face that had left the look-ahead buffer when it was found.
        near = [
            *intervals_around_candidates(samples, base, found.faces),
            *intervals_around_ends(found.faces, base),
        ]
        wanted = _times_within(written.frames, near) - searched
        if not wanted:
            break
    tracks = hidden_tracks(found.faces, faces)
    late = _find_late_tracks(tracks, faces, written.frames, drawn)
    if late:
        reencoder = _Reencoder(
            segment, replace(faces, tracks=faces.tracks + tracks), options, replacement, inspector
        )
        written = reencoder.mask_tracks(late, out, written, detections, drawn)
    return VerifiedSegment(written, Checked(options.verify, check.frames, tracks, found.passed))


def _with_new_detections(
    detections: Detections, encoded: Detections, drawn: DrawnMasks, faces: Faces
) -> Detections:
    """Add the detections in encoded frames that no mask covers, and that were not found before encoding.

    Earlier detections stay, because a face cannot be detected where the check has masked it in time.
    """
    merged = dict(detections)
    for pts, found in encoded.items():
        before, masks = detections.get(pts, []), drawn.at(pts)
        boxes = np.array([face.box for face in before], np.float32).reshape(-1, 4)
        merged[pts] = before + [
            face
            for face in found
            if covered_share(face.box, masks, faces.width, faces.height) < MASKED_SHARE
            and not (compute_overlaps(face.box, boxes) >= OVERLAP_OF_ONE_FACE).any()
        ]
    return merged


def _times_within(times: Sequence[int], intervals: Sequence[Interval]) -> set[int]:
    """Return the times that are in an interval. `times` are sorted."""
    return {
        pts
        for first, last in intervals
        for pts in times[bisect_left(times, first) : bisect_right(times, last)]
    }


def _find_late_tracks(
    tracks: Sequence[TrackRecord], faces: Faces, times: Sequence[int], drawn: DrawnMasks
) -> list[TrackRecord]:
    """Return the tracks that were found too late to be masked in each of their frames."""
    lead, tail = (round(seconds / Fraction(faces.time_base)) for seconds in (LEAD_SECONDS, TAIL_SECONDS))
    kept = kept_tracks(faces.tracks)
    found = []
    for track in tracks:
        schedule = MaskSchedule(replace(faces, tracks=(*kept, track)))
        first, last = bisect_left(times, track.start - lead), bisect_right(times, track.end + tail)
        if any(
            covered_share(box, drawn.at(pts), faces.width, faces.height) < MIN_DRAWN_SHARE
            for pts in times[first:last]
            for box in schedule.boxes(pts)
        ):
            found.append(track)
    return found


@dataclass(frozen=True)
class _Reencoder:
    """Encodes parts of a segment again. `faces` include those that the check found."""

    segment: Segment
    faces: Faces
    options: Options
    replacement: bytes | None
    inspector: Inspector

    def mask_tracks(
        self,
        tracks: Sequence[TrackRecord],
        out: Path,
        written: WrittenSegment,
        detections: Detections,
        drawn: DrawnMasks,
    ) -> WrittenSegment:
        """Encode the frames around these tracks again, check them and splice them into `out`.

        Raises QuarantinedError if a face is still visible.
        """
        base = Fraction(self.faces.time_base)
        lead, tail = (round(seconds / base) for seconds in (LEAD_SECONDS, TAIL_SECONDS))
        around = [(track.start - lead, track.end + tail) for track in tracks]
        masks, parts = DrawnMasks(), []
        for number, (start, end) in enumerate(ranges_around(str(out), base, around)):
            parts.append(self._encode(start, end, out.with_name(f"{out.stem}-{number}.nut"), masks))
            wanted = detections.keys() & set(parts[-1].written.frames)
            detections = detections | self.inspector.detect_in_file(Path(parts[-1].path), wanted)
        encoded = {pts for part in parts for pts in part.written.frames}

        def drawn_at(pts: int) -> list[Box]:
            return (masks if pts in encoded else drawn).at(pts)

        samples = classify_detections(detections, self.faces, drawn_at)
        left = find_visible_faces(samples, self.faces, EXTRA_SCORE)
        if left.faces:
            raise QuarantinedError(_still_visible_message(left.faces, base))
        spliced = out.with_name(f"{out.stem}-spliced.nut")
        written = splice(str(out), parts, written, base, str(spliced))
        spliced.replace(out)
        for part in parts:
            Path(part.path).unlink()
        return written

    def _encode(self, start: int, end: int | None, path: Path, masks: DrawnMasks) -> Part:
        segment = Segment(self.segment.source, start, self.segment.end if end is None else end)
        on_frame = self.inspector.on_frame
        written = redact_segment(
            segment, self.faces, str(path), self.options, self.replacement, lambda _: on_frame(), masks
        )
        return Part(start, end, str(path), written)


def _still_visible_message(faces: Sequence[CompactBoxes], base: Fraction) -> str:
    times = sorted({round(float(face[0].pts * base), 1) for face in faces})
    named = ", ".join(f"{time:.1f} s" for time in times[:MAX_TIMES])
    more = f" and {pluralize(len(times) - MAX_TIMES, 'more time')}" if len(times) > MAX_TIMES else ""
    return (
        f"after redaction, a face is still visible at {named}{more}: the check of the result could not mask it. Watch "
        "the video there. If a person has to be hidden, cut that part out and process the video again. If not, set "
        'verify to "off" and process it again.'
    )
