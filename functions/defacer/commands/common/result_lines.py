"""The result of a command that changes many objects: a line for each of them, or all of it as JSON at the end."""

import json
from types import TracebackType
from typing import Any, Self

from defacer.commands.common.exit_codes import sentence_of
from defacer.pipeline.privacy.forget_person import describe_unreadable
from defacer.plurals import printable


class ResultLines:
    """Prints each entry at once, or with `as_json` collects the entries by kind.

    If the block ends with an error after an entry, the entries are printed as JSON with the error.
    """

    def __init__(self, as_json: bool):
        self._as_json = as_json
        self._entries: dict[str, list[str]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if error is not None and self._entries and self._as_json:
            self.finish("", error=sentence_of(error))

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
        self.add("unreadable_jobs", job, describe_unreadable(job))

    def finish(self, line: str, **fields: Any) -> None:
        """Print the last line, or all entries and these fields as JSON."""
        if self._as_json:
            print(json.dumps({**fields, **self._entries}), flush=True)
        elif line:
            print(printable(line), flush=True)
