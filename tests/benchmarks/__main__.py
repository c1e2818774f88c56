"""How fast the engine is and how much memory it takes, against other programs in one run on two cores.

    make benchmark                            (DEFACER_EVAL=folder with clips/)
    python -m tests.benchmarks --pairs 1 --only transcode --seconds 1      a quick try

README.md beside this file says what is measured and how. The tables are printed, and the exit code is 1 if a
"must" is not held.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks import tables
from tests.benchmarks.deface_tool import DEFAULT_FOLDER
from tests.benchmarks.estimate import estimated_minutes
from tests.benchmarks.machine import machine_facts, use_cores
from tests.benchmarks.parts import PARTS, PLAIN, Bench, Row, Works, encoders_differ, profile_table
from tests.benchmarks.running import ROOT, BenchmarkError, Runner, say
from tests.benchmarks.work import Videos, Work


def main() -> int:
    arguments = _parser().parse_args()
    if "DEFACER_EVAL" not in os.environ:
        say("error: DEFACER_EVAL is not set: set it to the folder whose clips/ holds the clips to work on.")
        return 2
    try:
        clips = Path(os.environ["DEFACER_EVAL"]) / "clips"
        target = _target(clips, arguments.target_clip)
        cores = use_cores(arguments.cores)
        with _folder(arguments.work) as folder:
            return _measure(arguments, sorted(clips.glob("*.mp4")), target, folder, machine_facts(cores))
    except BenchmarkError as error:
        say(f"error: {error}")
        return 2
    except KeyboardInterrupt:
        say("stopped.")
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description=__doc__.splitlines()[0], allow_abbrev=False
    )
    parser.add_argument(
        "--pairs", type=_positive, default=5, metavar="N", help="runs of each program (default: 5)"
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=list(PARTS),
        metavar="NAME",
        help=f"one part; may be given again: {', '.join(PARTS)} (default: all)",
    )
    parser.add_argument(
        "--work",
        type=Path,
        metavar="FOLDER",
        help="where videos and environments are kept (default: temporary)",
    )
    parser.add_argument(
        "--short-seconds",
        type=float,
        default=2.0,
        metavar="S",
        help="of each clip, against deface and the 2019 algorithm, which are slow; 0: all of it (default: 2)",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        metavar="S",
        help="of each clip, in all parts: a quick try (default: all of it)",
    )
    parser.add_argument(
        "--target-clip", default="c02", metavar="NAME", help="whose target is kept (default: c02)"
    )
    parser.add_argument("--cores", type=_positive, default=2, metavar="N", help="cores to use (default: 2)")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not 1 or more")
    return number


def _target(clips: Path, name: str) -> Path:
    """The target picture of the clip of that name."""
    truth = clips / f"{name}.json"
    if not truth.is_file():
        raise BenchmarkError(
            f"there is no {name}.json in {clips}: check DEFACER_EVAL, or take another --target-clip."
        )
    return clips / str(json.loads(truth.read_text())["target_image"])


@contextmanager
def _folder(work: Path | None) -> Iterator[Path]:
    """The folder to work in: the given one, which is kept, or a temporary one."""
    if work is None:
        with tempfile.TemporaryDirectory(prefix="defacer-benchmarks-") as temporary:
            yield Path(temporary)
        return
    folder = work.resolve()
    if ROOT in (folder, *folder.parents):
        raise BenchmarkError(
            f"--work {work} lies in the repository: real people's videos must not. Name another."
        )
    folder.mkdir(parents=True, exist_ok=True)
    yield folder


def _measure(
    arguments: argparse.Namespace, clips: Sequence[Path], target: Path, folder: Path, facts: Sequence[str]
) -> int:
    names = [name for name in PARTS if not arguments.only or name in arguments.only]
    works = Works(arguments.seconds, arguments.short_seconds or None)
    say(
        f"about {estimated_minutes(names, works, arguments.pairs):.0f} minutes on two quiet cores: {', '.join(names)}"
    )
    videos = Videos(clips, folder)
    runner = Runner(folder, videos.make(Work("one frame", frames=1)), arguments.pairs)
    bench = Bench(runner, videos, works, target, folder if arguments.work else DEFAULT_FOLDER, folder)
    rows: list[Row] = []
    for name in names:
        say(f"{name}:")
        rows += PARTS[name](bench)
    _print_all(rows, bench, facts, "profile" in names)
    problems = [
        f"{row.what}: {row.median:.2f}{row.bound.unit}" for row in rows if not row.bound.holds(row.median)
    ]
    if encoders_differ(runner):
        problems.append(
            "the plain transcode's encoder settings are not the engine's: mend tests/benchmarks/parts.py"
        )
    for problem in problems:
        print(f"not held: {problem}")
    return 1 if problems else 0


def _print_all(rows: Sequence[Row], bench: Bench, facts: Sequence[str], with_profile: bool) -> None:
    sections = ["\n".join(f"- {fact}" for fact in facts)]
    if PLAIN in bench.runner.encoder_options:
        sections[0] += f"\n- x264 in the plain transcode: {bench.runner.encoder_options[PLAIN]}"
    if rows:
        sections.append(tables.judged(rows))
    if bench.runner.measured:
        sections.append(tables.programs(bench.runner.measured))
    if with_profile:
        sections.append(profile_table(bench.folder).read_text().rstrip())
    print("\n\n".join(sections))


if __name__ == "__main__":
    sys.exit(main())
