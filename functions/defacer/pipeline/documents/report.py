"""The report of a published video, and the results of its checks."""

from collections.abc import Iterable
from typing import Literal, Self

from pydantic import Field

from defacer.pipeline.documents.base import Document, JobId, ObjectRef
from defacer.pipeline.documents.manifest import Policy, RerenderRecord
from defacer.report.changes import SourceChange
from defacer.report.clock import Clock
from defacer.report.json_lines import dump_track, join_report, load_track, split_report
from defacer.report.tracks import FacesHead, TrackRecord


class _Check(Document):
    """The check of a result by a second detector."""

    verify: Literal["standard", "strict"]
    """The policy's `verify`."""
    frames: int = Field(ge=0)
    """The number of sampled frames."""
    passed_as_target: int = Field(default=0, ge=0)
    """The number of faces outside all masks that continue a kept track."""
    passed_as_unlikely: int = Field(default=0, ge=0)
    """The number of faces outside all masks that are too faint to count."""


class SegmentCheck(_Check):
    """The check of one segment."""

    tracks: tuple[TrackRecord, ...] = ()
    """The faces that the check found and that are masked now, numbered from 0."""


class ResultCheck(_Check):
    """The check of a whole result."""

    tracks: tuple[int, ...] = ()
    """The ids of the tracks that the check found."""


class ReportedSegment(Document):
    """One segment in a report."""

    index: int
    """The number of the segment, from 0."""
    frames: int
    """The number of its frames."""


class ReportHead(Document):
    """The first line of `X.report.jsonl`, which is published beside the result. The tracks follow, one a line."""

    version: Literal[7] = 7
    """The version of the format. A reader refuses any other version."""
    job: JobId
    """The job."""
    source: ObjectRef
    """The uploaded video."""
    result: str
    """The name of the result in the output bucket."""
    policy: Policy
    """The [policy](../ingest/POLICY.md) of the job."""
    targets: tuple[str, ...]
    """The people who stay visible."""
    frames: int
    """The number of frames."""
    black_frames: int = 0
    """The number of frames that could not be decoded and are black."""
    copied_frames: int = 0
    """The number of frames that `copy_untouched` copied without encoding them."""
    audio_packets: int
    """The number of copied packets of sound."""
    fingerprint: str
    """Identifies the source, so that a re-render refuses another video."""
    dropped: tuple[str, ...]
    """The kinds of streams and tags of the source that are not in the result: the texts of those changes."""
    changes: tuple[SourceChange, ...] = ()
    """The [changes](#changes) of other data: dropped, converted or corrected."""
    clock: Clock = Clock()
    """How the times of the source were corrected."""
    segments: tuple[ReportedSegment, ...]
    """The segments, each with its number (`index`) and its number of frames (`frames`)."""
    rerender: RerenderRecord | None = None
    """After a re-render: the job that it started from (`of`), and the changes."""
    checked: ResultCheck | None = None
    """The outcome of the check of the result. Null with the policy `"verify": "off"`."""
    faces: FacesHead
    """How the tracks were found."""

    def with_lines(self, lines: Iterable[bytes]) -> bytes:
        """Return the report with these lines of tracks."""
        return join_report(self.model_dump_json(exclude={"tracks"}).encode(), lines)


class JobReport(ReportHead):
    """A report with its tracks."""

    tracks: tuple[TrackRecord, ...]

    @classmethod
    def from_lines(cls, head: ReportHead, lines: Iterable[bytes]) -> Self:
        """Return the report with this head and these lines of tracks. Raise ReportError for any other line."""
        return cls(**dict(head), tracks=tuple(map(load_track, lines)))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Return the report of these JSON Lines. Raise ValueError for anything else."""
        head, lines = split_report(data)
        return cls.from_lines(ReportHead.model_validate_json(head), lines)

    def to_bytes(self) -> bytes:
        """Return the report as JSON Lines."""
        return self.with_lines(map(dump_track, self.tracks))
