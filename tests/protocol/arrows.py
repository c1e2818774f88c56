"""The arrows of pipeline/README.md: as the page has them, and as what happens to a job's objects is one."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from defacer.pipeline.storage import object_names
from tests.protocol.memory import Storage, Stored
from tests.servers import ROOT

PAGE = ROOT / "functions" / "defacer" / "pipeline" / "README.md"
WHO = re.compile(r"\b(ingest|worker|merge|dead_letter|erase)\b")
TEST = re.compile(r"`(\S+\.py)::(\w+)(\[\S+\])?`")
# What the page calls a job by its verdict.
ENDS = {
    "publish": "decided", "out": "out", "withdraw": "withdrawn", "unpublish": "taken back", "fail": "condemned",
}  # fmt: skip
Arrow = tuple[str, str]


@dataclass(frozen=True)
class Row:
    """A row of the page: an arrow, the functions that go it, and a test that does; none: empty names.

    `parameters` are in brackets.
    """

    arrow: Arrow
    who: frozenset[str]
    file: Path
    test: str
    parameters: str

    def is_of(self, file: Path, name: str) -> bool:
        """Whether it names this test, by the name that pytest gives it."""
        same = name == self.full if self.parameters else name.partition("[")[0] == self.test
        return file == self.file and same

    @property
    def full(self) -> str:
        return self.test + self.parameters


@cache
def page() -> tuple[Row, ...]:
    """All rows."""
    section = PAGE.read_text().split("## Who moves a job")[1].split("\n## ")[0]
    lines = [line.strip("| ") for line in section.splitlines() if line.startswith("| ")][1:]
    rows: list[Row] = []
    for line in lines:
        before, after, who, *by = line.split(" | ")
        named = TEST.search(by[-1])
        does = rows[-1].who if who.startswith("the same") else frozenset(WHO.findall(who.partition(":")[0]))
        file, test, parameters = named.groups("") if named else ("", "", "")
        rows.append(Row((before, after), does, ROOT / "tests" / file, test, parameters))
    return tuple(rows)


def told() -> set[tuple[Arrow, str]]:
    """All arrows of the page, each with each function that goes it."""
    return {(row.arrow, function) for row in page() for function in row.who}


@dataclass(frozen=True)
class Seen:
    """A job's objects at one moment: their names below its folder, its verdict, what `failed.json` is marked with."""

    names: frozenset[str] = frozenset()
    end: str | None = None
    marks: frozenset[str] = frozenset()

    @property
    def over(self) -> bool:
        return not self.names.isdisjoint({"published.json", "failed.json"})


def seen(names: Iterator[str], verdict: bytes | None, marks: Mapping[str, str] | None) -> Seen:
    end = json.loads(verdict)["end"] if verdict is not None else None
    return Seen(frozenset(names), end, frozenset(marks or ()))


def between(before: Seen, after: Seen) -> Iterator[Arrow]:
    """The arrows that lead from one to the other. Whatever comes late, when the job is over, is none."""
    came, gone = after.names - before.names, before.names - after.names
    if "erased" in after.marks - before.marks:
        yield "any", "erased"
    elif "failed.json" in came:
        yield ENDS.get(after.end or "", "before decided"), "failed"
    elif "announced" in after.marks - before.marks:
        yield "failed, not told", "told"
    if "published.json" in came and not before.over:  # else it was erased meanwhile, and is deleted again
        yield ENDS.get(after.end or "", "before decided"), "published"
    if "leases/merge.json" in gone and "published.json" in before.names and not before.marks:
        yield "published", "wound up"
    if before.over:
        return
    if "manifest.json" in came:
        yield "uploaded", "planned"
    for name in came:
        if name.endswith(".split"):
            yield "a segment", "split"
        elif name.startswith("segment-detections/"):
            yield "a segment", "found"
        elif name.startswith("segments/") and name.endswith(".json"):
            yield "a segment", "hidden"
    if "faces.json" in came:
        linking = "leases/link.json" in after.names
        yield ("found", "linked") if linking else ("planned, of a request", "handed on")
    if "leases/link.json" in gone and "faces.json" in before.names:
        yield "linked", "handed on"
    if after.end not in (before.end, None):
        first = "hidden" if after.end == "publish" else "before decided"
        yield ENDS.get(before.end or "", first), ENDS[after.end or ""]


@dataclass
class WatchedStorage(Storage):
    """Writes down which function has gone which arrow. `function` says whose request it is; None: a user's."""

    work: str = "work"
    function: Callable[[], str | None] = lambda: None
    passed: set[tuple[Arrow, str]] = field(default_factory=set)

    def put(self, bucket: str, name: str, *args: Any, **more: Any) -> Stored:
        with self._watched(bucket, name):
            return super().put(bucket, name, *args, **more)

    def patch(self, bucket: str, name: str, *args: Any, **more: Any) -> Stored:
        with self._watched(bucket, name):
            return super().patch(bucket, name, *args, **more)

    def delete(self, bucket: str, name: str, *args: Any, **more: Any) -> None:
        with self._watched(bucket, name):
            super().delete(bucket, name, *args, **more)

    @contextmanager
    def _watched(self, bucket: str, name: str) -> Iterator[None]:
        if bucket != self.work or not name.startswith(object_names.JOBS):
            yield
            return
        job = name.split("/")[1]
        before = self._seen(job)
        yield
        function = self.function()
        if function is not None:
            self.passed.update((arrow, function) for arrow in between(before, self._seen(job)))

    def _seen(self, job: str) -> Seen:
        prefix = object_names.job_prefix(job)
        names = (name.removeprefix(prefix) for _, name in self.objects if name.startswith(prefix))
        verdict = self.objects.get((self.work, object_names.verdict(job)))
        failed = self.objects.get((self.work, object_names.failed(job)))
        return seen(names, verdict.data if verdict else None, failed.metadata if failed else None)
