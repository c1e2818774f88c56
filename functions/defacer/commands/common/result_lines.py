"""The result of a command that changes many objects: a line for each of them, or all of it as JSON at the end."""

import json
import sys
from typing import Any

from defacer.plurals import printable


class ResultLines:
    """Prints each entry at once, or with `as_json` collects the entries by kind."""

    def __init__(self, as_json: bool):
        self._as_json = as_json
        self._entries: dict[str, list[str]] = {}

    def add(self, kind: str, value: object, line: str) -> None:
        """Report one entry."""
        self._entries.setdefault(kind, []).append(str(value))
        if not self._as_json:
            print(printable(line), flush=True)

    def add_removed(self, ref: object) -> None:
        """Report a removed object."""
        self.add("removed", ref, f"removed {ref}")

    def add_unreadable(self, job: str) -> None:
        """Report a job whose documents can't be read."""
        line = f"unreadable job {job}, of this channel or another: erase it, or repair its objects in the work bucket"
        self.add("unreadable_jobs", job, line)

    def finish(self, line: str, **fields: Any) -> None:
        """Print the last line, or all entries and these fields as JSON."""
        if self._as_json:
            print(json.dumps({**fields, **self._entries}), flush=True)
        elif line:
            print(printable(line), flush=True)

    @staticmethod
    def print_progress(line: str) -> None:
        """Print what the command does at the moment to standard error."""
        print(line, file=sys.stderr, flush=True)
