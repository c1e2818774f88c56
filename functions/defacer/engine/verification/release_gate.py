"""Redact a segment, and check the encoded result with another detector than the one that found the tracks.

Faces that are still visible are masked by encoding parts of the segment again, once. If a face is visible after that,
the segment is refused. Nothing here needs an embedding.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

from defacer.engine.errors import QuarantinedError
from defacer.engine.media.reader import Segment
from defacer.engine.media.segment_writer import Written
from defacer.engine.models.arrays import Detector
from defacer.engine.options import Options
from defacer.engine.rendering.box_motion import overlap
from defacer.engine.rendering.drawn_masks import DrawnMasks
from defacer.engine.rendering.masks import LEAD_SECONDS, TAIL_SECONDS
from defacer.engine.rendering.redact_segment import redact_segment
from defacer.engine.tracking.compact_boxes import CompactBoxes
from defacer.engine.tracking.face_report import Box, Faces, Track
from defacer.engine.tracking.sampling import SAME_PLACE
from defacer.engine.verification.inspection import Detections, Inspector
from defacer.engine.verification.splicing import Interval, Part, ranges_around, splice
from defacer.engine.verification.visible_faces import REASONS, Masks, Visible, candidates, visible_faces
from defacer.plurals import pluralize

FOUND = "found by the check of the result"
NEAR_SECONDS = 0.1  # around a candidate every frame is searched
# And around both ends of a visible face, beyond the ends of its mask.
BEFORE_SECONDS, AFTER_SECONDS = 0.45, 0.6
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

    written: Written
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
    written = redact_segment(segment, faces, str(out), options, replacement, progress, drawn)
    if options.verify == "off":
        return VerifiedSegment(written, None)
    if not written.frames:
        return VerifiedSegment(written, Checked(options.verify, 0, (), {}))
    base = Fraction(faces.time_base)
    inspector = Inspector(detector(), drawn.orientation, base, lambda: progress(len(written.frames)))
    if options.verify == "strict":
        looks = inspector.look(out, set(written.frames))
    else:
        looks = inspector.sample(out, written.frames)
    frames = len(looks)
    for nearby in (_around_candidates, _around_ends):
        wanted = _within(written.frames, nearby(looks, faces, drawn.at))
        looks |= inspector.look(out, wanted - looks.keys())
    found = visible_faces(looks, faces, drawn.at)
    tracks = _tracks(found, faces)
    if tracks:
        again = _Again(segment, replace(faces, tracks=faces.tracks + tracks), options, replacement, inspector)
        written = again.mask(tracks, out, written, looks, drawn)
    return VerifiedSegment(written, Checked(options.verify, frames, tracks, found.passed))


def _tracks(found: Visible, faces: Faces) -> tuple[Track, ...]:
    """Return the faces as hidden tracks with new numbers. Each is a person group of its own."""
    first = max((track.id for track in faces.tracks), default=-1) + 1
    group = max((track.group for track in faces.tracks), default=-1) + 1
    return tuple(
        Track(
            id=first + number,
            start=looks[0].pts,
            end=looks[-1].pts,
            decision="hide",
            person=None,
            reason=FOUND,
            distance=None,
            margin=None,
            continues=None,
            looks=looks,
            group=group + number,
        )
        for number, looks in enumerate(found.faces)
    )


def _around_candidates(looks: Detections, faces: Faces, masks: Masks) -> Iterator[Interval]:
    """Yield the time around each candidate that is not known yet to be a visible face."""
    near = round(NEAR_SECONDS / Fraction(faces.time_base))
    known = {(look.pts, look.box) for face in visible_faces(looks, faces, masks).faces for look in face}
    for pts, found in candidates(looks, faces, masks).items():
        if not known.issuperset(
            (look.pts, look.box) for look in CompactBoxes((pts, face.box) for face in found)
        ):
            yield pts - near, pts + near


def _around_ends(looks: Detections, faces: Faces, masks: Masks) -> Iterator[Interval]:
    """Yield the time around both ends of each visible face, and wherever it moved far from one frame to the next."""
    before, after = (
        round(seconds / Fraction(faces.time_base)) for seconds in (BEFORE_SECONDS, AFTER_SECONDS)
    )
    for face in visible_faces(looks, faces, masks).faces:
        yield face[0].pts - before, face[0].pts
        yield face[-1].pts, face[-1].pts + after
        for one, other in pairwise(face):
            if overlap(one.box, other.box) < SAME_PLACE:
                yield one.pts, other.pts


def _within(times: Sequence[int], intervals: Iterator[Interval]) -> set[int]:
    """Return those of the sorted times that are in an interval."""
    return {
        pts
        for first, last in intervals
        for pts in times[bisect_left(times, first) : bisect_right(times, last)]
    }


@dataclass(frozen=True)
class _Again:
    """Encodes parts of a segment again, with `faces` as they are after the check."""

    segment: Segment
    faces: Faces
    options: Options
    replacement: bytes | None
    inspector: Inspector

    def mask(
        self, tracks: Sequence[Track], out: Path, written: Written, looks: Detections, drawn: DrawnMasks
    ) -> Written:
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
