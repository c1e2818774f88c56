"""The report of a published video, and the results of its checks."""

from collections.abc import Iterable
from typing import Literal, Self

from pydantic import Field

from defacer.pipeline.documents.base import Document, JobId, ObjectRef
from defacer.pipeline.documents.manifest import Policy, RerenderRecord
from defacer.report.json_lines import dump_track, join_report, load_track, split_report
from defacer.report.tracks import FacesHead, TrackRecord


class _Check(Document):
    """The check of a result. `frames` were sampled.

    Of the faces outside all masks, `passed_as_target` continue a kept track, and `passed_as_unlikely` are too faint.
    """

    verify: Literal["standard", "strict"]
    frames: int = Field(ge=0)
    passed_as_target: int = Field(default=0, ge=0)
    passed_as_unlikely: int = Field(default=0, ge=0)


class SegmentCheck(_Check):
    """The check of one segment. `tracks` are the faces that it found and that are masked now, numbered from 0."""

    tracks: tuple[TrackRecord, ...] = ()


class ResultCheck(_Check):
    """The check of a whole result. `tracks` are the ids of the tracks that it found."""

    tracks: tuple[int, ...] = ()


class ReportedSegment(Document):
    """One segment in a report, with its number of frames."""

    index: int
    frames: int


class ReportHead(Document):
    """The first line of `X.report.jsonl`, which is published beside the result. The tracks follow, one a line.

    `fingerprint` identifies the source among other videos (rerender). `dropped` names the kinds of parts of the source
    that the result does not have: cover pictures, data tracks, tags. `rerender` names the job whose report was
    re-rendered. `checked` is None where the policy says `verify: off`.
    """

    version: Literal[6] = 6
    job: JobId
    source: ObjectRef
    result: str
    policy: Policy
    targets: tuple[str, ...]
    frames: int
    black_frames: int = 0
    audio_packets: int
    fingerprint: str
    dropped: tuple[str, ...]
    segments: tuple[ReportedSegment, ...]
    rerender: RerenderRecord | None = None
    checked: ResultCheck | None = None
    faces: FacesHead

    def with_lines(self, lines: Iterable[bytes]) -> bytes:
        """Return the report with these lines of tracks."""
        return join_report(self.model_dump_json(exclude={"tracks"}).encode(), lines)


class Report(ReportHead):
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
