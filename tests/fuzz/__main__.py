"""`make fuzz`: atheris (libFuzzer) on each harness for its share of the time, and how many inputs it tried.

Starts from the kept seeds. What reached new code is kept in `.fuzz/corpus` for the next time, what broke a promise in
`.fuzz/crashes`. atheris sees which lines of `functions` an input reaches; inside pydantic, OpenCV and FFmpeg it is
blind, and only tries.
"""

import argparse
import importlib.util
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.harnesses import DOCUMENTS, HARNESSES

ROOT = Path(__file__).resolve().parents[2]
SEEDS = Path(__file__).with_name("seeds")
KEPT = ROOT / ".fuzz"
GRACE_SECONDS = 60
LIMITS = ["-timeout=30", "-rss_limit_mb=2048", "-max_len=16384"]


@dataclass(frozen=True)
class Run:
    """One harness: how many inputs it was given, for how long, and the files of those that broke a promise."""

    name: str
    inputs: int
    seconds: float
    crashes: tuple[Path, ...]
    said: str


def main() -> int:
    """Fuzz all harnesses, or one. Gives 1 if any input broke a promise."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__, allow_abbrev=False)
    parser.add_argument("--minutes", type=float, default=5, help="for all harnesses together (default: 5)")
    parser.add_argument("--only", choices=HARNESSES, help="one harness")
    options = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        print("atheris has no wheel for this Python or machine: fuzz on Linux on x86-64.", file=sys.stderr)
        return 1
    names = [options.only] if options.only else list(HARNESSES)
    seconds = max(1, round(options.minutes * 60 / len(names)))
    runs = []
    for name in names:
        runs.append(fuzz(name, seconds))
        print(f"{name:13} {runs[-1].inputs:>11,} inputs in {runs[-1].seconds:.0f} s", flush=True)
    print(f"{'all':13} {sum(run.inputs for run in runs):>11,} inputs")
    broken = [run for run in runs if run.crashes]
    for run in broken:
        files = ", ".join(str(path.relative_to(ROOT)) for path in run.crashes)
        print(f"\n{run.name} broke a promise with {files}:\n{run.said}")
        print(f"Mend it, then move the file to tests/fuzz/seeds/{run.name}: make test tries it from then on.")
    return 1 if broken else 0


def fuzz(name: str, seconds: int) -> Run:
    """Give one harness inputs for so many seconds, in a process of its own."""
    corpus, crashes = KEPT / "corpus" / name, KEPT / "crashes"
    for folder in (corpus, crashes):
        folder.mkdir(parents=True, exist_ok=True)
    before = set(crashes.iterdir())
    command = [sys.executable, "-m", "tests.fuzz.one", name, str(corpus), str(SEEDS / name)]
    command += [
        f"-dict={_tokens()}",
        f"-max_total_time={seconds}",
        f"-artifact_prefix={crashes}/{name}-",
        "-print_final_stats=1",
        *LIMITS,
    ]
    started = time.monotonic()
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, errors="replace", check=False,
        timeout=seconds + GRACE_SECONDS,
    )  # fmt: skip
    took = time.monotonic() - started
    output = done.stdout + done.stderr
    new = tuple(sorted(set(crashes.iterdir()) - before))
    counted = re.search(r"stat::number_of_executed_units:\s*(\d+)", output)
    if counted is None or (done.returncode and not new):
        raise SystemExit(
            f"The fuzzer did not run to its end on {name} ({done.returncode}):\n{output[-3000:]}"
        )
    return Run(name, int(counted[1]), took, new, output[-1500:])


def _tokens() -> Path:
    """What libFuzzer puts into inputs besides bytes: the words of the documents."""
    fields = {field for model in DOCUMENTS for field in model.model_fields}
    words = [
        *(f'\\"{field}\\":' for field in sorted(fields)),
        *"{}[],",
        "null",
        "true",
        "NaN",
        "Infinity",
        "1e999",
    ]
    words += ["channels/", "/videos/", "/targets/", "jobs/", "/../", "\\\\ud800", "OBJECT_FINALIZE"]
    path = KEPT / "tokens.dict"
    path.write_text("".join(f'"{word}"\n' for word in words))
    return path


if __name__ == "__main__":
    sys.exit(main())
