"""Run atheris (libFuzzer) on each harness for an equal share of the time, and print how many inputs it tried.

Each run starts from the committed seeds. Inputs that reach new code are stored in `.fuzz/corpus` for the next run, and
inputs that break a promise in `.fuzz/crashes`. atheris measures the coverage of `defacer` only. Inside pydantic,
OpenCV and FFmpeg it tries inputs without feedback.
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
WORK_FOLDER = ROOT / ".fuzz"
GRACE_SECONDS = 60
LIMITS = ["-timeout=30", "-rss_limit_mb=2048", "-max_len=16384"]


@dataclass(frozen=True)
class Run:
    """One harness's inputs, duration, output, and the files of the inputs that broke a promise."""

    name: str
    inputs: int
    seconds: float
    crashes: tuple[Path, ...]
    output: str


def main() -> int:
    """Fuzz one or all harnesses. Return 1 if an input broke a promise."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__, allow_abbrev=False)
    parser.add_argument("--minutes", type=float, default=5, help="total time of all harnesses (default: 5)")
    parser.add_argument("--only", choices=HARNESSES, help="fuzz only this harness")
    options = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        print("atheris has no wheel for this Python or platform. Fuzz on Linux on x86-64.", file=sys.stderr)
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
        print(f"\n{run.name} broke a promise with {files}:\n{run.output}")
        print(f"Fix the bug, then move the file to tests/fuzz/seeds/{run.name}, where `make test` reads it.")
    return 1 if broken else 0


def fuzz(name: str, seconds: int) -> Run:
    """Run one harness for a number of seconds, in its own process."""
    corpus, crashes = WORK_FOLDER / "corpus" / name, WORK_FOLDER / "crashes"
    for folder in (corpus, crashes):
        folder.mkdir(parents=True, exist_ok=True)
    before = set(crashes.iterdir())
    command = [sys.executable, "-m", "tests.fuzz.one", name, str(corpus), str(SEEDS / name)]
    command += [
        f"-dict={_write_tokens()}",
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
    count = re.search(r"stat::number_of_executed_units:\s*(\d+)", output)
    if count is None or (done.returncode and not new):
        raise SystemExit(f"The fuzzer of {name} ended early with status {done.returncode}:\n{output[-3000:]}")
    return Run(name, int(count[1]), took, new, output[-1500:])


def _write_tokens() -> Path:
    """Write the field names and other words that libFuzzer inserts into inputs, and return the file."""
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
    path = WORK_FOLDER / "tokens.dict"
    path.write_text("".join(f'"{word}"\n' for word in words))
    return path


if __name__ == "__main__":
    sys.exit(main())
