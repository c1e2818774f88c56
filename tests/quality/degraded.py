"""Vary short spans of the clips of DEFACER_EVAL, and grade them: sizes, crops, light, noise, edits, covered faces.

    python -m tests.quality.degraded [--clips c04,c11] [--kinds dark,mask] [--half choose|check]

The engine processes each varied span with the clip's target and hiding everyone, with the check of the result, and
score.py compares the result with the varied span. A target that cannot be recognized is hidden, which is right: "target
kept" is for information. Nothing is stored.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from defacer.engine.engine import Engine
from defacer.engine.media.joiner import SegmentFile, join_files
from defacer.engine.media.reader import Segment
from defacer.engine.options import Options
from defacer.engine.recognition.gallery import Gallery
from defacer.engine.tracking.linking import link_faces
from defacer.engine.verification.release_gate import redact_and_verify
from tests.quality.clips import Clip, Truth, load_clips, load_score
from tests.quality.figures import Share, pooled, table
from tests.quality.people import gallery_of, given_target
from tests.quality.spans import read_span, write_span
from tests.quality.variations import VARIATIONS

SECONDS = 2.0
START = 0.3  # of a clip: where its span begins
SECOND_CLIP = 3  # the second clip of an edit is this many clips further on
HALVES = ("choose", "check")


@dataclass(frozen=True)
class Result:
    """The grades of a varied span. `findings` are the faces that the check of the result masked."""

    clip: str
    kind: str
    leaked: Share
    kept: Share
    leaked_hiding_everyone: Share
    over_masking: float
    findings: int
    leaked_at: Sequence[Sequence[int]]  # frame and track


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.quality.degraded", description=__doc__.splitlines()[0], allow_abbrev=False
    )
    parser.add_argument("--clips", metavar="c04,c11", help="only these (default: all)")
    parser.add_argument("--kinds", metavar="dark,mask", help="only these (default: all)")
    parser.add_argument(
        "--half", choices=HALVES, help="half of the pairs of clip and kind (default: all pairs)"
    )
    given = parser.parse_args()
    if "DEFACER_EVAL" not in os.environ:
        print("skipped: DEFACER_EVAL does not name the folder with the clips to judge by.")
        return 0
    kinds = given.kinds.split(",") if given.kinds else list(VARIATIONS)
    results: list[Result] = []
    for result in judge(Path(os.environ["DEFACER_EVAL"]), given.clips, kinds, given.half):
        results.append(result)
        print(f"{result.kind} {result.clip}: {_line(result)}", file=sys.stderr, flush=True)
    print(_table(results))
    return 0


def judge(folder: Path, names: str | None, kinds: Sequence[str], half: str | None) -> Iterator[Result]:
    """Yield the result of each clip and kind."""
    clips, score, engine = load_clips(folder), load_score(folder), Engine()
    chosen = {clip.name for clip in load_clips(folder, names)}
    for number, clip in enumerate(clips):
        wanted = [
            kind
            for place, kind in enumerate(VARIATIONS)
            if kind in kinds and (half is None or HALVES[(number + place) % 2] == half)
        ]
        if clip.name not in chosen or not wanted:
            continue
        person = given_target(clip)
        gallery = gallery_of(person, engine, Options()) if person else None
        other = clips[(number + SECOND_CLIP) % len(clips)]
        span, second = read_span(clip, START, SECONDS), read_span(other, START, SECONDS)
        for kind in wanted:
            variation = VARIATIONS[kind]
            with tempfile.TemporaryDirectory(prefix="defacer-degraded-") as temporary:
                video = Path(temporary) / "varied.mp4"
                truth = write_span(variation.vary(span, second), video, variation.crf)
                yield _judge(clip, kind, video, truth, gallery, engine, score)


def _judge(
    clip: Clip,
    kind: str,
    video: Path,
    truth: Truth,
    gallery: Gallery | None,
    engine: Engine,
    score: ModuleType,
) -> Result:
    options = Options()
    found = engine.detect_segment(Segment(str(video)), gallery, options)
    out, nut = video.with_name("out.mp4"), video.with_name("segment.nut")
    grades = []
    findings = 0
    for people in (gallery, None):
        faces = link_faces([found], people, options)
        if people and all(track.decision == "hide" for track in faces.tracks):
            continue  # the result is that of hiding everyone
        done = redact_and_verify(Segment(str(video)), faces, nut, options, engine.checker)
        join_files(str(video), [SegmentFile.from_path(str(nut), done.written)], out)
        grades.append(score.score(truth, str(video), str(out), people is None))
        findings += len(done.checked.tracks) if done.checked else 0
    targets, everyone = (grades[0] if len(grades) > 1 else None), grades[-1]
    target_faces = sum(role == "target" for _, _, role, *_ in truth["faces"])
    return Result(
        clip.name,
        kind,
        _share(targets, "leaked", "faces_to_hide"),
        Share(round((targets["kept"] or 0) * targets["target_faces"]), targets["target_faces"])
        if targets
        else Share(0, target_faces),
        _share(everyone, "leaked", "faces_to_hide"),
        everyone["spill"],
        findings,
        [*(targets["leaked_at"] if targets else ()), *everyone["leaked_at"]],
    )


def _share(grades: dict[str, int] | None, count: str, of: str) -> Share:
    return Share(grades[count], grades[of]) if grades else Share(0, 0)


def _line(result: Result) -> str:
    return (
        f"leaked {result.leaked.count}/{result.leaked.of} and {result.leaked_hiding_everyone.count}/"
        f"{result.leaked_hiding_everyone.of}, kept {result.kept.count}/{result.kept.of}, over-masking "
        f"{result.over_masking:.4f}, found {result.findings} {list(result.leaked_at)[:12] or ''}"
    )


def _table(results: Sequence[Result]) -> str:
    rows = []
    for kind in dict.fromkeys(result.kind for result in results):
        of_kind = [result for result in results if result.kind == kind]
        rows.append(
            [
                VARIATIONS[kind].meaning,
                len(of_kind),
                pooled(result.leaked for result in of_kind),
                pooled(result.kept for result in of_kind),
                pooled(result.leaked_hiding_everyone for result in of_kind),
                sum(result.findings for result in of_kind),
            ]
        )
    head = ["clips", "leaked, with a target", "target kept", "leaked, hiding everyone", "found by the check"]
    return table(["varied by", *head], rows)


if __name__ == "__main__":
    sys.exit(main())
