"""The state transitions of a job: as the tables of pipeline/README.md list them, and as its objects show them."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from defacer.pipeline.lifecycle.job_state import STATE_OF_VERDICT, JobState, parse_review_end
from defacer.pipeline.storage import object_names
from tests.protocol.memory import Storage, Stored
from tests.servers import ROOT

PAGE = ROOT / "functions" / "defacer" / "pipeline" / "README.md"
FUNCTION = re.compile(r"\b(ingest|worker|merge|dead_letter|erase)\b")
TEST = re.compile(r"`(\S+\.py)::(\w+)(\[\S+\])?`")
# States of the page beside `JobState`: of a segment, or of several job states.
SEGMENT, SPLIT, UNCOMMITTED, ANY, ERASED = "segment", "split", "uncommitted", "any", "erased"
Transition = tuple[str, str]


@dataclass(frozen=True)
class Row:
    """A row of the page: a transition, the functions that make it, and a test in which it happens.

    `parameters` are the test's, in brackets. Without a test, its fields are empty.
    """

    transition: Transition
    functions: frozenset[str]
    file: Path
    test: str
    parameters: str

    def names_test(self, file: Path, name: str) -> bool:
        """Return whether the row names this test. `name` is the name that pytest gives it."""
        own_name = name if self.parameters else name.partition("[")[0]
        return file == self.file and own_name == self.test + self.parameters


@cache
def page_rows() -> tuple[Row, ...]:
    section = PAGE.read_text().split("## Transitions")[1].split("\n## ")[0]
    lines = [line.strip("| ") for line in section.splitlines() if line.startswith("| ")][1:]
    rows: list[Row] = []
    for line in lines:
        before, after, functions, *_ = line.replace("`", "", 4).split(" | ")
        named = TEST.search(line)
        file, test, parameters = named.groups("") if named else ("", "", "")
        makers = frozenset(FUNCTION.findall(functions.partition(":")[0]))
        rows.append(Row((before, after), makers, ROOT / "tests" / file, test, parameters))
    return tuple(rows)


def page_states() -> set[str]:
    """Return the states of the page's first table."""
    section = PAGE.read_text().split("## Transitions")[0]
    return set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))


def documented_transitions() -> set[tuple[Transition, str]]:
    """Return all transitions of the page, each with each function that makes it."""
    return {(row.transition, function) for row in page_rows() for function in row.functions}


@dataclass(frozen=True)
class JobObjects:
    """A job's objects at one moment: their names below its folder, its verdict, and its failure's marks.

    `is_marked`: a person has to confirm its faces.
    """

    names: frozenset[str] = frozenset()
    verdict: JobState | None = None
    marks: frozenset[str] = frozenset()
    is_marked: bool = False

    @classmethod
    def from_metadata(
        cls, job: str, metadata_by_name: Mapping[str, Mapping[str, str] | None]
    ) -> "JobObjects":
        """Return the state of a job by the metadata of all its objects."""
        prefix = object_names.job_prefix(job)
        verdict = metadata_by_name.get(object_names.verdict(job)) or {}
        failed = metadata_by_name.get(object_names.failed(job)) or {}
        states: Mapping[str, JobState] = {str(key): state for key, state in STATE_OF_VERDICT.items()}
        return cls(
            frozenset(name.removeprefix(prefix) for name in metadata_by_name),
            states.get(verdict.get(object_names.OF_STATE, "")),
            frozenset(failed),
            parse_review_end(metadata_by_name.get(object_names.faces(job)) or {}) is not None,
        )

    @property
    def is_over(self) -> bool:
        return not self.names.isdisjoint({"published.json", "failed.json"})


def transitions_between(before: JobObjects, after: JobObjects) -> Iterator[Transition]:
    """Yield the transitions from one moment to the next. A late write to a job that is over is not a transition."""
    created, deleted = after.names - before.names, before.names - after.names
    last = after.verdict or UNCOMMITTED
    if "erased" in after.marks - before.marks:
        yield ANY, ERASED
    elif "failed.json" in created:
        yield last, JobState.FAILED
    elif "announced" in after.marks - before.marks:
        yield JobState.FAILED, JobState.ANNOUNCED
    if (
        "published.json" in created and not before.is_over
    ):  # otherwise the job was erased, and the object is deleted again
        yield last, JobState.PUBLISHED
    if "merge-lease.json" in deleted and "published.json" in before.names and not before.marks:
        yield JobState.PUBLISHED, JobState.FINALIZED
    if before.is_over:
        return
    if "manifest.json" in created:
        yield JobState.UPLOADED, JobState.PLANNED
    yield from _segment_transitions(created)
    yield from _face_transitions(before, after)
    if after.verdict not in (before.verdict, None):
        first = JobState.REDACTED if after.verdict is JobState.COMMITTED else UNCOMMITTED
        yield before.verdict or first, after.verdict


def _face_transitions(before: JobObjects, after: JobObjects) -> Iterator[Transition]:
    """Yield the transitions from the linking to the redaction."""
    created, deleted = after.names - before.names, before.names - after.names
    if "faces.jsonl" in created:
        if "link-lease.json" in after.names:
            yield JobState.DETECTED, JobState.LINKED
        else:
            yield JobState.PLANNED, JobState.REDACTING
    if "link-lease.json" in deleted and "faces.jsonl" in before.names:
        yield JobState.LINKED, JobState.WAITING_FOR_REVIEW if before.is_marked else JobState.REDACTING
    if before.is_marked and not after.is_marked and "link-lease.json" not in before.names:
        yield JobState.WAITING_FOR_REVIEW, JobState.REDACTING


def _segment_transitions(created: Iterable[str]) -> Iterator[Transition]:
    for name in created:
        piece = object_names.parse_subsegment(f"{object_names.job_prefix('0' * 20)}{name}")
        if piece is not None and piece.is_split:
            yield SEGMENT, SPLIT
        elif piece is not None:
            is_detection = name.endswith(".npz")
            yield SEGMENT, JobState.DETECTED if is_detection else JobState.REDACTED


@dataclass
class WatchedStorage(Storage):
    """Records which function made which transition. `function` returns the caller's; None for a user."""

    work: str = "work"
    function: Callable[[], str | None] = lambda: None
    transitions: set[tuple[Transition, str]] = field(default_factory=set)

    def put(self, bucket: str, name: str, *args: Any, **more: Any) -> Stored:
        with self._watch(bucket, name):
            return super().put(bucket, name, *args, **more)

    def patch(self, bucket: str, name: str, *args: Any, **more: Any) -> Stored:
        with self._watch(bucket, name):
            return super().patch(bucket, name, *args, **more)

    def delete(self, bucket: str, name: str, *args: Any, **more: Any) -> None:
        with self._watch(bucket, name):
            super().delete(bucket, name, *args, **more)

    @contextmanager
    def _watch(self, bucket: str, name: str) -> Iterator[None]:
        if bucket != self.work or not name.startswith(object_names.JOBS):
            yield
            return
        job = name.split("/")[1]
        before = self._observe(job)
        yield
        function = self.function()
        if function is not None:
            transitions = transitions_between(before, self._observe(job))
            self.transitions.update((transition, function) for transition in transitions)

    def _observe(self, job: str) -> JobObjects:
        stored = self.with_prefix(self.work, object_names.job_prefix(job))
        return JobObjects.from_metadata(job, {blob.name: blob.metadata for blob in stored})
