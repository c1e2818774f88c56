"""Redact a segment, and check it with another detector than the one that found the tracks.

The detector searches the redacted frames just before they are encoded, and the encoded result is compared with them.
Faces that are found too late for a mask are masked by encoding parts of the segment again, once. If a face is visible
after that, the segment is refused. Nothing here needs an embedding.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from defacer.engine.errors import QuarantinedError
from defacer.engine.media.reader import Segment
from defacer.engine.media.segment_writer import WrittenSegment
from defacer.engine.models.arrays import Detector
from defacer.engine.options import Options
from defacer.engine.rendering.drawn_masks import DrawnMasks
from defacer.engine.rendering.masks import LEAD_SECONDS, TAIL_SECONDS, MaskSchedule
from defacer.engine.rendering.redact_segment import redact_segment
from defacer.engine.verification.check_ahead import CheckAhead, around_candidates, around_ends, hidden_tracks
from defacer.engine.verification.inspection import Detections, Inspector
from defacer.engine.verification.readback import Readback
from defacer.engine.verification.splicing import Interval, Part, ranges_around, splice
from defacer.engine.verification.visible_faces import REASONS, covered_share, visible_faces
from defacer.plurals import pluralize
from defacer.report.compact_boxes import Box, CompactBoxes
from defacer.report.faces import Faces
from defacer.report.tracks import Track

LATE_SHARE = 0.8  # of a mask: where less of it was drawn, the frame is encoded again
SURE_AGAIN = 0.05  # the second check needs a higher score, because scores move when a frame is encoded again
MAX_TIMES = 5  # named in a message

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Checked:
    """The result of the check of a segment.

    `frames` were sampled. `tracks` are the faces that were found and are masked now. `passed` are the numbers of
    other detections outside all masks, by the reason why they stay.
    """

    verify: str
    frames: int
    tracks: tuple[Track, ...]
    passed: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """Return it as a report says it: the tracks by their numbers, because they are among the faces."""
        passed = {f"passed_as_{reason}": self.passed.get(reason, 0) for reason in REASONS}
        return {
            "verify": self.verify,
            "frames": self.frames,
            **passed,
            "tracks": [track.id for track in self.tracks],
        }


@dataclass(frozen=True)
class VerifiedSegment:
    """A redacted segment; `checked` is None if the policy says `verify: off`."""

    written: WrittenSegment
    checked: Checked | None


def redact_and_verify(
    segment: Segment,
    faces: Faces,
    out: Path,
    options: Options,
    detector: Callable[[], Detector],
    replacement: bytes | None = None,
    progress: Progress = lambda _: None,
) -> VerifiedSegment:
    """Write the segment to the NUT file `out` as `hide` does, and check it as `options.verify` says.

    `detector` is called unless the check is off. Raises QuarantinedError if a face is visible after it was
    masked, and else as `hide` does.
    """
    drawn = DrawnMasks()
    if options.verify == "off":
        return VerifiedSegment(
            redact_segment(segment, faces, str(out), options, replacement, progress, drawn), None
        )
    base = Fraction(faces.time_base)
    inspector = Inspector(detector(), base, lambda: progress(0))
    check = CheckAhead(inspector, faces, every_frame=options.verify == "strict")
    with Readback(every_frame=options.verify == "strict") as readback:
        written = redact_segment(
            segment, faces, str(out), options, replacement, progress, drawn, check, readback
        )
    encoded: set[int] = set()  # frames that the detector searches in the encoded result
    looks = check.looks

    def masks(pts: int) -> list[Box]:
        return (drawn if pts in encoded else check.masks).at(pts)

    def search(times: set[int]) -> None:
        nonlocal looks
        encoded.update(times)
        looks = looks | inspector.look(out, times)

    search(readback.differing if readback.is_readable else set(written.frames))
    # Frames near a visible face that had left the look-ahead buffer when it was found.
    found = visible_faces(looks, faces, masks)
    near = [*around_candidates(looks, faces, masks, found.faces), *around_ends(found.faces, base)]
    search(_within(written.frames, near) - looks.keys())
    found = visible_faces(looks, faces, masks)
    tracks = hidden_tracks(found.faces, faces)
    late = _late(tracks, faces, written.frames, drawn)
    if late:
        again = _Again(segment, replace(faces, tracks=faces.tracks + tracks), options, replacement, inspector)
        written = again.mask(late, out, written, looks, drawn)
    return VerifiedSegment(written, Checked(options.verify, check.frames, tracks, found.passed))


def _within(times: Sequence[int], intervals: Sequence[Interval]) -> set[int]:
    """Return those of the sorted times that are in an interval."""
    return {
        pts
        for first, last in intervals
        for pts in times[bisect_left(times, first) : bisect_right(times, last)]
    }


def _late(tracks: Sequence[Track], faces: Faces, times: Sequence[int], drawn: DrawnMasks) -> list[Track]:
    """Return the tracks that are not masked in each of their frames: they were detected too late for that."""
    lead, tail = (round(seconds / Fraction(faces.time_base)) for seconds in (LEAD_SECONDS, TAIL_SECONDS))
    kept = tuple(track for track in faces.tracks if track.decision == "keep")
    found = []
    for track in tracks:
        cover = MaskSchedule(replace(faces, tracks=(*kept, track)))
        first, last = bisect_left(times, track.start - lead), bisect_right(times, track.end + tail)
        if any(
            covered_share(box, drawn.at(pts), faces.width, faces.height) < LATE_SHARE
            for pts in times[first:last]
            for box in cover.boxes(pts)
        ):
            found.append(track)
    return found


@dataclass(frozen=True)
class _Again:
    """Encodes parts of a segment again, with `faces` as they are after the check."""

    segment: Segment
    faces: Faces
    options: Options
    replacement: bytes | None
    inspector: Inspector

    def mask(
        self,
        tracks: Sequence[Track],
        out: Path,
        written: WrittenSegment,
        looks: Detections,
        drawn: DrawnMasks,
    ) -> WrittenSegment:
        """Encode the frames around these tracks again, check them and put them into `out`. Raises QuarantinedError."""
        base = Fraction(self.faces.time_base)
        lead, tail = (round(seconds / base) for seconds in (LEAD_SECONDS, TAIL_SECONDS))
        around = [(track.start - lead, track.end + tail) for track in tracks]
        masks, parts = DrawnMasks(), []
        for number, (start, end) in enumerate(ranges_around(str(out), base, around)):
            parts.append(self._encode(start, end, out.with_name(f"{out.stem}-{number}.nut"), masks))
            wanted = looks.keys() & set(parts[-1].written.frames)
            looks = looks | self.inspector.look(Path(parts[-1].path), wanted)
        encoded = {pts for part in parts for pts in part.written.frames}

        def drawn_at(pts: int) -> list[Box]:
            return (masks if pts in encoded else drawn).at(pts)

        left = visible_faces(looks, self.faces, drawn_at, SURE_AGAIN)
        if left.faces:
            raise QuarantinedError(_still_visible(left.faces, base))
        spliced = out.with_name(f"{out.stem}-spliced.nut")
        written = splice(str(out), parts, written, base, str(spliced))
        spliced.replace(out)
        for part in parts:
            Path(part.path).unlink()
        return written

    def _encode(self, start: int, end: int | None, path: Path, masks: DrawnMasks) -> Part:
        segment = Segment(self.segment.source, start, self.segment.end if end is None else end)
        waiting = self.inspector.waiting
        written = redact_segment(
            segment, self.faces, str(path), self.options, self.replacement, lambda _: waiting(), masks
        )
        return Part(start, end, str(path), written)


def _still_visible(faces: Sequence[CompactBoxes], base: Fraction) -> str:
    times = sorted({round(float(looks[0].pts * base), 1) for looks in faces})
    named = ", ".join(f"{time:.1f} s" for time in times[:MAX_TIMES])
    more = f" and {pluralize(len(times) - MAX_TIMES, 'more time')}" if len(times) > MAX_TIMES else ""
    return (
        f"after redaction, a face is still visible at {named}{more}: the check of the result could not mask it. Watch "
        "the video there. If a person has to be hidden, cut that part out and process the video again. If not, set "
        'verify to "off" and process it again.'
    )
