"""Choose a face in a frame of a video as a target, as `--keep-at 0:12.5` does."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import compress
from typing import Self

import av

from defacer.engine.errors import NO_FRAME, ArgumentError, VideoError
from defacer.engine.media.clock.clock_scan import examine_video
from defacer.engine.media.clock.clocked_source import ClockedSource
from defacer.engine.media.orientation import Orientation
from defacer.engine.media.reader import read_frames
from defacer.engine.models.arrays import Detection, Detector, Image
from defacer.engine.recognition.gallery import TargetFace
from defacer.engine.recognition.target_face import MIN_FACE_SIDE
from defacer.engine.tracking.reduced_frame import ReducedFrame
from defacer.engine.tracking.turns.turn_finder import find_face_turns
from defacer.engine.tracking.turns.turned_views import detect_in_turns
from defacer.plurals import pluralize
from defacer.report.texts import describe_place

MOMENT = re.compile(r"(?:(?:(\d+):)?(\d{1,2}):)?(\d+(?:\.\d+)?)(?:#(\d+))?", re.ASCII)
SEARCH_SECONDS = 5  # before and after a moment without a face
MAX_FRAME_SECONDS = 60
SEARCH_STEP_SECONDS = Fraction(1, 5)


@dataclass(frozen=True)
class Moment:
    """A time of a video in seconds after its first frame, and the number of a face in it, from 1."""

    seconds: Fraction
    number: int | None = None

    def __str__(self) -> str:
        return format_time(self.seconds) + (f"#{self.number}" if self.number else "")


@dataclass(frozen=True)
class FrameFaces:
    """The faces of a displayed frame, from left to right.

    `faces` are clear and large enough for a target. `others` are not, but each can be the wanted person, who must not
    be mistaken for a stranger in `faces`. `scale` is the size of the displayed frame relative to `image`.
    """

    image: Image = field(repr=False)
    faces: tuple[Detection, ...] = field(repr=False)
    others: tuple[Detection, ...] = field(default=(), repr=False)
    scale: float = 1.0

    def lines(self) -> list[str]:
        """Return a line for each face. Those that can be chosen come first, with their numbers."""
        chosen = [f"{number} {self.describe(face)}" for number, face in enumerate(self.faces, start=1)]
        return chosen + [f"{self.describe(face)} is too small or too unclear" for face in self.others]

    def describe(self, face: Detection) -> str:
        """Return the place of a face and its box, in pixels of the displayed frame."""
        return describe_place(face.box * self.scale, round(self.image.shape[1] * self.scale))


Ask = Callable[[FrameFaces], int]  # returns the number of one of the faces, from 1


def parse_moment(text: str) -> Moment:
    """Parse `SECONDS`, `MINUTES:SECONDS` or `HOURS:MINUTES:SECONDS`, with `#NUMBER` for one of several faces.

    Raise ArgumentError for any other text.
    """
    match = MOMENT.fullmatch(text)
    if match is None or (match[4] and not int(match[4])):
        raise ArgumentError(
            f"{text!r} is not a time of a video. Write seconds, or minutes and seconds, such as 12.5 or 0:12.5. "
            "Add #2 for the second face from the left."
        )
    seconds = 3600 * int(match[1] or 0) + 60 * int(match[2] or 0) + Fraction(match[3])
    return Moment(seconds, int(match[4]) if match[4] else None)


def format_time(seconds: Fraction) -> str:
    """Return a time as `--keep-at` accepts it, such as `0:12.5`: the next hundredth, which is in the same frame."""
    minutes, hundredths = divmod(math.ceil(100 * seconds), 6000)
    hours, minutes = divmod(minutes, 60)
    start = f"{hours}:{minutes:02}" if hours else f"{minutes}"
    return f"{start}:{hundredths / 100:05.2f}".removesuffix("0").removesuffix(".0")


def find_faces_at(video: str, seconds: Fraction, detector: Detector, checker: Detector) -> FrameFaces:
    """Return the faces, at least one, of the frame that a player shows at that time. `checker` is YuNet.

    Raise ArgumentError for a time after the end of the video, and without a face that is large enough. Then its
    message names the nearest time that has one.
    """
    clip = _Clip.open(video)
    found = _detect(clip, clip.frame_at(seconds), detector, checker)
    if not found.faces:
        raise ArgumentError(
            f"There is no clear face at {format_time(seconds)}. {_nearest(clip, seconds, detector, checker)}"
        )
    return found


def choose_face(moment: Moment, found: FrameFaces, ask: Ask | None = None) -> TargetFace:
    """Return the face that the moment names, or the only one.

    With several faces or likely faces, `ask` chooses. Without `ask` they raise ArgumentError, which lists them.
    """
    count, number = len(found.faces), moment.number
    is_ambiguous = number is None and count + len(found.others) > 1
    if is_ambiguous and ask is not None:
        number, is_ambiguous = ask(found), False
    if is_ambiguous or not 1 <= (number or 1) <= count:
        time, lines = format_time(moment.seconds), found.lines()
        listed = "\n".join(lines)
        raise ArgumentError(
            f"The video shows {pluralize(len(lines), 'face')} at {time} (x,y,width,height in pixels):\n{listed}\n"
            f"Name one of them by its number, such as {time}#{count}."
        )
    face = found.faces[(number or 1) - 1]
    return TargetFace(f"person at {moment}", f"the face at {moment}", found.image, face)


@dataclass(frozen=True)
class _Clip:
    """A video, the time of its first frame, and how it is displayed."""

    source: ClockedSource
    start: int
    base: Fraction
    orientation: Orientation
    duration: float | None

    @classmethod
    def open(cls, path: str) -> Self:
        info = examine_video(path, past_damage=True)
        source = ClockedSource(path, info.clock)
        frame = next(read_frames(source), None)
        if frame is None:
            raise VideoError(NO_FRAME)
        return cls(source, frame.pts or 0, info.time_base, info.form.orientation, info.duration_seconds)

    def pts_at(self, seconds: Fraction) -> int:
        return self.start + math.floor(seconds / self.base)

    def seconds_at(self, pts: int) -> Fraction:
        return (pts - self.start) * self.base

    def frame_at(self, seconds: Fraction) -> av.VideoFrame:
        """Return the last frame at or before that time. Raise ArgumentError if the video has ended then."""
        if self.duration is not None and seconds > self.duration + SEARCH_SECONDS:
            raise _after_the_end(seconds, Fraction(self.duration))
        wanted = self.pts_at(seconds)
        for back in (SEARCH_SECONDS, MAX_FRAME_SECONDS, None):  # a slide show has frames of minutes
            start = None if back is None else self.pts_at(seconds - back)
            shown: av.VideoFrame | None = None
            for frame in read_frames(self.source, start):
                if (frame.pts or 0) > wanted:
                    break
                shown = frame
            else:
                self._require_end_after(wanted, seconds, shown)
            if shown is not None:
                return shown
        raise VideoError("it has no frame at this time.")

    def _require_end_after(self, wanted: int, seconds: Fraction, last: av.VideoFrame | None) -> None:
        if last is not None and wanted >= (end := (last.pts or 0) + max(last.duration, 1)):
            raise _after_the_end(seconds, self.seconds_at(end))


def _after_the_end(seconds: Fraction, end: Fraction) -> ArgumentError:
    return ArgumentError(
        f"The video ends at {format_time(end)}, before {format_time(seconds)}. Name an earlier time."
    )


def _detect(clip: _Clip, frame: av.VideoFrame, detector: Detector, checker: Detector) -> FrameFaces:
    """Detect the faces of a frame as the detection pass does, in pixels of a copy of at most CROP_SIDE."""
    held = ReducedFrame(frame, orientation=clip.orientation)
    small, large = held.detector_image(), held.crop_image()
    [found] = detect_in_turns(detector, [small], [find_face_turns(small, checker) or ()])
    scale = large.shape[1] / small.shape[1]
    faces = sorted((face.scaled(scale) for face in found), key=lambda face: float(face.box[0] + face.box[2]))
    clear = [
        face.score >= detector.confident_score and face.box[3] - face.box[1] >= MIN_FACE_SIDE
        for face in faces
    ]
    return FrameFaces(
        large,
        tuple(compress(faces, clear)),
        tuple(face for face, is_clear in zip(faces, clear, strict=True) if not is_clear),
        held.width / large.shape[1],
    )


def _nearest(clip: _Clip, seconds: Fraction, detector: Detector, checker: Detector) -> str:
    """Return a sentence about the nearest time that has a face."""
    first, last = max(Fraction(0), seconds - SEARCH_SECONDS), seconds + SEARCH_SECONDS
    due, times = first, []
    for frame in read_frames(clip.source, clip.pts_at(first), clip.pts_at(last)):
        time = clip.seconds_at(frame.pts or 0)
        if time >= due:
            due = time + SEARCH_STEP_SECONDS
            times += [time] if _detect(clip, frame, detector, checker).faces else []
    if not times:
        return f"There is none from {format_time(first)} to {format_time(last)} either. Name another time."
    return f"The nearest one is at {format_time(min(times, key=lambda time: abs(time - seconds)))}."
