"""The one place where all of the engine meets: a time range of a video in, the same with faces hidden out.

Two passes over the range. The first reads small frames, with some context on either side, and makes tracks and
decisions; the second decodes at full size, conceals and encodes. Neither holds more than a few frames.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av

from functions.engine.conceal import Box, Style, can_conceal, conceal
from functions.engine.detect import Array, Detection, Detector, Image, make_detector
from functions.engine.embed import KEEP_DISTANCE, FaceNet, crop_face
from functions.engine.errors import EngineError
from functions.engine.gallery import Gallery, Picture, decode_picture, make_gallery
from functions.engine.identity import Decision, decide
from functions.engine.sample import Sampler, Sighting
from functions.engine.track import Track, Tracker, boxes_at
from functions.engine.video import Source, open_video, read_frames, time_base
from functions.engine.write import write_segment

LEAD_SECONDS = 0.25  # a face is covered this long before it was first seen,
TAIL_SECONDS = 0.4  # and this long after it was last seen
LEAST_WIDTH = 0.7  # of its height: a box that is narrower shows a part of a face,
LEAST_HEIGHT = 1.1  # of its width: and so does one that is lower


@dataclass(frozen=True)
class Options:
    """How to do it; the fields and values of a channel's policy. `keep_distance` None: the recognizer's own."""

    mode: str = "blur"
    strength: float = 1.0
    color: str = "#000000"
    detector: str = "centerface"
    recognizer: str = "casia-webface"
    keep_distance: float | None = None
    quality: int = 18


@dataclass(frozen=True)
class LookResult:
    """A box that the detector saw at time `pts`, in displayed pixels."""

    pts: int
    box: Box


@dataclass(frozen=True)
class TrackResult:
    """One face through time and what was decided; `start` and `end` are its first and last frame's pts."""

    id: int
    start: int
    end: int
    decision: str
    person: str | None
    reason: str
    distance: float | None
    looks: tuple[LookResult, ...]


@dataclass(frozen=True)
class SegmentResult:
    """What was done: `frames` are the presentation times of the frames that passed through `conceal`."""

    frames: tuple[int, ...]
    looks: int
    detector: str
    recognizer: str
    keep_distance: float
    tracks: tuple[TrackResult, ...]


@dataclass(frozen=True)
class Segment:
    """A time range of a source, `start <= pts < end` (None: open), with context read on either side of it."""

    source: Source
    start: int | None = None
    end: int | None = None
    context_seconds: float = 2.0


class Engine:
    """Holds the models: each is loaded when it is first needed, once."""

    def __init__(self, weights_dir: Path | None = None):
        self._weights_dir = weights_dir
        self._detectors: dict[str, Detector] = {}
        self._recognizers: dict[str, FaceNet] = {}

    def detector(self, name: str) -> Detector:
        """The detector of that name."""
        if name not in self._detectors:
            self._detectors[name] = make_detector(name, self._weights_dir)
        return self._detectors[name]

    def recognizer(self, name: str) -> FaceNet:
        """The recognizer of that name."""
        if name not in self._recognizers:
            self._recognizers[name] = FaceNet(name, self._weights_dir)
        return self._recognizers[name]

    def gallery(self, pictures: Sequence[Picture], recognizer: str) -> Gallery:
        """Embeddings of the targets' pictures. Raises PictureError that names a picture it can't use."""
        detectors = [self.detector("centerface"), self.detector("mtcnn")]
        return make_gallery(pictures, detectors, self.recognizer(recognizer))

    def deface_segment(
        self,
        segment: Segment,
        out: str,
        gallery: Gallery | None,
        options: Options,
        replacement: bytes | None = None,
        progress: Callable[[int], None] = lambda _: None,
    ) -> SegmentResult:
        """Write the segment with its faces hidden to the NUT file `out`.

        `progress` gets the number of frames that went through, half for each pass, and may raise to stop.
        Raises VideoError for a video that can't be done, PictureError for a replacement that can't be read.
        """
        style = Style(options.mode, options.strength, options.color)
        if options.mode == "image":
            picture = decode_picture(replacement or b"", "the replacement picture", alpha=True)
            style = Style(options.mode, options.strength, options.color, picture)
        job = _SegmentJob(self, segment, options, gallery, progress)
        job.find_faces()
        frames = job.hide_faces(out, style)
        return SegmentResult(
            frames=tuple(frames),
            looks=job.sampler.looks,
            detector=options.detector,
            recognizer=self.recognizer(options.recognizer).version if gallery else options.recognizer,
            keep_distance=job.keep_distance,
            tracks=tuple(job.results()),
        )


class _SegmentJob:
    """One run of `deface_segment`: the state that its two passes share."""

    def __init__(
        self,
        engine: Engine,
        segment: Segment,
        options: Options,
        gallery: Gallery | None,
        progress: Callable[[int], None],
    ):
        self._engine = engine
        self._segment = segment
        self._options = options
        self._gallery = gallery if gallery is not None and gallery.people else None
        self._progress = progress
        self._done = 0
        self._tracks: list[Track] = []
        self._decisions: list[Decision] = []
        self._hidden: dict[int, list[Box]] = {}
        # Read before anything else is: only one reader at a time may use a file object.
        with open_video(segment.source) as (_, stream):
            self._time_base = time_base(stream)
            self._frame_rate = stream.average_rate
        self.sampler = Sampler(engine.detector(options.detector))
        default = KEEP_DISTANCE[options.recognizer]
        self.keep_distance = default if options.keep_distance is None else options.keep_distance
        if self._gallery and self._gallery.recognizer != engine.recognizer(options.recognizer).version:
            raise EngineError(
                f"the gallery was made with {self._gallery.recognizer}, the policy asks for {options.recognizer}."
            )

    def find_faces(self) -> None:
        """The first pass: looks, tracks, decisions, and the boxes to hide at each time."""
        detector = self.sampler.detector
        tracker = Tracker(lambda pts: float(pts * self._time_base), detector.sure)
        start, end = self._segment.start, self._segment.end
        frames = read_frames(self._segment.source, self._shift(start, -1), self._shift(end, 1))
        for sighting in self.sampler.run(self._counted(frames)):
            if sighting.starts_shot:
                tracker.cut()
            crop_of = _cropper(sighting) if self._gallery else None
            tracker.look(sighting.pts, sighting.detections or [], crop_of)
        self._tracks = tracker.tracks
        self._decisions = decide(self._tracks, self._embeddings(), self._gallery, self.keep_distance)
        for track, decision in zip(self._tracks, self._decisions, strict=True):
            track.crops.clear()
            if not decision.keep:
                self._hide(track)
            elif track.continues is not None and not self._decisions[track.continues].keep:
                self._hide_gap(self._tracks[track.continues], track)

    def hide_faces(self, out: str, style: Style) -> list[int]:
        """The second pass: decode, conceal, encode. Gives the times of the frames that were written."""
        known = set(self.sampler.pts)
        written = []
        frames = read_frames(self._segment.source, self._segment.start, self._segment.end)
        with write_segment(out, self._options.quality, self._frame_rate) as writer:
            for frame in self._counted(frames):
                pts = frame.pts or 0
                if pts not in known:
                    raise EngineError("the video gave other frames when it was read again. Drop it again.")
                if not can_conceal(frame.format.name):
                    frame = frame.reformat(format="yuv420p")
                conceal(frame, self._hidden.get(pts, []), style)
                writer.write(frame)
                written.append(pts)
        return written

    def results(self) -> list[TrackResult]:
        """The tracks of this segment: those that only its context saw are left out."""
        start, end = self._segment.start, self._segment.end
        found = []
        for track, decision in zip(self._tracks, self._decisions, strict=True):
            if (end is not None and track.first >= end) or (start is not None and track.last < start):
                continue
            looks = (LookResult(o.pts, _rounded(o.box)) for o in track.observations)
            found.append(
                TrackResult(
                    id=track.id,
                    start=track.first,
                    end=track.last,
                    decision="keep" if decision.keep else "hide",
                    person=decision.person if decision.keep else None,
                    reason=decision.reason,
                    distance=None if decision.distance is None else round(decision.distance, 4),
                    looks=tuple(looks),
                )
            )
        return found

    def _embeddings(self) -> list[Array]:
        if not self._gallery:
            return []
        recognizer = self._engine.recognizer(self._options.recognizer)
        return [recognizer.embed(track.best_crops()) for track in self._tracks]

    def _hide(self, track: Track) -> None:
        """Cover the track's face from before its first look to after its last, but never across a cut."""
        times = self.sampler.pts
        cuts = self.sampler.cuts
        shot = bisect_right(cuts, track.first)
        shot_start = cuts[shot - 1] if shot else times[0]
        shot_end = cuts[shot] if shot < len(cuts) else times[-1] + 1
        observations = track.observations
        lead = self._units(LEAD_SECONDS)
        if track.continues is not None:  # fill the gap to the track that this one goes on from
            before = self._tracks[track.continues].observations[-1]
            observations = [before, *observations]
            lead = 0
        in_shot = times[bisect_left(times, shot_start) : bisect_left(times, shot_end)]
        self._cover(boxes_at(observations, in_shot, lead, self._units(TAIL_SECONDS)))

    def _hide_gap(self, hidden: Track, kept: Track) -> None:
        """Cover the time between a hidden track and the kept one that goes on from it: who was there is not known."""
        times = self.sampler.pts
        gap = times[bisect_right(times, hidden.last) : bisect_left(times, kept.first)]
        self._cover(boxes_at([hidden.observations[-1], kept.observations[0]], gap, 0, 0))

    def _cover(self, boxes: list[tuple[int, Array]]) -> None:
        for pts, box in boxes:
            self._hidden.setdefault(pts, []).append(_whole_face(box, *self.sampler.size))

    def _units(self, seconds: float) -> int:
        return round(seconds / self._time_base)

    def _shift(self, pts: int | None, sign: int) -> int | None:
        return None if pts is None else pts + sign * self._units(self._segment.context_seconds)

    def _counted(self, frames: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
        for frame in frames:
            yield frame
            self._done += 1
            self._progress(self._done)


def _cropper(sighting: Sighting) -> Callable[[Detection], Image]:
    """Cuts faces out of the full frame, which is made when the first one is asked for."""
    full: list[Image] = []

    def crop(face: Detection) -> Image:
        if not full:
            full.append(sighting.full())
        return crop_face(full[0], face.box)

    return crop


def _whole_face(box: Array, width: int, height: int) -> Box:
    """The box grown to a face's proportions where the frame's edge (width x height) cuts the face off.

    What the detector boxes there is the part that is seen, and often not all of that.
    """
    x1, y1, x2, y2 = (float(side) for side in box)
    margin_x, margin_y = 0.02 * width, 0.02 * height
    if x1 < margin_x or y1 < margin_y or x2 > width - margin_x or y2 > height - margin_y:
        more_x = max(0.0, LEAST_WIDTH * (y2 - y1) - (x2 - x1)) / 2
        more_y = max(0.0, LEAST_HEIGHT * (x2 - x1) - (y2 - y1)) / 2
        return (x1 - more_x, y1 - more_y, x2 + more_x, y2 + more_y)
    return (x1, y1, x2, y2)


def _rounded(box: Array) -> Box:
    x1, y1, x2, y2 = (round(float(side), 1) for side in box)
    return (x1, y1, x2, y2)
