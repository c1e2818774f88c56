"""A stand-in for the engine. A video is a JSON document with its duration and its fault.

A video has two frames a second. A redacted segment lists its frames, each with the number of times it was redacted. The
engine reads and writes through the pipeline, as the real one does, so it can be interrupted in the same places.
"""

import json
from array import array
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from defacer.pipeline.channel import TargetPicture
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.manifest import Policy, TimeRange
from defacer.pipeline.documents.report import SegmentCheck
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.media_engine import (
    EditedFaces,
    JoinedVideo,
    JoinInput,
    LinkedFaces,
    LinkInput,
    MediaEngine,
    RedactedSegment,
    StepInput,
    TargetGallery,
    VideoHeader,
)
from defacer.pipeline.storage import objects
from defacer.pipeline.storage.ranged_reader import open_ranged
from defacer.report.compact_boxes import CompactBoxes
from defacer.report.edits import Edits
from defacer.report.faces import Faces
from defacer.report.tracks import Reason, TrackRecord

SEGMENT_SECONDS = 2  # so that it can be split once
FRAMES_PER_SEGMENT = 4


@dataclass(frozen=True)
class Clip:
    """A video. `bad` names the step that fails for it, such as "probe" or "redact 1"."""

    segments: int
    bad: str | None = None

    def to_bytes(self) -> bytes:
        return json.dumps({"segments": self.segments, "bad": self.bad}).encode()

    @property
    def frames(self) -> list[int]:
        return list(range(self.segments * FRAMES_PER_SEGMENT))

    def frames_in(self, part: TimeRange) -> list[int]:
        start = 0 if part.start is None else part.start
        end = len(self.frames) if part.end is None else part.end
        return self.frames[start:end]

    def try_step(self, step: str) -> None:
        if self.bad == step:
            raise PermanentError(ErrorCode.NOT_A_VIDEO, f"this clip can't be used: {step}")


@dataclass(frozen=True)
class StandInEngine(MediaEngine):
    """`nonce` makes the outputs of two workers for one segment differ, as those of real workers can."""

    nonce: Callable[[], str]

    def probe(self, source: ObjectRef, policy: Policy) -> VideoHeader:
        clip = _read(source)
        clip.try_step("probe")
        seconds = float(clip.segments * SEGMENT_SECONDS)
        return VideoHeader(16, 16, "h264", Fraction(1, 2), 0, seconds, frame_rate=None, keyframes=())

    def embed_targets(self, pictures: Sequence[TargetPicture], recognizer: str) -> TargetGallery:
        seen = [objects.read(picture.ref).decode() for picture in pictures]
        return TargetGallery(tuple({picture.person for picture in pictures}), json.dumps(seen).encode())

    def require_replacement(self, picture: ObjectRef) -> None:
        """Accept every picture."""

    def edit_faces(self, faces: bytes, edits: Edits, people: Collection[str]) -> EditedFaces:
        """Keep everyone, as a person decided."""
        found = Faces.from_bytes(faces)
        tracks = tuple(replace(track, decision="keep", reason=Reason.MANUAL) for track in found.tracks)
        return EditedFaces(replace(found, tracks=tracks).to_bytes(), (), ())

    def detect(self, step: StepInput) -> bytes:
        if step.manifest.gallery:
            objects.read(step.manifest.gallery)
        clip = _read(step.manifest.source, step.manifest.source_size)
        clip.try_step(f"detect {_index(step)}")
        step.renew_lease()
        return json.dumps({"frames": len(clip.frames_in(step.segment)), "by": self.nonce()}).encode()

    def link(self, job: LinkInput) -> LinkedFaces:
        segments = [0] * len(job.manifest.segments)
        for index, data in job.detections:
            job.renew_lease()
            segments[index] += json.loads(data)["frames"]
        frames = sum(segments)
        faces = Faces(
            detector="centerface",
            recognizer=None,
            match_threshold=0.5,
            width=16,
            height=16,
            time_base=job.manifest.video.time_base,
            frames=frames,
            sampled_frames=int(self.nonce() or 0),
            segments=tuple(segments),
            cuts=(),
            tracks=(KEPT,),
        )
        return LinkedFaces(frames, faces.sampled_frames, 1, faces.to_bytes())

    def redact(self, step: StepInput, faces: bytes, out: Path) -> RedactedSegment:
        clip = _read(step.manifest.source, step.manifest.source_size)
        clip.try_step(f"redact {_index(step)}")
        step.renew_lease()
        frames = clip.frames_in(step.segment)
        by = self.nonce()
        document = {"frames": [[frame, 1] for frame in frames], "by": by}
        out.write_bytes(json.dumps(document).encode() + b"\n")
        clip.try_step(f"check {_index(step)}")
        return RedactedSegment(array("q", frames), 0, checked=_check(frames, by))

    def join(self, job: JoinInput) -> JoinedVideo:
        clip = _read(job.manifest.source, job.manifest.source_size)
        clip.try_step("join")
        shown: list[int] = []
        for report in job.reports:
            job.renew_lease()
            with open_ranged(report.video, ErrorCode.OBJECT_GONE) as file:
                data = file.read()
            job.samples.write(data)
            shown += [frame for frame, _ in json.loads(data)["frames"]]
        if shown != clip.frames:
            raise PermanentError("check-failed", f"found the frames {shown}, expected {clip.frames}")
        head = f"{len(shown)} frames\n".encode()
        return JoinedVideo(head, len(shown), 0, fingerprint="none", changes=(), details=shown)

    def check_result(self, job: JoinInput, result: ObjectRef, joined: JoinedVideo) -> None:
        with open_ranged(result, ErrorCode.OBJECT_GONE) as file:
            data = file.read()
        job.renew_lease()
        if [frame for frame, _ in frames_of(data)] != joined.details:
            raise PermanentError("check-failed", "the result does not have the joined frames")


# The one track of each video, whose reason shows who decided about it.
KEPT = TrackRecord(
    id=0,
    start=0,
    end=0,
    decision="keep",
    person=None,
    reason=Reason.MATCHED,
    distance=0.1,
    margin=0.4,
    continues=None,
    detections=CompactBoxes([(0, (0.0, 0.0, 1.0, 1.0))]),
)


def _check(frames: list[int], by: str) -> SegmentCheck:
    """Return a check that found a face in the first frame. Its box names the worker that wrote the segment."""
    place = (float(by or 0), 0.0, 1.0, 1.0)
    track = TrackRecord(
        id=0,
        start=frames[0],
        end=frames[0],
        decision="hide",
        person=None,
        reason=Reason.FOUND_BY_VERIFICATION,
        distance=None,
        margin=None,
        continues=None,
        detections=CompactBoxes([(frames[0], place)]),
    )
    return SegmentCheck(verify="standard", frames=len(frames), tracks=(track,))


def segment_writers(result: bytes) -> list[tuple[int, float]]:
    """Return the first frame of each segment of a joined video, and the worker that wrote the segment."""
    segments = [json.loads(line) for line in result.splitlines()[1:]]
    return [(segment["frames"][0][0], float(segment["by"] or 0)) for segment in segments]


def frames_of(result: bytes) -> list[tuple[int, int]]:
    """Return each frame of a joined video, and how often it was redacted."""
    lines = result.splitlines()[1:]
    return [(frame, count) for line in lines for frame, count in json.loads(line)["frames"]]


def _index(step: StepInput) -> int:
    return (step.segment.start or 0) // FRAMES_PER_SEGMENT


def _read(source: ObjectRef, size: int | None = None) -> Clip:
    with open_ranged(source, size=size) as file:
        return Clip(**json.loads(file.read()))
