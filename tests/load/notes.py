"""What the stand-ins of the load test write down: one line of JSON each, in the file that LOAD_NOTES names."""

import json
import os
from pathlib import Path
from typing import Any


def note(kind: str, **facts: Any) -> None:
    """Write a line; whole even when several processes do."""
    line = json.dumps({"kind": kind, **facts}) + "\n"
    with open(os.environ["LOAD_NOTES"], "ab", buffering=0) as file:
        file.write(line.encode())


def read_notes(path: Path) -> list[dict[str, Any]]:
    """All lines so far."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
