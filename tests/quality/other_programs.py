"""Grade other programs on the same clips: deface hides everyone, the 2019 algorithm keeps the target."""

import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from tests.benchmarks.deface_tool import DEFAULT_FOLDER, deface_program
from tests.benchmarks.running import Program, run_timed
from tests.quality.clips import Clip
from tests.quality.figures import percent, pooled, table
from tests.quality.grades import Grades, grades_of


@dataclass(frozen=True)
class OtherResult:
    """The grades of one program for one clip."""

    program: str
    clip: str
    grades: Grades
    seconds: float


def run_other_programs(clips: Iterable[Clip], score: ModuleType) -> Iterator[OtherResult]:
    """Run both programs on each clip, one at a time, and grade the results."""
    deface = deface_program(DEFAULT_FOLDER)
    for clip in clips:
        yield _run(deface, clip, score, hides_all=True)
        if clip.target_picture is not None:
            module = (sys.executable, "-m", "tests.benchmarks.algorithm_2019")
            command = (*module, "IN", "OUT", "--target", str(clip.target_picture))
            yield _run(Program("2019 algorithm", command), clip, score, hides_all=False)
        print(f"{clip.name} done by other programs", file=sys.stderr)


def _run(program: Program, clip: Clip, score: ModuleType, *, hides_all: bool) -> OtherResult:
    with tempfile.TemporaryDirectory(prefix="defacer-quality-") as folder:
        out = Path(folder) / "out.mp4"
        run = run_timed(program.arguments(clip.video, out), Path(folder) / "log.txt")
        grades = grades_of(clip.truth, clip.video, out, score, hides_all=hides_all)
    return OtherResult(program.name, clip.name, grades, run.seconds)


def other_programs_table(results: Sequence[OtherResult]) -> str:
    rows = []
    for name in dict.fromkeys(result.program for result in results):
        own = [result for result in results if result.program == name]
        grades = [result.grades for result in own]
        over_masking = sum(one.over_masking for one in grades) / len(grades)
        rows.append(
            [
                f"{name}, {'hiding everyone' if grades[0].hides_all else 'with a target'}",
                len(own),
                pooled(one.leaked for one in grades),
                pooled(one.kept for one in grades),
                percent(over_masking),
                f"{sum(one.is_unchanged for one in grades)} of {len(grades)}",
                f"{sum(result.seconds for result in own):.0f}",
            ]
        )
    head = ["program", "clips", "leaked", "target kept", "over-masking", "unchanged", "seconds"]
    return table(head, rows)
