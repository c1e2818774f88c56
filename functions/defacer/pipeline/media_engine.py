"""The base class of the engines that the pipeline calls to read, redact and write videos.

`defacer.pipeline` and `defacer.engine` import nothing of each other. Each function's `engine_adapter.py` implements the
operations of that function with the real engine. The model check implements all of them without one.
"""

from array import array
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, NamedTuple

from defacer.pipeline.channel import TargetPicture
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.manifest import Manifest, Policy, TimeRange
from defacer.pipeline.documents.report import JobReport, SegmentCheck
from defacer.pipeline.documents.segment_messages import SegmentReport
from defacer.report.changes import SourceChange
from defacer.report.clock import Clock
from defacer.report.edits import Edits

RenewLease = Callable[[], None]  # an operation calls it often; it can raise, to stop the operation


@dataclass(frozen=True)
class VideoHeader:
    """A video's header. Width and height are those of the displayed frame.

    Times are in units of `time_base`. `keyframes` are the sorted times of the key frames that the index lists, and
    `frames` is the number of frames in it. Without an index they are empty and None.
    `clock` has the corrections of the times.
    """

    width: int
    height: int
    codec: str
    time_base: Fraction
    start_pts: int
    duration_seconds: float | None
    frame_rate: float | None
    keyframes: tuple[int, ...]
    frames: int | None = None
    clock: Clock = field(default_factory=Clock)


@dataclass(frozen=True)
class TargetGallery:
    """The names of the targets, each once, and the archive of their embeddings that a worker reads."""

    people: tuple[str, ...]
    archive: bytes = field(repr=False)


@dataclass(frozen=True)
class EditedFaces:
    """The faces of a report after edits, as `faces.jsonl` stores them.

    `people` are the names in the document. `unconsented_tracks` are kept although their person is not a target now.
    `added` are the ids of the added tracks.
    """

    document: bytes = field(repr=False)
    people: tuple[str, ...]
    unconsented_tracks: tuple[int, ...]
    added: tuple[int, ...] = ()


@dataclass(frozen=True)
class StepInput:
    """One step of one segment, or of a part of one."""

    manifest: Manifest
    segment: TimeRange
    renew_lease: RenewLease


class StoredDetections(NamedTuple):
    """The detections of a segment, or of a part of one, as the worker stored them. `segment` is its index."""

    segment: int
    data: bytes


@dataclass(frozen=True)
class LinkInput:
    """The detections of all segments in order, each read when the iterator reaches it, and the targets' embeddings."""

    manifest: Manifest
    gallery: bytes | None = field(repr=False)
    detections: Iterator[StoredDetections] = field(repr=False)
    renew_lease: RenewLease


@dataclass(frozen=True)
class LinkedFaces:
    """The tracks of a whole video: the counts for the log, and `faces.jsonl` as merge stores it."""

    frames: int
    sampled_frames: int
    tracks: int
    document: bytes = field(repr=False)


@dataclass(frozen=True)
class RedactedSegment:
    """An encoded segment; `SegmentReport` describes the fields."""

    frames: "array[int]"
    reorder_depth: int
    black_frames: int = 0
    first_fitted: int | None = None
    checked: SegmentCheck | None = None
    copied_frames: int = 0


@dataclass(frozen=True)
class JoinInput:
    """The segments to join, by their reports. The engine writes the result to `samples`, except for its head."""

    manifest: Manifest
    reports: tuple[SegmentReport, ...]
    samples: BinaryIO
    renew_lease: RenewLease


@dataclass(frozen=True)
class JoinedVideo:
    """A joined video. `head` precedes the samples. `details` are the engine's own, for `check_result`."""

    head: bytes = field(repr=False)
    frames: int
    audio_packets: int
    fingerprint: str
    changes: tuple[SourceChange, ...]
    details: object = field(default=None, repr=False)


class MediaEngine:
    """The operations on videos, pictures and faces. An adapter implements only those that its function calls.

    All raise PermanentError for input that can't be used, and RetryableError for a transient error.
    """

    def probe(self, source: ObjectRef, policy: Policy) -> VideoHeader:
        """Read the header of a video, and log what its result will not keep as it is.

        Raises PermanentError for a video that a later step would refuse, as far as its first packets show.
        """
        raise NotImplementedError

    def embed_targets(self, pictures: Sequence[TargetPicture], recognizer: str) -> TargetGallery:
        """Detect the face in each target picture and embed it."""
        raise NotImplementedError

    def require_replacement(self, picture: ObjectRef) -> None:
        """Raise PermanentError unless the replacement picture can be used."""
        raise NotImplementedError

    def edit_faces(self, faces: bytes, edits: Edits, people: Collection[str]) -> EditedFaces:
        """Apply edits to the faces of a report. Only tracks of `people` can be kept by name.

        Raises PermanentError for edits that do not fit the report; its message is the end of a sentence.
        """
        raise NotImplementedError

    def detect(self, step: StepInput) -> bytes:
        """Detect the faces of a segment and return its segment detections."""
        raise NotImplementedError

    def link(self, job: LinkInput) -> LinkedFaces:
        """Link the detections of all segments into tracks, and decide on each track."""
        raise NotImplementedError

    def redact(self, step: StepInput, faces: bytes, out: Path) -> RedactedSegment:
        """Write the segment to `out` with its faces redacted, and check it. `faces` is `faces.jsonl`.

        Raises PermanentError if a face stays visible.
        """
        raise NotImplementedError

    def join(self, job: JoinInput) -> JoinedVideo:
        """Join the redacted segments. Raises PermanentError unless every frame and packet of the source is there."""
        raise NotImplementedError

    def check_result(self, job: JoinInput, result: ObjectRef, joined: JoinedVideo) -> None:
        """Read the stored result again. Raises PermanentError unless it equals the joined video."""
        raise NotImplementedError

    def rerender(self, report: JobReport, replacement: bytes | None, out: Path) -> JobReport:
        """Render the source of a report with the report's decisions to `out`, and return the new report."""
        raise NotImplementedError
