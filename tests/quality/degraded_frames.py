"""Search single varied frames of the clips of DEFACER_EVAL: much quicker than grading varied spans.

    python -m tests.quality.degraded_frames [--clips c04,c11] [--kinds helmet,turn60]

Of each clip, three frames are varied, by all kinds that need no movement. Each frame is searched as in the detection
pass, and as in the check of the result. A face counts as detected if the mask of a detection covers half of its
ellipse. Faces that score.py does not grade are left out. Nothing is stored.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import numpy as np

from defacer.engine.engine import Engine
from defacer.engine.media.orientation import Orientation
from defacer.engine.media.reader import read_frames
from defacer.engine.models.arrays import Detection, compute_overlaps
from defacer.engine.options import Options
from defacer.engine.tracking.reduced_frame import detector_image_of
from defacer.engine.tracking.turns.turn_finder import find_face_turns
from defacer.engine.tracking.turns.turned_views import detect_in_turns
from defacer.engine.verification.inspection import Inspector
from defacer.engine.verification.visible_faces import (
    MASKED_SHARE,
    MIN_CANDIDATE_SCORE,
    SAME_FACE,
    covered_share,
)
from tests.quality.clips import Clip, load_clips, load_score
from tests.quality.degraded import SECOND_CLIP
from tests.quality.figures import Share, table
from tests.quality.grades import graded_crop
from tests.quality.spans import Face, SpanFrame, read_span, write_span
from tests.quality.variations import VARIATIONS, Variation

STARTS = (0.1, 0.4, 0.7)  # of a clip: its three frames


@dataclass(frozen=True)
class FoundFace:
    """Whether each search detected a face. `is_faint`: the first search detected it with a low score."""

    is_found: bool
    is_faint: bool
    is_found_in_turns: bool
    is_checked: bool


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.quality.degraded_frames",
        description=__doc__.splitlines()[0],
        allow_abbrev=False,
    )
    still = [kind for kind, variation in VARIATIONS.items() if not variation.needs_movement]
    parser.add_argument("--clips", metavar="c04,c11", help="only these (default: all)")
    parser.add_argument("--kinds", default=",".join(still), metavar="helmet,turn60", help="(default: all)")
    given = parser.parse_args()
    if "DEFACER_EVAL" not in os.environ:
        print("skipped: DEFACER_EVAL does not name the folder with the clips to judge by.")
        return 0
    folder = Path(os.environ["DEFACER_EVAL"])
    frames = list(_frames(load_clips(folder), given.clips))
    search, rows = _Search(Engine(), load_score(folder)), []
    for kind in given.kinds.split(","):
        found = [one for frame, other in frames for one in search.faces(VARIATIONS[kind], frame, other)]
        rows.append(_row(VARIATIONS[kind].meaning, found))
        print(rows[-1], file=sys.stderr, flush=True)
    head = ["faces", "missed", "of these faint", "missed in found positions too", "and by the check"]
    print(table(["varied by", *head], rows))
    return 0


def _frames(clips: Sequence[Clip], names: str | None) -> Iterator[tuple[SpanFrame, SpanFrame]]:
    """Yield frames of each clip, each with one of another clip."""
    of_clips = [[read_span(clip, start, 0.01)[0] for start in STARTS] for clip in clips]
    for number, clip in enumerate(clips):
        if names is None or clip.name in names.split(","):
            yield from zip(of_clips[number], of_clips[(number + SECOND_CLIP) % len(clips)], strict=True)


class _Search:
    def __init__(self, engine: Engine, score: ModuleType):
        self._engine, self._score = engine, score
        self._detector = engine.detector(Options().detector)

    def faces(self, variation: Variation, frame: SpanFrame, other: SpanFrame) -> Iterator[FoundFace]:
        """Yield the graded faces of a varied frame."""
        [varied] = variation.vary([frame], [other])
        with tempfile.TemporaryDirectory(prefix="defacer-degraded-") as temporary:
            video = Path(temporary) / "varied.mp4"
            write_span([varied], video, variation.crf)
            [picture] = read_frames(str(video))
        image, gray = detector_image_of(picture, Orientation()), picture.to_ndarray(format="gray")
        scale = image.shape[1] / picture.width
        turns = find_face_turns(image, self._engine.checker()) or ()
        plain, turned = (
            [face.scaled(1 / scale) for face in detect_in_turns(self._detector, [image], [some])[0]]
            for some in ((), turns)
        )
        checked = Inspector(self._engine.checker(), Fraction(1), lambda: None).detect(picture)
        sure, size = self._detector.confident_score, (picture.width, picture.height)
        for face in varied.faces:
            if face.role != "ignore" and graded_crop(gray, face.box, self._score) is not None:
                yield FoundFace(
                    _covers(plain, sure, face, size),
                    any(_overlap(one, face) >= SAME_FACE for one in plain),
                    _covers(turned, sure, face, size),
                    _covers(checked, MIN_CANDIDATE_SCORE, face, size),
                )


def _covers(found: Sequence[Detection], score: float, face: Face, size: tuple[int, int]) -> bool:
    boxes = [tuple(map(float, one.box)) for one in found if one.score >= score]
    return covered_share(face.box, boxes, *size) >= MASKED_SHARE  # type: ignore[arg-type]


def _overlap(one: Detection, face: Face) -> float:
    return float(compute_overlaps(one.box, np.array([face.box], np.float32))[0])


def _row(meaning: str, faces: Sequence[FoundFace]) -> list[object]:
    missed = [face for face in faces if not face.is_found]
    in_turns = [face for face in faces if not face.is_found_in_turns]
    return [
        meaning,
        len(faces),
        Share(len(missed), len(faces)),
        sum(face.is_faint for face in missed),
        len(in_turns),
        sum(not face.is_checked for face in in_turns),
    ]


if __name__ == "__main__":
    sys.exit(main())
