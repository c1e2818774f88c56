"""Measure how many leaks the release gate catches: `python -m tests.quality.deleted_tracks [--clips c02,c05]`.

Each clip is detected and linked once, with no target. A leak is made by deleting one track of at least 12 frames from
the faces before redaction. The masks of other tracks can hide the face of the track, also where they follow a face
beyond its detections. So the segment is redacted without the gate first, and score.py tests the pixels of the annotated
faces. If none of them can be seen, the deleted track makes no leak, for example because it is a false detection. The
gate catches a leak if it masks a face and fewer of these faces can be seen, or if it refuses the segment.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import ModuleType

from defacer.engine.engine import Engine
from defacer.engine.errors import QuarantinedError
from defacer.engine.media.reader import Segment, read_frames
from defacer.engine.models.arrays import Detector
from defacer.engine.options import Options
from defacer.engine.tracking.linking import link_faces
from defacer.engine.verification.release_gate import redact_and_verify
from defacer.plurals import pluralize
from defacer.report.faces import Faces
from defacer.report.tracks import TrackRecord
from tests.quality.clips import Clip, load_clips, load_score
from tests.quality.figures import Share, pooled, table
from tests.quality.grades import HIDDEN_SHARE, Place, covered_by_masks, seen_places

MIN_FRAMES = 12
MIN_CAUGHT = 0.95
MARGIN_SECONDS = 1.0  # before and after the track
MIN_OVERLAP = 0.5  # of an annotated face with a track's box, to be a face of the track


@dataclass(frozen=True)
class Leak:
    """A deleted track: the faces that can be seen without the gate, and with it."""

    track: int
    seen: int
    left: int
    is_caught: bool


def without_track(faces: Faces, number: int) -> Faces:
    """Return the faces as if this track had not been detected."""
    tracks = (
        replace(track, continues=None) if track.continues == number else track
        for track in faces.tracks
        if track.id != number
    )
    return replace(faces, tracks=tuple(tracks))


def faces_of_track(clip: Clip, times: Sequence[int], faces: Faces, track: TrackRecord) -> list[Place]:
    """Return the annotated faces under the masks of a track."""
    alone = replace(faces, tracks=(replace(track, continues=None),))
    places = [(times[number], box) for number, _, role, *box in clip.truth["faces"] if role != "ignore"]
    covered = covered_by_masks(alone, times, places)
    return [
        place
        for place, share in zip(places, covered, strict=True)
        if share >= MIN_OVERLAP and track.start <= place[0] <= track.end
    ]


@dataclass(frozen=True)
class Deletions:
    """Deletes tracks of a clip, redacts the clip around them, and grades the pixels. Writes to `out`."""

    clip: Clip
    faces: Faces
    detector: Callable[[], Detector]
    score: ModuleType
    out: Path

    def delete_tracks(self, chosen: Collection[int] = ()) -> Iterator[Leak]:
        """Delete each long track in turn, or only those `chosen`, if its faces are not all under scheduled masks."""
        times = [frame.pts for frame in read_frames(str(self.clip.video))]
        for track in self.faces.tracks:
            is_long = sum(track.start <= pts <= track.end for pts in times) >= MIN_FRAMES
            if not is_long or (chosen and track.id not in chosen):
                continue
            rest, places = (
                without_track(self.faces, track.id),
                faces_of_track(self.clip, times, self.faces, track),
            )
            if min(covered_by_masks(rest, times, places), default=1) < HIDDEN_SHARE:
                yield self._grade(track, rest, places, times[0])

    def _grade(self, track: TrackRecord, rest: Faces, places: Sequence[Place], first: int) -> Leak:
        """Redact the segment of a track with the `rest` of the tracks, without the gate and with it."""
        margin = round(MARGIN_SECONDS / Fraction(self.faces.time_base))
        segment = Segment(str(self.clip.video), max(track.start - margin, first), track.end + margin)
        redact_and_verify(segment, rest, self.out, Options(verify="off"), self.detector)
        seen = seen_places(segment, self.out, places, self.score)
        if not seen:
            return Leak(track.id, 0, 0, is_caught=False)
        try:
            done = redact_and_verify(segment, rest, self.out, Options(), self.detector)
        except QuarantinedError:
            return Leak(track.id, len(seen), 0, is_caught=True)
        left = seen_places(segment, self.out, seen, self.score)
        is_found = done.checked is not None and bool(done.checked.tracks)
        return Leak(track.id, len(seen), len(left), is_found and len(left) < len(seen))


def summarize_leaks(clip: Clip, tried: Sequence[Leak]) -> tuple[Share, tuple[object, ...]]:
    """Return the share of the leaks that were caught, and the clip's row of the table."""
    leaks = [leak for leak in tried if leak.seen]
    caught = Share(sum(leak.is_caught for leak in leaks), len(leaks))
    seen = sum(leak.seen for leak in leaks)
    missed = (f"{leak.track} ({pluralize(leak.seen, 'face')})" for leak in leaks if not leak.is_caught)
    hidden = (str(leak.track) for leak in tried if not leak.seen)
    masked = Share(seen - sum(leak.left for leak in leaks), seen)
    return caught, (clip.name, caught, masked, ", ".join(missed) or "-", ", ".join(hidden) or "-")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table of the clips and each leak that was missed. Return 1 if too few were caught."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--clips", help="names, comma-separated (default: all)")
    parser.add_argument("--tracks", help="numbers of the tracks to delete, comma-separated (default: all)")
    options = parser.parse_args(arguments)
    if "DEFACER_EVAL" not in os.environ:
        print("skipped: DEFACER_EVAL does not name the folder with the clips to judge by.")
        return 0
    folder = Path(os.environ["DEFACER_EVAL"])
    chosen = [int(number) for number in options.tracks.split(",")] if options.tracks else []
    engine, score, rows, shares = Engine(), load_score(folder), [], []
    with tempfile.TemporaryDirectory(prefix="defacer-deleted-") as work:
        for clip in load_clips(folder, options.clips):
            found = engine.detect_segment(Segment(str(clip.video)), None, Options())
            deletions = Deletions(
                clip, link_faces([found], None, Options()), engine.checker, score, Path(work) / "segment.nut"
            )
            caught, row = summarize_leaks(clip, list(deletions.delete_tracks(chosen)))
            shares.append(caught)
            rows.append(row)
            print(f"{clip.name} done: {caught}", file=sys.stderr)
    caught = pooled(shares)
    head = ("clip", "leaks caught", "their faces masked", "missed tracks", "tracks without a visible face")
    print(table(head, rows))
    print(f"caught: {caught}, must: {MIN_CAUGHT:.0%}")
    return 0 if caught.value >= MIN_CAUGHT else 1


if __name__ == "__main__":
    sys.exit(main())
