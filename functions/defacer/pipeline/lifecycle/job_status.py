"""A job as its objects show it: how far it is, and how it ended. Nothing else knows, and nothing else needs to."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from google.cloud.storage import Blob

from defacer.pipeline.documents.job_records import Failed, Published
from defacer.pipeline.documents.manifest import Manifest
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.lifecycle.job_state import ERASED
from defacer.pipeline.lifecycle.progress import (
    ANEW,
    FIND_SHARE,
    HIDE_SHARE,
    JOIN_SHARE,
    LEASE,
    LONGER,
    PAUSE,
    WAITING,
    Progress,
    Span,
    estimate,
    share_of,
)
from defacer.pipeline.lifecycle.segments import Subsegments
from defacer.pipeline.storage import object_names
from defacer.pipeline.storage.objects import reference

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
UNREADABLE = (
    "The objects of this job can't be read. "
    "Erase it (python -m defacer.commands.privacy erase) and upload it again."
)
# Reads an object of the work bucket as a contract: its name and the contract's class.
Read = Callable[[str, Any], Any]


@dataclass(frozen=True)
class JobStatus:
    """`since` is when the newest of its objects was written, `worked_at` when the newest of its leases was.

    `found` and `hidden` are how many segments each of the two steps is done with, `spans` those of the current step.
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
    worked_at: datetime | None = None
    spans: tuple[Span, ...] = ()
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
        return object_names.channel_of_input(self.source) if self.source else None

    @property
    def is_again(self) -> bool:
        """Whether the video was rendered before: then no faces are looked for."""
        return self.manifest is not None and self.manifest.again is not None

    @property
    def can_try_again(self) -> bool:
        """Whether the job failed and can succeed when it is tried again."""
        return self.state == "failed" and self.failed is not None and self.failed.code.can_try_again

    def progress(self, now: datetime) -> Progress:
        """Return how far the job is, and how long the rest takes at the same pace."""
        if self.published is not None:
            return Progress(1.0)
        share = share_of(self.found, self.hidden, self.segments, is_again=self.is_again)
        if self.over or self.done == self.segments:  # the rest is short
            return Progress(share)
        if self._is_waiting(now):
            return Progress(share, note=WAITING)
        rest = JOIN_SHARE / HIDE_SHARE if self.linked else (HIDE_SHARE + JOIN_SHARE) / FIND_SHARE
        found = estimate(self.spans, self.segments, rest)
        if found is None:
            is_second_step = self.linked and not self.is_again and self.segments > 1
            return Progress(share, note=ANEW if is_second_step else None)
        end, is_later = found
        left = (end - now).total_seconds()
        return (
            Progress(share, left, LONGER if is_later else None) if left > 0 else Progress(share, note=LONGER)
        )

    def _is_waiting(self, now: datetime) -> bool:
        """Whether no worker has a lease on a segment."""
        if self.worked_at is None:
            return self.since is not None and now - self.since > PAUSE
        return now - self.worked_at > LEASE


def job_status_of(job: str, blobs: Iterable[Blob], source: str | None, read: Read) -> JobStatus:
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

    manifest: Manifest | None = document(object_names.manifest(job), Manifest)
    failed: Failed | None = document(object_names.failed(job), Failed)
    published: Published | None = document(object_names.published(job), Published)
    if manifest is not None:
        source = manifest.source.name
    elif failed is not None and failed.source is not None:
        source = failed.source.name
    if unreadable and failed is None and published is None:
        failed = Failed(job=job, source=None, stage="view", code=ErrorCode.UNREADABLE, message=UNREADABLE)
    segments = len(manifest.segments) if manifest else 0
    found, hidden = (
        _complete({name: blob for name, blob in there.items() if name.startswith(prefix)}, segments)
        for prefix in (object_names.segment_detections_prefix(job), object_names.segments_prefix(job))
    )
    linked = object_names.faces(job) in there
    leases = (
        blob.updated for name, blob in there.items() if name.startswith(object_names.leases_prefix(job))
    )
    return JobStatus(
        job=job,
        source=source,
        manifest=manifest,
        # What a step needs no more is deleted: then it is the next one that shows how far the job is.
        found=segments if linked or published else len(found),
        hidden=segments if published else len(hidden),
        linked=linked,
        published=published,
        failed=failed,
        since=max((blob.updated for blob in there.values()), default=None),
        worked_at=max(leases, default=None),
        spans=hidden if linked else found,
        is_readable=not unreadable,
    )


def _complete(blobs: Mapping[str, Blob], segments: int) -> tuple[Span, ...]:
    """The segments that a step is done with, by the objects that it has written."""
    pieces = Subsegments(map(reference, blobs.values()))
    made = filter(None, map(pieces.of, range(segments)))
    return tuple(_span([blobs[ref.name] for ref in refs]) for refs in made)


def _span(blobs: Sequence[Blob]) -> Span:
    seconds = (float((blob.metadata or {}).get(object_names.OF_SECONDS, 0)) for blob in blobs)
    began = min(blob.updated - timedelta(seconds=took) for blob, took in zip(blobs, seconds, strict=True))
    return Span(began, max(blob.updated for blob in blobs))
