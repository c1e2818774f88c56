"""An engine in a few lines: a video is a document that says how long it is and what is wrong with it.

It has two frames a second, and what is made of it says of each frame by how many `conceal` it went. It reads and
writes through the same functions of the pipeline as the real engine, so it stops where that one would.
"""

import json
from array import array
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from defacer.ingest.plan_job import Embeddings, Eyes
from defacer.ingest.plan_rerender import Decided, Means
from defacer.merge.join_step import Hands, Joined, JoinInput
from defacer.merge.link_step import Found, Linked
from defacer.pipeline.channel import TargetPicture
from defacer.pipeline.documents.base import Decision, ObjectRef
from defacer.pipeline.documents.manifest import Manifest, TimeRange
from defacer.pipeline.documents.report import TRACKS_END, Faces, Look, SegmentCheck, Track
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.storage import objects
from defacer.pipeline.storage.ranged_reader import open_ranged
from defacer.worker.redact_step import Redacted
from defacer.worker.segment_attempt import StepInput

SEGMENT_SECONDS = 2  # so that it can be split once
FRAMES_PER_SEGMENT = 4


@dataclass(frozen=True)
class Clip:
    """A video. `bad` is the step at which it turns out to be unusable, such as "probe" or "redact 1"."""

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
            raise PermanentError("bad-clip", f"this clip can't be used: {step}")


@dataclass(frozen=True)
class Facts:
    """What a clip's header says."""

    duration_seconds: float
    time_base: Fraction = Fraction(1, 2)
    start_pts: int = 0
    keyframes: tuple[int, ...] = ()
    width: int = 16
    height: int = 16
    codec: str = "h264"
    frame_rate: float | None = None


@dataclass(frozen=True)
class Made:
    """A joined video."""

    head: bytes
    shown: list[int]
    frames: int
    audio_packets: int = 0
    fingerprint: str = "none"
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True)
class StandIn:
    """`nonce` makes what two workers write of one segment differ, as two real ones may."""

    nonce: Callable[[], str]

    @property
    def eyes(self) -> Eyes:
        return Eyes(self._probe, self._embed, lambda ref: None)

    @property
    def means(self) -> Means:
        return Means(self._probe, lambda ref: None, self._decide_anew)

    @property
    def hands(self) -> Hands:
        return Hands(self._join, self._check)

    def _probe(self, source: ObjectRef) -> Facts:
        clip = _read(source)
        clip.try_step("probe")
        return Facts(float(clip.segments * SEGMENT_SECONDS))

    def _embed(self, pictures: Sequence[TargetPicture], recognizer: str) -> Embeddings:
        seen = [objects.read(picture.ref).decode() for picture in pictures]
        return Embeddings(tuple({picture.person for picture in pictures}), json.dumps(seen).encode())

    def _decide_anew(
        self, faces: bytes, decisions: Mapping[int, Decision], known: Collection[str]
    ) -> Decided:
        return Decided(faces, (), ())

    def look(self, todo: StepInput) -> bytes:
        if todo.manifest.gallery:
            objects.read(todo.manifest.gallery)
        clip = _read(todo.manifest.source)
        clip.try_step(f"detect {_index(todo)}")
        todo.keep_claim()
        return json.dumps({"frames": len(clip.frames_in(todo.segment)), "by": self.nonce()}).encode()

    def link(self, found: Found) -> Linked:
        segments = [0] * len(found.manifest.segments)
        for index, data in found.findings:
            found.keep_claim()
            segments[index] += json.loads(data)["frames"]
        frames = sum(segments)
        faces = Faces(
            detector="centerface",
            recognizer=None,
            match_threshold=0.5,
            width=16,
            height=16,
            time_base=found.manifest.video.time_base,
            frames=frames,
            looks=int(self.nonce() or 0),
            segments=tuple(segments),
            shots=(),
            tracks=(),
        )
        document = (
            faces.model_dump_json().encode().removesuffix(b"]}") + TRACKS_END
        )  # in lines, as the engine writes it
        return Linked(frames, faces.looks, 0, document)

    def conceal(self, todo: StepInput, faces: bytes, out: Path) -> Redacted:
        clip = _read(todo.manifest.source)
        clip.try_step(f"redact {_index(todo)}")
        todo.keep_claim()
        frames = clip.frames_in(todo.segment)
        by = self.nonce()
        document = {"frames": [[frame, 1] for frame in frames], "by": by}
        out.write_bytes(json.dumps(document).encode() + b"\n")
        clip.try_step(f"check {_index(todo)}")
        return Redacted(array("q", frames), 0, checked=_check(frames, by))

    def _join(self, parts: JoinInput) -> Joined:
        clip = _read(parts.manifest.source)
        clip.try_step("join")
        shown: list[int] = []
        for report in parts.reports:
            parts.keep_claim()
            with open_ranged(report.video, "object-gone") as file:
                data = file.read()
            parts.samples.write(data)
            shown += [frame for frame, _ in json.loads(data)["frames"]]
        if shown != clip.frames:
            raise PermanentError("check-failed", f"found the frames {shown}, expected {clip.frames}")
        return Made(f"{len(shown)} frames\n".encode(), shown, len(shown))

    def _check(
        self, manifest: Manifest, result: ObjectRef, joined: Joined, keep_claim: Callable[[], None]
    ) -> None:
        with open_ranged(result, "object-gone") as file:
            data = file.read()
        keep_claim()
        if [frame for frame, _ in frames_of(data)] != joined.shown:
            raise PermanentError("check-failed", "the result is not what was joined")


def _check(frames: list[int], by: str) -> SegmentCheck:
    """As if the check had found a face in the first frame: its box says who wrote the segment."""
    place = (float(by or 0), 0.0, 1.0, 1.0)
    track = Track(
        id=0,
        start=frames[0],
        end=frames[0],
        decision="hide",
        person=None,
        reason="found",
        distance=None,
        margin=None,
        continues=None,
        looks=(Look(pts=frames[0], box=place),),
    )
    return SegmentCheck(verify="standard", frames=len(frames), tracks=(track,))


def found_in(result: bytes) -> list[tuple[int, float]]:
    """The first frame of each segment of a joined video, and who wrote the segment."""
    segments = [json.loads(line) for line in result.splitlines()[1:]]
    return [(segment["frames"][0][0], float(segment["by"] or 0)) for segment in segments]


def frames_of(result: bytes) -> list[tuple[int, int]]:
    """Each frame of a joined video, and how often it went through `conceal`."""
    lines = result.splitlines()[1:]
    return [(frame, count) for line in lines for frame, count in json.loads(line)["frames"]]


def _index(todo: StepInput) -> int:
    return (todo.segment.start or 0) // FRAMES_PER_SEGMENT


def _read(source: ObjectRef) -> Clip:
    with open_ranged(source) as file:
        return Clip(**json.loads(file.read()))
