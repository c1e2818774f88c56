"""Compare the engine's speed and memory with other programs in one run on two cores.

    make benchmark                            (DEFACER_EVAL=folder with clips/)
    python -m tests.benchmarks --pairs 1 --only transcode --seconds 1      a quick run

README.md in this folder describes the measurements. The command prints the tables, and exits with 1 if a required bound
is not met.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks import tables
from tests.benchmarks.deface_tool import DEFAULT_FOLDER
from tests.benchmarks.estimate import estimate_minutes
from tests.benchmarks.machine import machine_facts, use_cores
from tests.benchmarks.parts import (
    PARTS,
    PLAIN,
    TABLES,
    Bench,
    Row,
    Works,
    have_encoders_different_options,
)
from tests.benchmarks.running import ROOT, BenchmarkError, Runner, say
from tests.benchmarks.work import Videos, Work


def main() -> int:
    arguments = _parser().parse_args()
    if "DEFACER_EVAL" not in os.environ:
        say("error: DEFACER_EVAL is not set. Set it to the folder that contains clips/.")
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
        help=f"a part to run, repeatable: {', '.join(PARTS)} (default: all)",
    )
    parser.add_argument(
        "--work",
        type=Path,
        metavar="FOLDER",
        help="folder for videos and environments (default: temporary)",
    )
    parser.add_argument(
        "--short-seconds",
        type=float,
        default=2.0,
        metavar="S",
        help="seconds of each clip for deface and the 2019 algorithm, which are slow; 0: the whole clip (default: 2)",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        metavar="S",
        help="seconds of each clip in all parts, for a quick run (default: the whole clip)",
    )
    parser.add_argument(
        "--target-clip", default="c02", metavar="NAME", help="clip whose target stays visible (default: c02)"
    )
    parser.add_argument("--cores", type=_positive, default=2, metavar="N", help="cores to use (default: 2)")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not 1 or more")
    return number


def _target(clips: Path, name: str) -> Path:
    """Return the target picture of a clip."""
    truth = clips / f"{name}.json"
    if not truth.is_file():
        raise BenchmarkError(
            f"{clips} has no {name}.json. Check DEFACER_EVAL, or choose another --target-clip."
        )
    return clips / str(json.loads(truth.read_text())["target_image"])


@contextmanager
def _folder(work: Path | None) -> Iterator[Path]:
    """Yield the given folder, which is kept, or a temporary folder."""
    if work is None:
        with tempfile.TemporaryDirectory(prefix="defacer-benchmarks-") as temporary:
            yield Path(temporary)
        return
    folder = work.resolve()
    if ROOT in (folder, *folder.parents):
        raise BenchmarkError(
            f"--work {work} is inside the repository, which must not contain real people's videos. Name another folder."
        )
    folder.mkdir(parents=True, exist_ok=True)
    yield folder


def _measure(
    arguments: argparse.Namespace, clips: Sequence[Path], target: Path, folder: Path, facts: Sequence[str]
) -> int:
    names = [name for name in PARTS if not arguments.only or name in arguments.only]
    works = Works(arguments.seconds, arguments.short_seconds or None)
    say(
        f"about {estimate_minutes(names, works, arguments.pairs):.0f} minutes on two idle cores: {', '.join(names)}"
    )
    videos = Videos(clips, folder)
    runner = Runner(folder, videos.create(Work("one frame", frames=1)), arguments.pairs)
    live_clip = clips[0].with_name(f"{arguments.target_clip}.mp4")
    environments = folder if arguments.work else DEFAULT_FOLDER
    bench = Bench(runner, videos, works, target, live_clip, environments, folder)
    rows: list[Row] = []
    for name in names:
        say(f"{name}:")
        rows += PARTS[name](bench)
    _print_all(rows, bench, facts, [TABLES[name] for name in names if name in TABLES])
    problems = [
        f"{row.name}: {row.median:.2f}{row.bound.unit}" for row in rows if not row.bound.is_met_by(row.median)
    ]
    if have_encoders_different_options(runner):
        problems.append(
            "the plain transcode's encoder settings differ from the engine's. Correct tests/benchmarks/transcode.py"
        )
    for problem in problems:
        print(f"not met: {problem}")
    return 1 if problems else 0


def _print_all(
    rows: Sequence[Row], bench: Bench, facts: Sequence[str], written: Sequence[Callable[[Path], Path]]
) -> None:
    sections = ["\n".join(f"- {fact}" for fact in facts)]
    if PLAIN in bench.runner.encoder_options:
        sections[0] += f"\n- x264 in the plain transcode: {bench.runner.encoder_options[PLAIN]}"
    if rows:
        sections.append(tables.render_results(rows))
    if bench.runner.measurements:
        sections.append(tables.render_programs(bench.runner.measurements))
    sections += [table(bench.folder).read_text().rstrip() for table in written]
    print("\n\n".join(sections))


if __name__ == "__main__":
    sys.exit(main())
