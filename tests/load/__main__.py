"""Many segments in one job, and many jobs at once: is anything lost, and does anything grow that must not?

    python -m tests.load [--segments 1000] [--jobs 200] [--minutes 30]

The whole pipeline on the local emulator, but for the worker's engine: a stand-in that copies packets and hides nobody
(tests/load/functions/worker). Prints a table; ends with 1 if a message was lost, a job failed or is not complete, or if
list calls, memory or merge's time for a segment grow that must not (tests/load/judging.py).
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.load.judging import broken
from tests.load.running import Load, emulator, load

COLUMNS = (
    "jobs", "segments each", "time", "published", "failed", "dead letters", "incomplete", "messages lost",
    "list answers a job", "merge, a segment", "merge's memory", "a worker's", "longest wait", "deliveries",
    "of them again",
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.load", description=__doc__.splitlines()[0], allow_abbrev=False
    )
    parser.add_argument("--segments", type=int, default=1000, help="of the largest job (default: 1000)")
    parser.add_argument("--jobs", type=int, default=200, help="dropped at once (default: 200)")
    parser.add_argument("--minutes", type=float, default=30, help="for each row, at most (default: 30)")
    arguments = parser.parse_args()
    rows = [
        (1, arguments.segments // 10),
        (1, arguments.segments // 3),
        (1, arguments.segments),
        (arguments.jobs, 2),
    ]
    done: list[Load] = []
    print("|" + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|", flush=True)
    with tempfile.TemporaryDirectory(prefix="defacer-load-") as name, emulator(Path(name)) as running:
        for jobs, segments in rows:
            found = load(running, Path(name), jobs, segments, arguments.minutes * 60)
            print(line(found), flush=True)
            done.append(found)
    *grown, at_once = done
    not_held = broken(grown, at_once)
    print(*not_held or ["nothing was lost, given up or incomplete, and nothing grew that must not"], sep="\n")
    return 1 if not_held else 0


def line(found: Load) -> str:
    cells = (
        found.jobs, found.segments, f"{found.seconds:.0f} s", found.published, found.failed, found.dead_letters,
        found.wrong, found.lost, f"{found.listings:.0f}", f"{found.merge_ms:.1f} ms", f"{found.memory:.0f} MB",
        f"{found.worker_memory:.0f} MB", f"{found.waited:.0f} s", found.deliveries, found.again,
    )  # fmt: skip
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


if __name__ == "__main__":
    sys.exit(main())
