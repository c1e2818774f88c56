"""The logs of the emulator's processes: read their last lines, and follow them as they grow."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

TAIL_LINES = 15
TAIL_BYTES = 16 * 1024


def read_tail(path: Path) -> str:
    """Return the last lines of a log, indented, or a note that it is empty."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - TAIL_BYTES))
            lines = log.read().decode(errors="replace").splitlines()[-TAIL_LINES:]
    except OSError:
        lines = []
    return "\n".join(f"    {line}" for line in lines) or "    (its log is empty)"


def shorten_line(line: str) -> str:
    """Shorten a JSON line of a log (`defacer/pipeline/log.py`) to severity, message, job and segment.

    A line of chaos.log is shortened to its event, fault and subject. Other lines are returned unchanged.
    """
    try:
        fields = json.loads(line)
    except ValueError:
        return line
    if isinstance(fields, dict) and "event" in fields:
        return " ".join(str(fields[name]) for name in ("event", "fault", "at", "how") if fields.get(name))
    if not isinstance(fields, dict) or "message" not in fields:
        return line
    parts = [str(fields.get("severity", "INFO")), str(fields["message"])]
    parts += [
        f"{name}={fields[name]}"
        for name in ("job", "segment", "code", "error")
        if fields.get(name) is not None
    ]
    return " ".join(parts)


class LogFollower:
    """Reads the new lines of several logs."""

    def __init__(self, logs: Iterable[tuple[str, Path]]):
        self._logs = tuple(logs)
        self._width = max((len(name) for name, _ in self._logs), default=0)
        self._offsets = {name: 0 for name, _ in self._logs}

    def new_lines(self) -> Iterator[str]:
        """Yield the complete lines since the last call, shortened, each with the name of its process."""
        for name, line in self.new_entries():
            yield f"{name:<{self._width}} | {shorten_line(line)}"

    def new_entries(self) -> Iterator[tuple[str, str]]:
        """Yield the process and the text of each complete line since the last call."""
        for name, path in self._logs:
            with path.open("rb") as log:
                log.seek(self._offsets[name])
                text = log.read()
            complete = text[: text.rfind(b"\n") + 1]
            self._offsets[name] += len(complete)
            for line in complete.decode(errors="replace").splitlines():
                yield name, line
