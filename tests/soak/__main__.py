"""Run many short jobs under faults of all kinds: python -m tests.soak [--jobs 200] [--seed N] [--minutes M]."""

import argparse
import random
import shutil
import sys
import tempfile
from pathlib import Path

from defacer.commands.common.exit_codes import ExitCode
from defacer.commands.common.signals import interrupt_on_signals
from defacer_emulator.chaos.plan import Plan, read_plan
from defacer_emulator.errors import EmulatorError
from tests.soak.soak import Soak, run
from tests.soak.table import format_table


def main() -> int:
    options = _parser().parse_args()
    try:
        return _soak(options)
    except EmulatorError as error:
        print(f"soak: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("soak: interrupted before the first job", file=sys.stderr)
        return ExitCode.INTERRUPTED


def _soak(options: argparse.Namespace) -> int:
    seed = options.seed if options.seed is not None else random.randrange(1_000_000)
    plan = read_plan(str(options.chaos)) if options.chaos else Plan(seed=seed)
    folder = options.folder or Path(tempfile.mkdtemp(prefix="defacer-soak-"))
    print(f"soak with seed {plan.seed}, in {folder}", file=sys.stderr, flush=True)
    with interrupt_on_signals():
        outcome = run(Soak(plan, options.jobs, options.minutes, folder))
    print(f"seed {plan.seed}\n{format_table(outcome)}", flush=True)
    if not outcome.is_good or outcome.interrupted:
        print(f"Logs and objects: {folder / 'state'}. To repeat it: --chaos {folder}/state/logs/chaos.log")
        return ExitCode.INTERRUPTED if outcome.is_good else 1
    if options.folder is None:
        shutil.rmtree(folder)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__, allow_abbrev=False)
    parser.add_argument("--jobs", type=int, default=200, metavar="N", help="(default: 200)")
    parser.add_argument(
        "--minutes",
        type=float,
        default=20,
        metavar="M",
        help="start no new job after this time (default: 20)",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--seed", type=int, metavar="N", help="the seed of the faults (default: random)")
    which.add_argument(
        "--chaos", type=Path, metavar="FILE", help="a plan of faults, or the chaos.log of a soak to replay"
    )
    parser.add_argument(
        "--folder",
        type=Path,
        metavar="DIR",
        help="keep all files there (default: only files of a failed soak are kept)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
