"""The notes of the load test's functions: one JSON line each, in the file that LOAD_NOTES names."""

import json
import os
import time
from pathlib import Path
from typing import Any


def write_note(kind: str, **facts: Any) -> None:
    """Append a line with the time and the peak memory of this process, in a single write."""
    line = json.dumps({"kind": kind, "at": time.time(), "memory": peak_megabytes(), **facts}) + "\n"
    with open(os.environ["LOAD_NOTES"], "ab", buffering=0) as file:
        file.write(line.encode())


def peak_megabytes() -> float:
    """Return the peak memory of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith("VmHWM"))


def read_notes(path: Path) -> list[dict[str, Any]]:
    """Return all lines."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
