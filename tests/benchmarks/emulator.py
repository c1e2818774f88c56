"""Run the emulator for the benchmark."""

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from defacer_emulator.processes.ports import SERVICES
from tests.benchmarks.running import ROOT, BenchmarkError

STOP_SECONDS = 30


@contextmanager
def running_emulator(folder: Path) -> Iterator[tuple[float, int, tuple[str, ...]]]:
    """Run the emulator.

    Yield the seconds until it was ready, its process, and the command that uploads a video to it.
    """
    command = (sys.executable, "-m", "defacer", "emulator")
    ports = [f"--port={name}=0" for name in SERVICES]
    with tempfile.TemporaryDirectory(prefix="emulator-", dir=folder) as own:
        started = time.monotonic()
        with (folder / "emulator.txt").open("wb") as log:
            process = subprocess.Popen(
                [*command, "up", "--dir", own, "--quiet", "--json", *ports],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=log,
            )
            try:
                if process.stdout is None or not process.stdout.readline():
                    raise BenchmarkError(f"The emulator did not start: see {log.name}.")
                yield (
                    time.monotonic() - started,
                    process.pid,
                    (*command, "upload", "--quiet", "--force", "--dir", own),
                )
            finally:
                process.send_signal(signal.SIGINT)
                process.wait(STOP_SECONDS)
