"""Print the capacity page, or write it with its plots: `python -m infra.capacity`."""

import argparse
import sys
from pathlib import Path

from infra.capacity.page import render_capacity_page
from infra.capacity.plots import write_plots
from infra.capacity.runs import UPLOADS, simulate_long_runs

INFRA = Path(__file__).resolve().parent.parent


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m infra.capacity", description="Simulate cost and capacity.", allow_abbrev=False
    )
    parser.add_argument(
        "--write",
        action="store_true",
        help="write infra/CAPACITY.md with its plots",
    )
    parser.add_argument(
        "--uploads",
        type=int,
        default=UPLOADS,
        metavar="N",
        help=f"uploads in the simulated day (default: {UPLOADS}, which takes ten minutes)",
    )
    options = parser.parse_args()
    runs = simulate_long_runs(options.uploads, lambda line: print(line, file=sys.stderr, flush=True))
    text = render_capacity_page(runs)
    if not options.write:
        print(text)
        return 0
    (INFRA / "CAPACITY.md").write_text(text, encoding="utf-8")
    write_plots(runs, INFRA / "capacity")
    print(f"wrote {INFRA / 'CAPACITY.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
