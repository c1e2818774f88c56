"""Degrade the clips of DEFACER_EVAL, and grade them again: blurred, half covered, badly lit or noisy faces.

    python -m tests.quality.degraded [--clips c04,c11] [--kinds motion,hands,stage,noise]

Each degraded clip has the times of its source. The engine processes it with its target and hiding everyone, and
score.py compares the result with the degraded clip. A target that cannot be recognized is hidden, which is right:
"target kept" is for information. Nothing is stored.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import av
import cv2
import numpy as np

from defacer.engine.engine import Engine
from defacer.engine.media.reader import Segment, read_frames
from defacer.engine.options import Options
from defacer.engine.tracking.linking import link_faces
from tests.quality.clips import Clip, load_clips, load_score
from tests.quality.figures import pooled, table
from tests.quality.grades import Grades
from tests.quality.people import gallery_of, given_target
from tests.quality.replay import grade

Image = np.ndarray
Boxes = Sequence[tuple[int, tuple[int, int, int, int]]]  # annotated track, box
SKIN = (196, 150, 120)
LAMPS = ((1.3, 0.35, 0.5), (0.3, 0.5, 1.4), (0.9, 0.3, 1.0))  # colors of stage light


def motion(image: Image, number: int, boxes: Boxes) -> Image:
    """Blur the image over 25 pixels to the side, like a fast camera."""
    return cv2.blur(image, (25, 1))


def hands(image: Image, number: int, boxes: Boxes) -> Image:
    """Cover the lower third of each face with an ellipse like a hand, every other half second."""
    image = image.copy()
    for track, (x1, y1, x2, y2) in boxes:
        if (number // 15 + track) % 2:
            center = ((x1 + x2) // 2, y1 + (y2 - y1) * 8 // 10)
            axes = (max(1, (x2 - x1) * 6 // 10), max(1, (y2 - y1) // 3))
            cv2.ellipse(image, center, axes, 15, 0, 360, SKIN, -1)
    return image


def stage(image: Image, number: int, boxes: Boxes) -> Image:
    """Add colored lamps that change six times a second. Every seventh frame and the next one are dark."""
    light = np.array(LAMPS[number // 5 % 3]) * (0.55 if number % 7 < 5 else 0.2)
    return np.clip(image * light, 0, 255).astype(np.uint8)


def noise(image: Image, number: int, boxes: Boxes) -> Image:
    """Reduce the light to a quarter, and add the noise of a small sensor."""
    random = np.random.default_rng(number).normal(0, 14, image.shape)
    return np.clip(image * 0.25 + random, 0, 255).astype(np.uint8)


KINDS: dict[str, Callable[[Image, int, Boxes], Image]] = {
    "motion": motion, "hands": hands, "stage": stage, "noise": noise,
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.quality.degraded", description=__doc__.splitlines()[0], allow_abbrev=False
    )
    parser.add_argument("--clips", metavar="c04,c11", help="only these (default: all)")
    parser.add_argument("--kinds", default=",".join(KINDS), help=f"some of {','.join(KINDS)} (default: all)")
    given = parser.parse_args()
    if "DEFACER_EVAL" not in os.environ:
        print("skipped: DEFACER_EVAL does not name the folder with the clips to judge by.")
        return 0
    folder = Path(os.environ["DEFACER_EVAL"])
    clips, score, engine = load_clips(folder, given.clips), load_score(folder), Engine()
    rows = []
    for kind in given.kinds.split(","):
        grades: list[Grades] = []
        for clip in clips:
            with tempfile.TemporaryDirectory(prefix="defacer-degraded-") as temporary:
                grades += _judge(clip, kind, Path(temporary), engine, score)
            print(f"{kind} {clip.name} done", file=sys.stderr)
        rows.append(_row(kind, grades))
    print(table(["degraded by", "leaked, with a target", "target kept", "leaked, hiding everyone"], rows))
    return 0


def _judge(clip: Clip, kind: str, folder: Path, engine: Engine, score: ModuleType) -> list[Grades]:
    """Return the grades of the harder clip with its target, and of hiding everyone."""
    harder = folder / "harder.mp4"
    _write(clip.video, harder, kind, clip.truth["faces"])
    person = given_target(clip)
    grades = []
    for gallery in (gallery_of(person, engine, Options()), None) if person else (None,):
        faces = link_faces(
            engine.detect_subsegments(Segment(str(harder)), gallery, Options()), gallery, Options()
        )
        grades.append(grade(harder, faces, clip.truth, folder, score, hides_all=gallery is None))
    return grades


def _write(video: Path, harder: Path, kind: str, annotated: Sequence[Sequence[Any]]) -> None:
    by_frame: dict[int, list[tuple[int, tuple[int, int, int, int]]]] = {}
    for frame, track, _, *box in annotated:
        x1, y1, x2, y2 = (int(side) for side in box)
        by_frame.setdefault(frame, []).append((track, (x1, y1, x2, y2)))
    with av.open(str(harder), "w") as out:
        stream = None
        for number, frame in enumerate(read_frames(str(video))):
            if stream is None:
                stream = out.add_stream("libx264", rate=30, options={"preset": "veryfast", "crf": "16"})
                stream.width, stream.height = frame.width, frame.height
                stream.time_base = stream.codec_context.time_base = frame.time_base
            image = KINDS[kind](frame.to_ndarray(format="rgb24"), number, by_frame.get(number, ()))
            made = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
            made.pts, made.time_base = frame.pts, frame.time_base
            out.mux(stream.encode(made))
        if stream is not None:
            out.mux(stream.encode(None))


def _row(kind: str, grades: Sequence[Grades]) -> list[object]:
    meaning = (KINDS[kind].__doc__ or "").splitlines()[0].rstrip(".")
    targets = [one for one in grades if not one.hides_all]
    return [
        f"{kind}: {meaning[0].lower()}{meaning[1:]}",
        pooled(one.leaked for one in targets),
        pooled(one.kept for one in targets),
        pooled(one.leaked for one in grades if one.hides_all),
    ]


if __name__ == "__main__":
    sys.exit(main())
