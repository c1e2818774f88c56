"""The load test: one job of many segments, and many jobs at once.

    python -m tests.load [--segments 1000] [--jobs 200] [--minutes 30]

It runs the whole pipeline on the local emulator, except for the worker's engine: a stand-in copies packets and redacts
nothing (tests/load/functions/worker). It prints a table. The exit code is 1 if a message was lost, if a job failed or
is incomplete, or if list calls, memory or merge's time grow more than allowed (tests/load/judging.py).
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.load.judging import find_violations
from tests.load.running import Load, run_emulator, run_jobs

COLUMNS = (
    "jobs", "segments each", "time", "published", "failed", "dead letters", "incomplete", "messages lost",
    "listings per job", "merge per segment", "merge memory", "worker memory", "longest wait", "deliveries",
    "redeliveries",
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.load", description=__doc__.splitlines()[0], allow_abbrev=False
    )
    parser.add_argument(
        "--segments", type=int, default=1000, help="segments of the largest job (default: 1000)"
    )
    parser.add_argument("--jobs", type=int, default=200, help="jobs to drop at once (default: 200)")
    parser.add_argument("--minutes", type=float, default=30, help="limit for each row (default: 30)")
    arguments = parser.parse_args()
    rows = [
        (1, arguments.segments // 10),
        (1, arguments.segments // 3),
        (1, arguments.segments),
        (arguments.jobs, 2),
    ]
    measured: list[Load] = []
    print("|" + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|", flush=True)
    with tempfile.TemporaryDirectory(prefix="defacer-load-") as name, run_emulator(Path(name)) as running:
        for jobs, segments in rows:
            load = run_jobs(running, Path(name), jobs, segments, arguments.minutes * 60)
            print(format_row(load), flush=True)
            measured.append(load)
    *single, parallel = measured
    violations = find_violations(single, parallel)
    print(
        *violations
        or ["no message was lost or dead-lettered, no job is incomplete, and all growth is allowed"],
        sep="\n",
    )
    return 1 if violations else 0


def format_row(load: Load) -> str:
    cells = (
        load.jobs, load.segments, f"{load.seconds:.0f} s", load.published, load.failed, load.dead_letters,
        load.incomplete, load.lost, f"{load.listings:.0f}", f"{load.merge_ms:.1f} ms", f"{load.merge_memory:.0f} MB",
        f"{load.worker_memory:.0f} MB", f"{load.longest_wait:.0f} s", load.deliveries, load.redeliveries,
    )  # fmt: skip
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


if __name__ == "__main__":
    sys.exit(main())
