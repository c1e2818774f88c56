"""Measure how many leaks the release gate catches: `python -m tests.quality.deleted_tracks [--clips c02,c05]`.

Each clip is detected and linked once, with no target. A leak is made by deleting one track of at least 12 frames from
the faces before redaction. The faces of the track that no other mask covers are visible then. Annotated faces decide
that, so a track of a false detection makes no leak. The gate catches a leak if its own tracks mask at least one of
these faces, or if it refuses the segment.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from defacer.engine.engine import Engine
from defacer.engine.errors import QuarantinedError
from defacer.engine.media.reader import Segment, read_frames
from defacer.engine.options import Options
from defacer.engine.tracking.linking import link_faces
from defacer.engine.verification.release_gate import redact_and_verify
from defacer.plurals import pluralize
from defacer.report.faces import Faces
from defacer.report.tracks import TrackRecord
from tests.quality.clips import Clip, load_clips
from tests.quality.figures import Share, pooled, table
from tests.quality.grades import HIDDEN_SHARE, Place, covered_by_masks

MIN_FRAMES = 12
MIN_CAUGHT = 0.95
MARGIN_SECONDS = 1.0  # before and after the track
MIN_OVERLAP = 0.5  # of an annotated face with a track's box, to be a face of the track


@dataclass(frozen=True)
class Leak:
    """A deleted track: the visible faces without the gate and with it."""

    track: int
    visible: int
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


def visible_places(faces: Faces, times: Sequence[int], places: Sequence[Place]) -> list[Place]:
    """Return the faces of which the masks cover too little."""
    covered = covered_by_masks(faces, times, places)
    return [place for place, share in zip(places, covered, strict=True) if share < HIDDEN_SHARE]


def delete_tracks(clip: Clip, engine: Engine, folder: Path) -> Iterator[Leak]:
    """Delete each long track in turn, and yield those that make a leak."""
    options = Options()
    faces = link_faces([engine.detect_segment(Segment(str(clip.video)), None, options)], None, options)
    base = Fraction(faces.time_base)
    margin = round(MARGIN_SECONDS / base)
    times = [frame.pts for frame in read_frames(str(clip.video))]
    for track in faces.tracks:
        if sum(track.start <= pts <= track.end for pts in times) < MIN_FRAMES:
            continue
        rest = without_track(faces, track.id)
        visible = visible_places(rest, times, faces_of_track(clip, times, faces, track))
        if not visible:
            continue
        segment = Segment(str(clip.video), max(track.start - margin, times[0]), track.end + margin)
        try:
            done = redact_and_verify(segment, rest, folder / "segment.nut", options, engine.checker)
        except QuarantinedError:
            yield Leak(track.id, len(visible), 0, True)
            continue
        found = done.checked.tracks if done.checked else ()
        left = visible_places(replace(rest, tracks=rest.tracks + found), times, visible)
        yield Leak(track.id, len(visible), len(left), len(left) < len(visible))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table of the clips and each leak that was missed. Return 1 if too few were caught."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--clips", help="names, comma-separated (default: all)")
    chosen = parser.parse_args(arguments)
    if "DEFACER_EVAL" not in os.environ:
        print("skipped: DEFACER_EVAL does not name the folder with the clips to judge by.")
        return 0
    clips = load_clips(Path(os.environ["DEFACER_EVAL"]), chosen.clips)
    engine, rows, shares = Engine(), [], []
    with tempfile.TemporaryDirectory(prefix="defacer-deleted-") as folder:
        for clip in clips:
            leaks = list(delete_tracks(clip, engine, Path(folder)))
            shares.append(Share(sum(leak.is_caught for leak in leaks), len(leaks)))
            missed = [
                f"{leak.track} ({pluralize(leak.visible, 'face')})" for leak in leaks if not leak.is_caught
            ]
            masked = sum(leak.visible - leak.left for leak in leaks)
            rows.append(
                (
                    clip.name,
                    shares[-1],
                    Share(masked, sum(leak.visible for leak in leaks)),
                    ", ".join(missed) or "-",
                )
            )
            print(f"{clip.name} done: {shares[-1]}", file=sys.stderr)
    caught = pooled(shares)
    print(table(("clip", "deleted tracks caught", "their faces masked", "missed tracks"), rows))
    print(f"caught: {caught}, must: {MIN_CAUGHT:.0%}")
    return 0 if caught.value >= MIN_CAUGHT else 1


if __name__ == "__main__":
    sys.exit(main())
