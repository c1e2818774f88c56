"""Many segments in one job, and many jobs at once: is anything lost, and does anything grow that must not?

    python -m tests.load [--segments 1000] [--jobs 200] [--minutes 30]

The whole pipeline on the local emulator, but for the worker's engine: a stand-in that copies packets and hides nobody
(tests/load/functions/worker). Prints a table; ends with 1 if a job was lost, failed or is not complete, or if list
calls or merge's time and memory for a segment grow with the job. Memory is the most that merge has held so far.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.load.running import Load, emulator, load

COLUMNS = (
    "jobs", "segments each", "time", "published", "failed", "dead letters", "incomplete", "list answers a job",
    "join, a segment", "merge's memory", "deliveries", "of them again",
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.load", description=__doc__.splitlines()[0])
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
    good, first = True, None
    print("|" + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|", flush=True)
    with tempfile.TemporaryDirectory(prefix="defacer-load-") as name, emulator(Path(name)) as running:
        for jobs, segments in rows:
            found = load(running, Path(name), jobs, segments, arguments.minutes * 60)
            print(line(found), flush=True)
            first = first or found
            good &= is_good(found) and grows_no_faster(found, first)
    print(
        "nothing was lost, given up or incomplete, and nothing grew that must not"
        if good
        else "NOT HELD: see above"
    )
    return 0 if good else 1


def is_good(found: Load) -> bool:
    """Whether every job was published complete, and no message was given up."""
    return found.published == found.jobs and not found.failed and not found.dead_letters and not found.wrong


def grows_no_faster(found: Load, first: Load) -> bool:
    """Whether a job costs as many list calls a segment, and as much of merge's time and memory, as in a small run."""
    return (
        found.listings
        < 3 * found.segments + 10  # one a segment and step, some more for each job and each hundred
        and (found.segments < first.segments or found.join_ms < 2 * first.join_ms)
        and found.memory < 1.5 * first.memory
    )


def line(found: Load) -> str:
    cells = (
        found.jobs, found.segments, f"{found.seconds:.0f} s", found.published, found.failed, found.dead_letters,
        found.wrong, f"{found.listings:.0f}", f"{found.join_ms:.1f} ms", f"{found.memory:.0f} MB", found.deliveries,
        found.again,
    )  # fmt: skip
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


if __name__ == "__main__":
    sys.exit(main())
