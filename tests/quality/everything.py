"""`make quality-all`: the clips, composites of public clips, and other programs on the same clips.

    make quality-all                          (DEFACER_EVAL=folder with clips/, people.json and score.py)
    python -m tests.quality.everything --only composites

The exit code is 1 if a bound is not held.
"""

import argparse
import os
import sys
from pathlib import Path

from defacer.engine.engine import Engine
from tests.quality import __main__ as quality
from tests.quality.clips import load_clips, load_score
from tests.quality.composites import composites
from tests.quality.other_programs import other_programs_table, run_other_programs
from tests.quality.public import composites_table, grade_composites
from tests.quality.public_clips import PublicClipsError

PARTS = ("clips", "composites", "other-programs")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.quality.everything", description=__doc__.splitlines()[0], allow_abbrev=False
    )
    parser.add_argument("--only", choices=PARTS, help="only this part (default: all)")
    parser.add_argument("--composites", metavar="cuts-1,pairs-1", help="only these (default: all)")
    arguments = parser.parse_args()
    if "DEFACER_EVAL" not in os.environ:
        print("skipped: DEFACER_EVAL does not name the folder with the clips to judge by.")
        return 0
    folder = Path(os.environ["DEFACER_EVAL"])
    parts = [arguments.only] if arguments.only else PARTS
    code = quality.main([]) if "clips" in parts else 0
    if "composites" in parts:
        names = arguments.composites.split(",") if arguments.composites else ()
        try:
            found = list(composites(lambda line: print(line, file=sys.stderr), names))
        except PublicClipsError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        rows = list(grade_composites(found, Engine(), load_score(folder)))
        print(f"\nComposites of public clips, by masks:\n\n{composites_table(rows)}")
        leaks = [row for row in rows if row.leaked_pixels or any(pair.kept_tracks for pair in row.pairs)]
        for row in leaks:
            print(f"not held: {row.name}: {row.leaked_pixels} leaked faces, "
                  f"{sum(pair.kept_tracks for pair in row.pairs)} kept tracks of foreign pairs, at most 0")  # fmt: skip
        code = code or int(bool(leaks))
    if "other-programs" in parts:
        results = list(run_other_programs(load_clips(folder), load_score(folder)))
        print(f"\nOther programs, the same clips:\n\n{other_programs_table(results)}")
    return code


if __name__ == "__main__":
    sys.exit(main())
