"""Can a hidden face still be recognised? Everyone in the clips of DEFACER_EVAL is hidden in every mode, and judged.

    python -m tests.quality.irreversible [--clips c02,c05] [--every 5] [--modes blur,pixelate,solid,image]

A hidden face is recognisable if the recognizer finds it as near as a target would have to be (the keep distance)
to the source at the same place, or to one of eight other source crops of the same track. What is judged is the
frame as `conceal` leaves it; encoding it only takes more away. Two rows say what the figures are worth: how many
of the faces that were not hidden are recognised so (without the crop at the same place), and, as "chance", how
often a hidden face is that near to a stranger: a track of another clip, or one beside it in the same frame.

"seen" is score.py's own measure: the structural likeness to the source, by which 0.70 is a leak.
Nothing is written; the exit code is 1 if too many faces are recognisable in a mode.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from functions.engine.conceal import Style, conceal
from functions.engine.cover import Cover
from functions.engine.deface import Engine
from functions.engine.detect import Detection
from functions.engine.embed import Recognizer
from functions.engine.likeness import match_threshold
from functions.engine.link import link
from functions.engine.options import Options
from functions.engine.orientation import orientation_of
from functions.engine.video import Segment, read_frames
from tests.quality.clips import clips_of, load_score

MOST_RECOGNISABLE = 0.002
LEAST_POWER = 0.5  # a measure that does not recognise half of the faces that are in plain sight says nothing
RECOGNIZER = "facenet-casia"
MODES = ("blur", "pixelate", "solid", "image")
VIEWS = 8  # other source crops of a track that a hidden face is compared with
HEAVY_BLUR = 6  # as score.py: a face that is like its own blur shows no structure to judge by
Image = NDArray[np.uint8]
Floats = NDArray[np.float32]


@dataclass
class Faces:
    """Every judged face: whose it is, its embedding in the source, and for each style hidden, and the likeness."""

    tracks: list[tuple[str, int]] = field(default_factory=list)  # clip, annotated track
    frames: list[tuple[str, int]] = field(default_factory=list)
    source: list[Floats] = field(default_factory=list)
    hidden: dict[str, list[Floats]] = field(default_factory=dict)
    likeness: dict[str, list[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """One style's result. `likeness` is score.py's, one value a face."""

    style: str
    faces: int
    recognisable: int
    chance: float
    likeness: Floats

    @property
    def share(self) -> float:
        return self.recognisable / self.faces


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.quality.irreversible", allow_abbrev=False)
    parser.add_argument("--clips", metavar="c02,c05", help="only these (default: all)")
    parser.add_argument(
        "--every", type=int, default=1, metavar="N", help="only every N-th frame (default: 1)"
    )
    parser.add_argument("--modes", default=",".join(MODES), help=f"some of {','.join(MODES)} (default: all)")
    given = parser.parse_args(arguments)
    if "DEFACER_EVAL" not in os.environ:
        print("skipped: DEFACER_EVAL does not name the folder with the clips to judge by.")
        return 0
    unknown = set(given.modes.split(",")) - set(MODES)
    if unknown or given.every < 1:
        parser.error(f"unknown mode {', '.join(sorted(unknown))}" if unknown else "--every must be 1 or more")
    folder = Path(os.environ["DEFACER_EVAL"])
    clips = clips_of(folder, given.clips)
    if not clips:
        print(f"error: no clips {given.clips or ''} in {folder / 'clips'}.", file=sys.stderr)
        return 2
    faces = Faces()
    engine, score = Engine(), load_score(folder)
    for clip in clips:
        _judge(clip, faces, engine, score, _styles(given.modes.split(",")), given.every)
        print(f"{clip.stem} done", file=sys.stderr)
    if not faces.tracks:
        print("error: no face to judge in these frames: choose a smaller --every.", file=sys.stderr)
        return 2
    return report(faces)


def report(faces: Faces) -> int:
    """Print the table and what is not held; 1 if something is not."""
    in_sight, rows = _rows(faces)
    print(_table(in_sight, rows))
    problems = [
        f"{row.style}: {row.recognisable} of {row.faces} hidden faces recognisable, at most {MOST_RECOGNISABLE}"
        for row in rows
        if row.share > MOST_RECOGNISABLE
    ]
    if in_sight.share < LEAST_POWER:
        problems.append(
            f"only {in_sight.share:.2f} of the faces in plain sight are recognised: a blunt measure"
        )
    for problem in problems:
        print(f"not held: {problem}")
    return 1 if problems else 0


def _styles(modes: Sequence[str]) -> dict[str, Style]:
    styles = {mode: Style(mode) for mode in modes if mode != "image"}
    if "image" in modes:
        opaque = np.full((200, 160, 4), 255, np.uint8)
        opaque[..., :3] = (0, 90, 160)
        cv2.circle(opaque, (80, 90), 50, (240, 220, 60, 255), -1)
        clear = opaque.copy()
        clear[..., 3] = np.linspace(0, 255, 200).astype(np.uint8)[:, None]
        styles |= {"image, opaque": Style("image", picture=opaque)}
        styles |= {"image, half transparent": Style("image", picture=clear)}
    return styles


def _judge(
    clip: Path, faces: Faces, engine: Engine, score: ModuleType, styles: dict[str, Style], every: int
) -> None:
    truth = json.loads(clip.with_suffix(".json").read_text())
    found = link([engine.find(Segment(str(clip)), None, Options())], None, Options())
    cover, recognizer = Cover(found), engine.recognizer(RECOGNIZER)
    for number, frame in enumerate(read_frames(str(clip))):
        boxes = cover.boxes(frame.pts or 0)
        if number % every:
            continue
        image = frame.to_ndarray(format="rgb24")
        graded = list(_graded(truth["faces"], number, image, score))
        if not graded:
            continue
        faces.tracks += [(clip.stem, track) for track, _, _ in graded]
        faces.frames += [(clip.stem, number)] * len(graded)
        crops = [box for _, box, _ in graded]
        faces.source += _embedded(image, crops, recognizer)
        for name, hidden in _hidden(frame, boxes, styles):
            gray = cv2.cvtColor(hidden, cv2.COLOR_RGB2GRAY)
            faces.hidden.setdefault(name, []).extend(_embedded(hidden, crops, recognizer))
            faces.likeness.setdefault(name, []).extend(
                score.ssim(before, score.crop(gray, box)) for _, box, before in graded
            )


def _graded(
    annotated: Sequence[Sequence[Any]], number: int, image: Image, score: ModuleType
) -> Iterator[tuple[int, list[float], Image]]:
    """Track, box and gray crop of each face in the frame that score.py would grade."""
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    for frame, track, role, *box in annotated:
        if frame != number or role == "ignore":
            continue
        crop = score.crop(gray, box)
        if crop is None or score.ssim(crop, cv2.GaussianBlur(crop, (0, 0), HEAVY_BLUR)) >= score.SEEN_SSIM:
            continue
        yield track, box, crop


def _hidden(
    frame: av.VideoFrame, boxes: list[tuple[float, float, float, float]], styles: dict[str, Style]
) -> Iterator[tuple[str, Image]]:
    """The frame with these boxes hidden, RGB, once for each style."""
    orientation = orientation_of(frame)
    frame.make_writable()
    planes = [bytes(plane) for plane in frame.planes]
    for name, style in styles.items():
        for plane, original in zip(frame.planes, planes, strict=True):
            plane.update(original)
        conceal(frame, boxes, style, orientation)
        yield name, frame.to_ndarray(format="rgb24")


def _embedded(image: Image, boxes: Sequence[Sequence[float]], recognizer: Recognizer) -> list[Floats]:
    nowhere = np.zeros((5, 2), np.float32)  # FaceNet's crop is by the box alone
    faces = [Detection(np.array(box, np.float32), 1.0, nowhere) for box in boxes]
    return list(recognizer.embed([recognizer.crop(image, face) for face in faces])[0])


def _rows(faces: Faces) -> tuple[Row, list[Row]]:
    """The result for the faces as they are in the source, and for each style."""
    source = np.stack(faces.source)
    tracks = sorted(set(faces.tracks))
    members = {track: [n for n, of in enumerate(faces.tracks) if of == track] for track in tracks}
    views = {track: _spread(members[track]) for track in tracks}
    beside: dict[tuple[str, int], set[tuple[str, int]]] = {}
    for track, frame in zip(faces.tracks, faces.frames, strict=True):
        beside.setdefault(frame, set()).add(track)
    strangers = np.array(
        [
            [other[0] != track[0] or (other != track and other in beside[frame]) for other in tracks]
            for track, frame in zip(faces.tracks, faces.frames, strict=True)
        ]
    )

    def row(name: str, embeddings: Floats, same_place: bool, likeness: Sequence[float]) -> Row:
        # Of unit vectors: |a - b|^2 = 2 - 2 a.b
        limit = match_threshold(Options(recognizer=RECOGNIZER))
        near = np.sqrt(np.maximum(0, 2 - 2 * embeddings @ source.T)) <= limit
        recognised = 0
        for n, track in enumerate(faces.tracks):
            others = [view for view in views[track] if view != n]
            recognised += bool(near[n, others].any() or (same_place and near[n, n]))
        to_strangers = np.stack([near[:, views[track]].any(axis=1) for track in tracks], axis=1)
        chance = float(to_strangers[strangers].mean()) if strangers.any() else float("nan")
        return Row(name, len(faces.tracks), recognised, chance, np.array(likeness, np.float32))

    return row("not hidden", source, False, []), [
        row(name, np.stack(hidden), True, faces.likeness[name]) for name, hidden in faces.hidden.items()
    ]


def _spread(members: Sequence[int]) -> list[int]:
    """Up to VIEWS of these, spread evenly from the first to the last."""
    places = np.linspace(0, len(members) - 1, min(VIEWS, len(members)))
    return [members[round(float(place))] for place in places]


def _table(in_sight: Row, rows: Sequence[Row]) -> str:
    lines = [
        "| everyone hidden by | faces | recognisable | share | chance | seen .62-.65 | .65-.70 | from .70 | most |",
        "|---|---|---|---|---|---|---|---|---|",
        f"| {_recognition(in_sight)} | | | | |",
    ]
    between: Callable[[Row, float, float], int] = lambda row, low, high: int(  # noqa: E731
        ((row.likeness >= low) & (row.likeness < high)).sum()
    )
    lines += [
        f"| {_recognition(row)} | {between(row, 0.62, 0.65)} | {between(row, 0.65, 0.7)} "
        f"| {between(row, 0.7, 2)} | {row.likeness.max():.2f} |"
        for row in rows
    ]
    return "\n".join(lines)


def _recognition(row: Row) -> str:
    return (
        f"{row.style} | {row.faces} | {row.recognisable} | {100 * row.share:.2f} % | {100 * row.chance:.2f} %"
    )


if __name__ == "__main__":
    sys.exit(main())
