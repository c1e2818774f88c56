"""Grade the results for real clips by their pixels; README.md explains the figures.

    make quality                              (DEFACER_EVAL=folder with clips/, people.json and score.py)
    python -m tests.quality --clips c02,c05 --segment-seconds 4

The exit code is 1 if a bound is not held.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from defacer.engine.engine import Engine
from defacer.engine.options import Options
from defacer_emulator.emulator import PubSubKind
from tests.quality import irreversible
from tests.quality.clips import Clip, load_clips, load_score
from tests.quality.jobs import Kept, job_problems, jobs_table, kept_tracks, run_jobs
from tests.quality.people import gallery_of, given_target, people_of
from tests.quality.replay import Replay
from tests.quality.rotation import Turn, compare_foreign, pairs_table, rotate, rotation_problems, turns_table

IRREVERSIBLE_EVERY = 10  # of the frames: 1 is the whole measure, in ten times the time
WITHOUT_CUTS = ("c08",)  # clips that are decided once more with the cut detector switched off


def main(given: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.quality", description=__doc__.splitlines()[0], allow_abbrev=False
    )
    parser.add_argument("--clips", metavar="c02,c05", help="only these (default: all)")
    parser.add_argument(
        "--segment-seconds", type=float, default=10.0, help="length of a segment (default: 10)"
    )
    parser.add_argument("--pubsub", choices=["auto", "google", "builtin"], default="auto")
    arguments = parser.parse_args(given)
    if "DEFACER_EVAL" not in os.environ:
        print("skipped: DEFACER_EVAL does not name the folder with the clips to judge by.")
        return 0
    folder = Path(os.environ["DEFACER_EVAL"])
    clips = load_clips(folder, arguments.clips)
    if not clips:
        print(f"error: no clips {arguments.clips or ''} in {folder / 'clips'}.", file=sys.stderr)
        return 2
    judge = _Judge(clips, folder)
    problems = [
        *judge.jobs(arguments.segment_seconds, arguments.pubsub),
        *judge.rotations(),
        *judge.irreversibility(),
    ]
    for problem in problems:
        print(f"not held: {problem}")
    return 1 if problems else 0


class _Judge:
    """Prints one table after the other. Each method returns the bounds that are not held, in words."""

    def __init__(self, clips: Sequence[Clip], folder: Path):
        self._clips = clips
        self._folder = folder
        self._score = load_score(folder)
        self._engine, self._options = Engine(), Options()
        self._kept: dict[str, list[Kept]] = {}
        self._started = time.monotonic()

    @cached_property
    def _replays(self) -> dict[str, Replay]:
        return {clip.name: Replay(clip, self._engine, self._options) for clip in self._clips}

    def jobs(self, segment_seconds: float, pubsub: PubSubKind) -> list[str]:
        rows = run_jobs(self._clips, self._score, segment_seconds, pubsub)
        self._print("Each clip through the emulator", jobs_table(rows))
        self._kept = {row.clip: kept_tracks(row.target.report.tracks) for row in rows}
        return job_problems(rows)

    def rotations(self) -> list[str]:
        targets = [target for clip in self._clips if (target := given_target(clip))]
        people = [person for clip in self._clips for person in people_of(clip, self._folder)]
        galleries = {
            person: gallery_of(person, self._engine, self._options) for person in (*targets, *people)
        }
        differing = [
            f"{target.clip}: the replay keeps other tracks than the job, so its figures are not those of the pipeline"
            for target in targets
            if kept_tracks(self._replays[target.clip].decide(galleries[target]).tracks)
            != self._kept[target.clip]
        ]
        turns: list[Turn] = []
        without_cuts: list[Turn] = []
        for clip in self._clips:
            own = {person: galleries[person] for person in people if person.clip == clip.name}
            turns += rotate(self._replays[clip.name], own, self._score)
            if clip.name in WITHOUT_CUTS:
                replay = Replay(clip, self._engine, self._options, has_cuts=False)
                without_cuts += rotate(replay, own, self._score)
        self._print("Each person in turn as the target", turns_table(turns, without_cuts))
        pairs = list(compare_foreign(self._replays.values(), galleries, self._score))
        self._print("Targets who are not in the clip", pairs_table(pairs))
        return [*differing, *rotation_problems(turns, without_cuts, pairs)]

    def irreversibility(self) -> list[str]:
        judged = irreversible.JudgedFaces()
        for clip in self._clips:
            faces = self._replays[clip.name].decide(None)
            irreversible.judge(clip, faces, judged, self._engine, self._score, IRREVERSIBLE_EVERY)
        results = irreversible.compare(judged)
        title = f"Hidden faces, every {IRREVERSIBLE_EVERY}th frame"
        self._print(title, irreversible.irreversible_table(results, judged))
        return irreversible.irreversible_problems(results)

    def _print(self, title: str, text: str) -> None:
        print(f"\n{title} (after {time.monotonic() - self._started:.0f} s):\n\n{text}\n", flush=True)


if __name__ == "__main__":
    sys.exit(main())
