"""Grade the results for real clips by their pixels; README.md explains the figures.

    make quality                              (DEFACER_EVAL=folder with clips/, people.json and score.py)
    python -m tests.quality --clips c02,c05 --segment-seconds 4

The exit code is 1 if a bound is not held.
"""

import argparse
import os
import sys
import time
from pathlib import Path

from functions.engine.deface import Engine
from functions.engine.options import Options
from tests.quality import irreversible
from tests.quality.clips import load_clips, load_score
from tests.quality.jobs import job_problems, jobs_table, run_jobs
from tests.quality.people import gallery_of, given_target, people_of
from tests.quality.replay import Replay
from tests.quality.rotation import compare_foreign, pairs_table, rotate, rotation_problems, turns_table

IRREVERSIBLE_EVERY = 10  # of the frames: 1 is the whole measure, in ten times the time
WITHOUT_CUTS = ("c08",)  # clips that are decided once more with the cut detector switched off


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.quality", description=__doc__.splitlines()[0], allow_abbrev=False
    )
    parser.add_argument("--clips", metavar="c02,c05", help="only these (default: all)")
    parser.add_argument(
        "--segment-seconds", type=float, default=10.0, help="length of a segment (default: 10)"
    )
    parser.add_argument("--pubsub", choices=["auto", "google", "builtin"], default="auto")
    arguments = parser.parse_args()
    if "DEFACER_EVAL" not in os.environ:
        print("skipped: DEFACER_EVAL does not name the folder with the clips to judge by.")
        return 0
    folder = Path(os.environ["DEFACER_EVAL"])
    clips = load_clips(folder, arguments.clips)
    if not clips:
        print(f"error: no clips {arguments.clips or ''} in {folder / 'clips'}.", file=sys.stderr)
        return 2
    score, started = load_score(folder), time.monotonic()

    jobs = run_jobs(clips, score, arguments.segment_seconds, arguments.pubsub)
    _print_table("Each clip through the emulator", jobs_table(jobs), started)
    problems = job_problems(jobs)

    engine, options = Engine(), Options()
    people = {clip.name: people_of(clip, folder) for clip in clips}
    targets = [target for clip in clips if (target := given_target(clip))]
    galleries = {
        person: gallery_of(person, engine, options)
        for person in [*targets, *(one for all_ in people.values() for one in all_)]
    }
    replays = {clip.name: Replay(clip, engine, options) for clip in clips}
    turns, without_cuts = [], []
    for clip in clips:
        own = {person: galleries[person] for person in people[clip.name]}
        turns += rotate(replays[clip.name], own, score)
        if clip.name in WITHOUT_CUTS:
            without_cuts += rotate(Replay(clip, engine, options, has_cuts=False), own, score)
    _print_table("Each person in turn as the target", turns_table(turns, without_cuts), started)
    pairs = list(compare_foreign(replays.values(), galleries, score))
    _print_table("Targets who are not in the clip", pairs_table(pairs), started)
    problems += rotation_problems(turns, without_cuts, pairs)

    judged = irreversible.Judged()
    for clip in clips:
        faces = replays[clip.name].decide(None)
        irreversible.judge(clip, faces, judged, engine, score, IRREVERSIBLE_EVERY)
    results = irreversible.compare(judged)
    _print_table(
        f"Hidden faces, every {IRREVERSIBLE_EVERY}th frame",
        irreversible.irreversible_table(results, judged),
        started,
    )
    problems += irreversible.irreversible_problems(results)
    for problem in problems:
        print(f"not held: {problem}")
    return 1 if problems else 0


def _print_table(title: str, text: str, started: float) -> None:
    print(f"\n{title} (after {time.monotonic() - started:.0f} s):\n\n{text}\n", flush=True)


if __name__ == "__main__":
    sys.exit(main())
