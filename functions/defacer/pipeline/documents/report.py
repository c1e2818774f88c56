"""The report of a published video: its tracks and decisions."""

import re
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from defacer.pipeline.documents.base import Document, JobId, ObjectRef, TimeBase
from defacer.pipeline.documents.manifest import Policy, RerenderRecord


class Look(Document):
    """A box that the detector saw: `x1, y1, x2, y2` in pixels of the displayed frame at time `pts`."""

    pts: int
    box: tuple[float, float, float, float]


class Track(Document):
    """One face through time, and what was decided about it. No embedding, no picture.

    `distance` is that to the nearest target, `margin` how far inside the match threshold it is (below 0: outside). Of
    10,000 strangers `strangers_per_10000` look as much like the target; 0 means fewer than 1. The three are None
    without a target. `continues` is the id of the track that precedes this one.
    """

    id: int
    start: int
    end: int
    decision: Literal["keep", "hide"]
    person: str | None
    reason: str
    distance: float | None
    margin: float | None
    strangers_per_10000: int | None = None
    continues: int | None
    group: int = 0
    looks: tuple[Look, ...]


class TargetWarning(Document):
    """A likely problem with a target: `defacer.engine.tracking.face_report.TargetWarning`."""

    code: str
    person: str
    message: str
    track: int | None = None


TRACKS_END = b"\n]}"


TRACK_NUMBER = re.compile(rb'^\{"id":(\d+),', re.MULTILINE)


TRACK_GROUP = re.compile(rb'"group":(\d+),"looks":')


class FacesHead(Document):
    """What `Faces` says before the cuts and tracks; `frames` and `looks` are how many, `segments` each one's frames."""

    version: Literal[1, 2, 3, 4] = 4
    detector: str
    recognizer: str | None
    match_threshold: float
    width: int
    height: int
    time_base: TimeBase
    frames: int
    looks: int
    segments: tuple[int, ...] = ()
    warnings: tuple[TargetWarning, ...] = ()


class Faces(FacesHead):
    """`jobs/ID/faces.json`: every face of the whole video, linked across its segments. Written once by merge.

    `shots` are the times at which the picture was cut. The engine writes it
    (`defacer.engine.tracking.face_report`), one line for
    each track, and a worker reads no more of it than its segment needs.
    """

    shots: tuple[int, ...]
    tracks: tuple[Track, ...]

    @staticmethod
    def with_tracks(document: bytes, tracks: Sequence[Track]) -> tuple[bytes, tuple[int, ...]]:
        """Append tracks to a document of faces, numbered on from its own. Return also their numbers.

        Each is a person group of its own. Nothing but the added lines is built: a long video's faces, parsed, would
        fill the memory. Raises ValueError for a document that the engine did not write.
        """
        if not tracks:
            return document, ()
        body = document.removesuffix(TRACKS_END)
        if body == document:
            raise ValueError("it is not written as documents of faces are")
        first = max(map(int, TRACK_NUMBER.findall(body)), default=-1) + 1
        group = max(map(int, TRACK_GROUP.findall(body)), default=-1) + 1
        numbers = tuple(range(first, first + len(tracks)))
        lines = [
            track.model_copy(update={"id": first + n, "group": group + n}).model_dump_json().encode()
            for n, track in enumerate(tracks)
        ]
        separator = b",\n" if first else b"\n"
        return body + separator + b",\n".join(lines) + TRACKS_END, numbers


# No string of JSON holds a line break, so this is nowhere else.
BEFORE_FACES = b',\n  "faces": '


class _Check(Document):
    """The check of a result. `frames` were sampled.

    Of the faces outside all masks, `passed_as_target` continue a kept track, and `passed_as_unlikely` are too faint.
    """

    verify: Literal["standard", "strict"]
    frames: int = Field(ge=0)
    passed_as_target: int = Field(default=0, ge=0)
    passed_as_unlikely: int = Field(default=0, ge=0)


class SegmentCheck(_Check):
    """The check of one segment. `tracks` are faces that it found and that are masked now, numbered from 0."""

    tracks: tuple[Track, ...] = ()


class ResultCheck(_Check):
    """The check of a whole result. `tracks` are the numbers of the tracks that it found, in `faces`."""

    tracks: tuple[int, ...] = ()


class ReportedSegment(Document):
    """One segment's part of a job's report: how many frames it has."""

    index: int
    frames: int


class ReportHead(Document):
    """`X.report.json`, published beside the result, but for the faces.

    `fingerprint` tells the source from other videos (rerender). `dropped` is what of the source is not in the result,
    by kind: cover pictures, data tracks, tags. `again` says from which job's report it was rendered, if from any.
    `checked` is None where the policy says `verify: off`.
    """

    version: Literal[3, 4, 5] = 5
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
    again: RerenderRecord | None = None
    checked: ResultCheck | None = None

    def with_faces(self, faces: bytes) -> bytes:
        """The whole report, of `faces.json` as it is: a long video's faces, parsed, would fill the memory."""
        head = self.model_dump_json(indent=2).removesuffix("\n}")
        return head.encode() + BEFORE_FACES + faces + b"\n}"

    @staticmethod
    def apart(report: bytes) -> tuple[bytes, bytes]:
        """The opposite of `with_faces`: the head as a document, and the faces. Raises ValueError if it is not that."""
        head, found, faces = report.partition(BEFORE_FACES)
        if not found or not faces.endswith(b"\n}"):
            raise ValueError("it is not written as reports are")
        return head + b"\n}", faces.removesuffix(b"\n}")


class Report(ReportHead):
    """`X.report.json` as it is read."""

    faces: Faces
