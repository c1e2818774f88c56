"""Measure how one drawn box covers a face: `python -m tests.quality.drawn_boxes [--clips c02,c05] [--speed 3]`.

Each clip is detected and linked once, with no target. For each annotated appearance of at least 12 frames, the tracks
that show it are deleted. A box is drawn around the annotated face in the middle of the appearance, and the mask follows
it (`Engine.follow_box`). The appearance is redacted with the mask and without the check of the result. Then score.py
tests the pixels of the annotated faces.

With `--speed 3`, the clip has every third frame, so that everything moves three times as fast. With `--alone`, all
tracks of the clip are deleted, so that nothing tells whose the other faces are.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from statistics import median
from types import ModuleType

import av

from defacer.engine.corrections.span_search import TimeSpan
from defacer.engine.engine import Engine
from defacer.engine.media.reader import Segment, read_frames
from defacer.engine.options import Options
from defacer.engine.rendering.box_motion import compute_overlap, expand_box
from defacer.engine.tracking.linking import link_faces
from defacer.engine.tracking.report_edit import with_edits
from defacer.engine.verification.release_gate import redact_and_verify
from defacer.report.compact_boxes import Box, BoxAt
from defacer.report.edits import AddedTrack, Edits
from defacer.report.faces import Faces
from tests.quality.clips import Clip, load_clips, load_score
from tests.quality.figures import Share, percent, pooled, table
from tests.quality.grades import Place, seen_places

MIN_FRAMES = 12
DRAWN_MARGIN = 0.15  # of the face's size, on each side of a drawn box
SAME_FACE = 0.3  # overlap (intersection over union) of a track and an annotated face


@dataclass(frozen=True)
class Covered:
    """An appearance after one box was drawn: the graded faces that can be seen, and how the mask is.

    `unconfirmed` counts the frames that the mask marks for a check. `size` is the median area of the mask, in areas of
    the annotated face.
    """

    number: int
    seen: Share
    unconfirmed: Share
    size: float


def speed_up(clip: Clip, speed: int, out: Path) -> Clip:
    """Write the clip with every frame whose number is a multiple of `speed`, at 30 frames a second."""
    with av.open(str(out), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"preset": "ultrafast", "crf": "12"})
        stream.pix_fmt = "yuv420p"
        for number, frame in enumerate(read_frames(str(clip.video))):
            if number % speed:
                continue
            if number == 0:
                stream.width, stream.height = frame.width // 2 * 2, frame.height // 2 * 2
            frame = frame.reformat(stream.width, stream.height, "yuv420p")
            frame.pts, frame.time_base = number // speed, Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    faces = [[face[0] // speed, *face[1:]] for face in clip.truth["faces"] if face[0] % speed == 0]
    return Clip(clip.name, out, {**clip.truth, "faces": faces})


def appearances(clip: Clip, times: Sequence[int]) -> dict[int, list[Place]]:
    """Return the graded faces of each appearance that is long enough, by the number of its track."""
    found: dict[int, list[Place]] = {}
    for number, track, role, *box in clip.truth["faces"]:
        if role != "ignore":
            found.setdefault(track, []).append((times[number], box))
    return {track: places for track, places in found.items() if len(places) >= MIN_FRAMES}


def without_face(faces: Faces, places: Sequence[Place]) -> Faces:
    """Return the faces without the tracks that show this face in most of their frames."""
    at = {pts: _box(box) for pts, box in places}
    deleted = set()
    for track in faces.tracks:
        mine = [item for item in track.detections if item.pts in at]
        same = [item for item in mine if compute_overlap(item.box, at[item.pts]) >= SAME_FACE]
        if len(same) * 2 > len(track.detections):
            deleted.add(track.id)
    return replace(
        faces,
        tracks=tuple(
            replace(track, continues=None) if track.continues in deleted else track
            for track in faces.tracks
            if track.id not in deleted
        ),
    )


@dataclass(frozen=True)
class Drawing:
    """Draws a box for each appearance of a clip, and grades the pixels. Writes to `out`."""

    clip: Clip
    faces: Faces
    engine: Engine
    score: ModuleType
    out: Path

    def cover_all(self, chosen: Sequence[int], *, is_alone: bool) -> Iterator[Covered]:
        """Cover each appearance in turn, or only those `chosen`."""
        times = [frame.pts or 0 for frame in read_frames(str(self.clip.video))]
        for number, places in appearances(self.clip, times).items():
            if not chosen or number in chosen:
                rest = replace(self.faces, tracks=()) if is_alone else without_face(self.faces, places)
                yield self._cover(number, places, rest, times)

    def _cover(self, number: int, places: Sequence[Place], rest: Faces, times: Sequence[int]) -> Covered:
        pts, drawn = places[len(places) // 2]
        span = TimeSpan(str(self.clip.video), rest, places[0][0], places[-1][0])
        mask = self.engine.follow_box(span, [BoxAt(pts, expand_box(_box(drawn), DRAWN_MARGIN))])
        made = Faces.from_bytes(with_edits(rest.to_bytes(), Edits(added=(mask,)), None).document)
        segment = Segment(span.source, span.start, span.end + 1)
        redact_and_verify(segment, made, self.out, Options(verify="off"), self.engine.checker)
        seen = seen_places(segment, self.out, places, self.score)
        here = [pts for pts in times if span.start <= pts <= span.end]
        marked = [pts for pts in here if any(first <= pts <= last for first, last in mask.unconfirmed)]
        return Covered(
            number, Share(len(seen), len(places)), Share(len(marked), len(here)), _relative_size(mask, places)
        )


def _relative_size(mask: AddedTrack, places: Sequence[Place]) -> float:
    return median(_area(mask.detections.box_at(pts)) / _area(_box(box)) for pts, box in places)


def _area(box: Box) -> float:
    return max((box[2] - box[0]) * (box[3] - box[1]), 1.0)


def _box(sides: Sequence[float]) -> Box:
    x1, y1, x2, y2 = sides
    return (x1, y1, x2, y2)


def row_of(clip: Clip, found: Sequence[Covered]) -> tuple[object, ...]:
    """Return the clip's row of the table."""
    leaks = (f"{one.number} ({one.seen.count})" for one in found if one.seen.count)
    return (
        clip.name,
        len(found),
        pooled(one.seen for one in found),
        ", ".join(leaks) or "-",
        percent(pooled(one.unconfirmed for one in found).value),
        f"{median(one.size for one in found):.1f}" if found else "-",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table of the clips. Return 1 if a face can be seen."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--clips", help="names, comma-separated (default: all)")
    parser.add_argument("--tracks", help="numbers of the annotated tracks, comma-separated (default: all)")
    parser.add_argument("--speed", type=int, default=1, help="take every N-th frame (default: 1)")
    parser.add_argument("--alone", action="store_true", help="delete all tracks of the clip")
    options = parser.parse_args(arguments)
    if "DEFACER_EVAL" not in os.environ:
        print("skipped: DEFACER_EVAL does not name the folder with the clips to judge by.")
        return 0
    folder = Path(os.environ["DEFACER_EVAL"])
    chosen = [int(number) for number in options.tracks.split(",")] if options.tracks else []
    engine, score, rows, shares = Engine(), load_score(folder), [], []
    with tempfile.TemporaryDirectory(prefix="defacer-drawn-") as work:
        for clip in load_clips(folder, options.clips):
            if options.speed > 1:
                clip = speed_up(clip, options.speed, Path(work) / f"{clip.name}.mp4")
            found = engine.detect_segment(Segment(str(clip.video)), None, Options())
            faces = link_faces([found], None, Options())
            drawing = Drawing(clip, faces, engine, score, Path(work) / "segment.nut")
            covered = list(drawing.cover_all(chosen, is_alone=options.alone))
            rows.append(row_of(clip, covered))
            shares += [one.seen for one in covered]
            print(f"{clip.name} done: {pooled(one.seen for one in covered)}", file=sys.stderr)
    head = ("clip", "appearances", "faces seen", "in appearances", "marked for a check", "size of the mask")
    print(table(head, rows))
    print(f"seen: {pooled(shares)}")
    return 1 if pooled(shares).count else 0


if __name__ == "__main__":
    sys.exit(main())
