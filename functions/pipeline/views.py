"""A job as its objects show it: how far it is, and how it ended. Nothing else knows, and nothing else needs to."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from google.cloud.storage import Blob

from functions.pipeline import layout
from functions.pipeline.contracts import Failed, Manifest, ObjectRef, Published
from functions.pipeline.errors import PermanentError
from functions.pipeline.jobs import ERASED
from functions.pipeline.parts import Pieces
from functions.pipeline.store import reference

State = Literal[
    "waiting", "finding", "linking", "hiding", "merging", "published", "superseded", "failed", "erased"
]
STATES: dict[State, str] = {
    "waiting": "waiting to be planned",
    "finding": "faces are being looked for",
    "linking": "faces are being followed from segment to segment",
    "hiding": "faces are being hidden",
    "merging": "segments are being joined",
    "published": "published",
    "superseded": "overtaken by a newer upload",
    "failed": "failed",
    "erased": "erased on request",
}
UNREADABLE = "What is kept of this job can't be read. Erase it (python -m functions.privacy erase) and upload it again."
LEAST_SHARE = 0.04  # of the work: before that nobody can tell how long the rest will take
# Reads an object of the work bucket as a contract: its name and the contract's class.
Read = Callable[[str, Any], Any]


@dataclass(frozen=True)
class JobView:
    """`since` is when the newest of its objects was written, `planned_at` when the manifest was.

    `found` and `hidden` are how many segments each of the two steps is done with.
    """

    job: str
    source: str | None
    manifest: Manifest | None
    found: int
    hidden: int
    linked: bool
    published: Published | None
    failed: Failed | None
    since: datetime | None
    planned_at: datetime | None = None
    is_readable: bool = True

    @property
    def state(self) -> State:
        if self.published is not None:
            return "superseded" if self.published.superseded else "published"
        if self.failed is not None:
            return "erased" if self.failed.code == ERASED else "failed"
        if self.manifest is None:
            return "waiting"
        if not self.linked:
            return "finding" if self.found < self.segments else "linking"
        return "hiding" if self.hidden < self.segments else "merging"

    @property
    def over(self) -> bool:
        return self.published is not None or self.failed is not None

    @property
    def segments(self) -> int:
        return len(self.manifest.segments) if self.manifest else 0

    @property
    def done(self) -> int:
        """How many segments the step that the job is in is done with."""
        return self.hidden if self.linked else self.found

    @property
    def channel(self) -> str | None:
        return layout.channel_of_input(self.source) if self.source else None

    @property
    def is_again(self) -> bool:
        """Whether the video was rendered before: then no faces are looked for."""
        return self.manifest is not None and self.manifest.again is not None

    @property
    def steps(self) -> int:
        """How many there are in all: each segment is looked through and hidden."""
        return self.segments if self.is_again else 2 * self.segments

    @property
    def steps_done(self) -> int:
        return self.hidden if self.is_again else self.found + self.hidden

    def seconds_left(self, now: datetime) -> float | None:
        """How long the rest will take if it goes on as up to now; None while nobody can tell."""
        if self.over or self.planned_at is None or not self.segments:
            return None
        share = self.steps_done / self.steps
        if share < LEAST_SHARE:
            return None
        return (now - self.planned_at).total_seconds() * (1 - share) / share


def view_of(job: str, blobs: Iterable[Blob], source: str | None, read: Read) -> JobView:
    """The job whose objects in the work bucket these are. `source` is its upload's name, where that is known.

    One of which something can't be read counts as failed, and keeps nobody from seeing the others.
    """
    there = {blob.name: blob for blob in blobs}
    unreadable = False

    def document(name: str, model: Any) -> Any:
        nonlocal unreadable
        try:
            return read(name, model) if name in there else None
        except PermanentError:
            unreadable = True
            return None

    manifest: Manifest | None = document(layout.manifest(job), Manifest)
    failed: Failed | None = document(layout.failed(job), Failed)
    published: Published | None = document(layout.published(job), Published)
    if manifest is not None:
        source = manifest.source.name
    elif failed is not None and failed.source is not None:
        source = failed.source.name
    if unreadable and failed is None and published is None:
        failed = Failed(job=job, source=None, stage="view", code="unreadable", message=UNREADABLE)
    segments = len(manifest.segments) if manifest else 0
    found, hidden = (
        _complete([reference(blob) for name, blob in there.items() if name.startswith(prefix)], segments)
        for prefix in (layout.findings_prefix(job), layout.segments_prefix(job))
    )
    linked = layout.faces(job) in there
    planned = there.get(layout.manifest(job))
    return JobView(
        job=job,
        source=source,
        manifest=manifest,
        # What a step needs no more is deleted: then it is the next one that shows how far the job is.
        found=segments if linked or published else found,
        hidden=segments if published else hidden,
        linked=linked,
        published=published,
        failed=failed,
        since=max((blob.updated for blob in there.values()), default=None),
        planned_at=planned.updated if planned else None,
        is_readable=not unreadable,
    )


def _complete(listed: list[ObjectRef], segments: int) -> int:
    """How many segments a step is done with."""
    pieces = Pieces(listed)
    return len([index for index in range(segments) if pieces.of(index) is not None])
