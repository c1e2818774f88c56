"""What the stand-ins of the load test write down: one line of JSON each, in the file that LOAD_NOTES names."""

import json
import os
import time
from pathlib import Path
from typing import Any


def note(kind: str, **facts: Any) -> None:
    """Write a line, with the time and the most memory that this process ever held; whole even when several do."""
    line = json.dumps({"kind": kind, "at": time.time(), "memory": megabytes(), **facts}) + "\n"
    with open(os.environ["LOAD_NOTES"], "ab", buffering=0) as file:
        file.write(line.encode())


def megabytes() -> float:
    """The most that this process ever held."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith("VmHWM"))


def read_notes(path: Path) -> list[dict[str, Any]]:
    """All lines so far."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
