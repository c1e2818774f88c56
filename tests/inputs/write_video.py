"""Write videos with known contents, like those of phones, cameras and editors, with PyAV."""

import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 48_000
GOP = (("preset", "ultrafast"), ("g", "20"))
X265 = (("preset", "ultrafast"), ("x265-params", "log-level=error:keyint=20"))
ENCODER_OPTIONS = {"vorbis": {"strict": "experimental"}, "wmav2": {"b": "192000"}}
INTERLACED_FLAGS = "+ildct+ilme"
Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Sound:
    """One sound track with a tone. `shift` delays it in seconds. If it is negative, an edit list hides the begin.

    With `is_sweep` the tone rises from 300 Hz, so that its place in time can be measured.
    """

    codec: str = "aac"
    language: str | None = None
    hertz: float = 440
    shift: float = 0.0
    rate: int = SAMPLE_RATE
    layout: str = "stereo"
    is_sweep: bool = False


@dataclass(frozen=True)
class Text:
    """A subtitle track. Each line is (start, end, text), in seconds."""

    codec: str
    lines: tuple[tuple[float, float, str], ...] = ((0.2, 1.0, "one"), (1.4, 2.2, "two & three"))
    language: str | None = None
    name: str | None = None  # of the track, in the container


@dataclass(frozen=True)
class Video:
    """The contents of a video. Frames are at a constant `rate`, or at `times` in seconds."""

    codec: str = "libx264"
    pixel_format: str = "yuv420p"
    size: tuple[int, int] = (320, 180)
    rate: Fraction | int = 25
    seconds: float = 2.6
    times: tuple[float, ...] | None = None
    time_base: Fraction | None = None
    start: float = 0.0  # the first frame's time in seconds
    hidden_frames: int = 0  # at the beginning, by an edit list
    options: tuple[tuple[str, str], ...] = (("preset", "ultrafast"), ("g", "20"))
    color: tuple[int, int, int, int] | None = None  # range, primaries, transfer, matrix
    shape: Fraction | None = None
    turned: tuple[float, bool] | None = None  # degrees, mirrored
    fields: str | None = None
    sound: tuple[Sound, ...] = (Sound(),)
    texts: tuple[Text, ...] = ()
    chapters: tuple[tuple[float, float, str], ...] = ()
    tags: tuple[tuple[str, str], ...] = ()
    cover: bool = False
    data: bool = False
    muxer: tuple[tuple[str, str], ...] = ()
    portrait: Picture | None = field(default=None, repr=False)


def write(path: Path, video: Video) -> Path:
    """Write the video. The suffix of the path chooses the container."""
    with _restore_scheduling(), av.open(str(path), "w", options=dict(video.muxer)) as out:
        out.metadata.update(video.tags)
        picture = _add_picture(out, video)
        sound = [_Tone(out, track) for track in video.sound]
        texts = [(text, _add_texts(out, text)) for text in video.texts]
        cover = _add_cover(out) if video.cover else None
        data = out.add_data_stream("bin_data") if video.data else None
        if video.chapters:
            out.set_chapters([_chapter(number, *chapter) for number, chapter in enumerate(video.chapters)])
        if cover is not None:
            packet = av.Packet(cv2.imencode(".jpg", np.zeros((64, 64, 3), np.uint8))[1].tobytes())
            packet.stream, packet.pts, packet.dts = cover, 0, 0
            out.mux(packet)
        base = picture.codec_context.time_base
        for seconds, frame in _frames(video):
            frame.pts, frame.time_base = round(seconds / base), base
            _mux(out, picture.encode(frame), video)
            for tone in sound:
                tone.encode_until(out, seconds)
        _mux(out, picture.encode(None), video)
        for tone in sound:
            tone.flush(out)
        for text, stream in texts:
            _mux_texts(out, text, stream)
        if data is not None:
            packet = av.Packet(b"37.7749 -122.4194")
            packet.stream, packet.pts, packet.dts, packet.time_base = data, 0, 0, Fraction(1, 1000)
            out.mux(packet)
    return path


@contextmanager
def _restore_scheduling() -> Iterator[None]:
    """Restore this thread's scheduling policy at the end of the block.

    Run as root, SVT-AV1 sets the calling thread to real-time priority and never restores it. Servers that
    the tests start later inherit it, and a server that spins then starves the whole machine.
    """
    if not hasattr(os, "sched_getscheduler"):
        yield
        return
    policy, priority = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, priority)


def _add_picture(out: Any, video: Video) -> Any:
    stream = out.add_stream(video.codec, rate=video.rate, options=dict(video.options))
    context = stream.codec_context
    stream.width, stream.height = video.size
    stream.pix_fmt = video.pixel_format
    stream.time_base = context.time_base = video.time_base or 1 / Fraction(video.rate)
    if video.color:
        context.color_range, context.color_primaries, context.color_trc, context.colorspace = video.color
    if video.shape:
        context.sample_aspect_ratio = video.shape
    if video.turned:
        stream.set_display_rotation(video.turned[0], hflip=video.turned[1])
    return stream


def _mux(out: Any, packets: list[Any], video: Video) -> None:
    for packet in packets:
        if video.hidden_frames:
            back = round(video.hidden_frames / Fraction(video.rate) / packet.time_base)
            packet.pts -= back
            packet.dts = None if packet.dts is None else packet.dts - back
        out.mux(packet)


def _frames(video: Video) -> Iterator[tuple[float, av.VideoFrame]]:
    count = round(video.seconds * video.rate)
    times = video.times or [video.start + float(number / Fraction(video.rate)) for number in range(count)]
    mark = _field_marker(video.fields) if video.fields else lambda frame: frame
    matrix = {1: "ITU709", 9: "ITU709"}.get(video.color[3], "ITU601") if video.color else "ITU601"
    full = bool(video.color and video.color[0] == 2) or video.pixel_format.startswith("yuvj")
    for number, seconds in enumerate(times):
        frame = av.VideoFrame.from_ndarray(_picture(video, number), format="rgb24")
        if video.pixel_format == "pal8":
            frame = _with_palette(_picture(video, number))
        elif not video.pixel_format.startswith(("rgb", "bgr", "gbr")):
            frame = frame.reformat(
                format=video.pixel_format,
                dst_colorspace=matrix,
                dst_color_range="JPEG" if full else "MPEG",
            )
        else:
            frame = frame.reformat(format=video.pixel_format)
        yield seconds, mark(frame)


def _with_palette(picture: Picture) -> av.VideoFrame:
    """Return a frame of 256 colors: 8 levels of red and green, and 4 of blue."""
    red, green, blue = np.moveaxis(picture >> 5, 2, 0)
    numbers = np.arange(256)
    palette = np.stack([np.full(256, 255), numbers >> 5 << 5, numbers << 3 & 0xE0, numbers << 6 & 0xC0], 1)
    colors: Any = (red << 5 | green << 2 | blue >> 1, palette.astype(np.uint8))
    return av.VideoFrame.from_ndarray(colors, format="pal8")


def _picture(video: Video, number: int) -> Picture:
    """Return a smooth texture that moves with the frame number, with the portrait of the video in the middle."""
    width, height = video.size
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    x += 2 * number
    picture = np.stack(
        [128 + 60 * np.sin(x / 17), 128 + 60 * np.cos(y / 13 + x / 40), 128 + 50 * np.sin((x + y) / 23)],
        axis=-1,
    ).astype(np.uint8)
    if video.portrait is not None:
        side = min(width, height) * 9 // 10
        small = cv2.resize(video.portrait, (side, side), interpolation=cv2.INTER_AREA)
        left, top = (width - side) // 2, (height - side) // 2
        picture[top : top + side, left : left + side] = small
    return np.ascontiguousarray(picture)


def _field_marker(fields: str) -> Callable[[av.VideoFrame], av.VideoFrame]:
    graph: list[Any] = []

    def mark(frame: av.VideoFrame) -> av.VideoFrame:
        if not graph:
            made = av.filter.Graph()
            made.link_nodes(
                made.add_buffer(
                    width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 25)
                ),
                made.add("setfield", f"mode={fields}"),
                made.add("buffersink"),
            ).configure()
            graph.append(made)
        graph[0].vpush(frame)
        return graph[0].vpull()

    return mark


class _Tone:
    """A sine tone that is encoded up to the time of the picture."""

    def __init__(self, out: Any, sound: Sound):
        self._sound = sound
        options = ENCODER_OPTIONS.get(sound.codec, {})
        self._stream = out.add_stream(sound.codec, rate=sound.rate, layout=sound.layout, options=options)
        if sound.language:
            self._stream.metadata["language"] = sound.language
        self._samples = 0

    def encode_until(self, out: Any, seconds: float) -> None:
        size = 1024
        while self._samples <= (seconds - self._sound.shift) * SAMPLE_RATE:
            at = np.arange(self._samples, self._samples + size)
            seconds_of = at / SAMPLE_RATE
            hertz = 300 + 250 * seconds_of if self._sound.is_sweep else self._sound.hertz
            wave = 0.2 * np.sin(2 * np.pi * hertz * seconds_of)
            form = "fltp"
            frame = av.AudioFrame.from_ndarray(np.stack([wave, wave]).astype(np.float32), form, "stereo")
            frame.sample_rate, frame.time_base = SAMPLE_RATE, Fraction(1, SAMPLE_RATE)
            frame.pts = self._samples
            self._samples += size
            self._mux(out, frame)

    def flush(self, out: Any) -> None:
        self._mux(out, None)

    def _mux(self, out: Any, frame: av.AudioFrame | None) -> None:
        for packet in self._stream.encode(frame):
            moved = round(self._sound.shift / packet.time_base)
            packet.pts += moved
            packet.dts += moved
            out.mux(packet)


def _add_texts(out: Any, text: Text) -> Any:
    stream = out.add_stream(text.codec)
    stream.codec_context.subtitle_header = (
        b"[Script Info]\nScriptType: v4.00+\n\n[V4+ Styles]\nFormat: Name, Fontname, Fontsize\n"
        b"Style: Default,Arial,16\n\n[Events]\n"
        b"Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
    )
    if text.language:
        stream.metadata["language"] = text.language
    if text.name:
        stream.metadata["handler_name"] = text.name
    stream.time_base = Fraction(1, 1000)
    return stream


def _mux_texts(out: Any, text: Text, stream: Any) -> None:
    for number, (start, end, words) in enumerate(text.lines):
        line = f"{number},0,Default,,0,0,0,,{words}".encode()
        subtitles = av.subtitles.subtitle.SubtitleSet.create(line, 0, round((end - start) * 1000))
        packet = stream.codec_context.encode_subtitle(subtitles)
        packet.stream, packet.time_base = stream, Fraction(1, 1000)
        packet.pts = packet.dts = round(start * 1000)
        packet.duration = round((end - start) * 1000)
        out.mux(packet)


def _add_cover(out: Any) -> Any:
    stream = out.add_stream("mjpeg", rate=1)
    stream.width, stream.height, stream.pix_fmt = 64, 64, "yuvj420p"
    stream.disposition = av.stream.Disposition.attached_pic
    return stream


def _chapter(number: int, start: float, end: float, title: str) -> Any:
    milliseconds = Fraction(1, 1000)
    return {
        "id": number,
        "start": round(start * 1000),
        "end": round(end * 1000),
        "time_base": milliseconds,
        "metadata": {"title": title},
    }


def boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[tuple[str, int, int]]:
    """Yield kind, offset and size of the boxes of an MP4 in that range."""
    end = len(data) if end is None else end
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, start)
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, start + 8)
        yield kind.decode("latin1"), start, size
        if size < 8:
            return
        start += size


def patch(path: Path, change: Callable[[bytearray], None]) -> Path:
    """Change some bytes of the file, and return its path."""
    data = bytearray(path.read_bytes())
    change(data)
    path.write_bytes(bytes(data))
    return path


def set_edits(path: Path, shown: tuple[tuple[float, float], ...]) -> Path:
    """Write an edit list into each track of an MP4, with these parts: start and duration in seconds.

    The movie lasts as long as the parts. The index must be last, so that no sample offset changes.
    """
    data = path.read_bytes()
    start, size = next((start, size) for kind, start, size in boxes(data) if kind == "moov")
    assert start + size == len(data)
    (scale,) = struct.unpack_from(">I", data, data.index(b"mvhd") + 16)
    index = b""
    for kind, place, length in boxes(data, start + 8, start + size):
        box = data[place : place + length]
        if kind == "mvhd":
            box = box[:24] + struct.pack(">I", round(sum(lasts for _, lasts in shown) * scale)) + box[28:]
        index += _with_edits(box, shown, scale) if kind == "trak" else box
    path.write_bytes(data[:start] + struct.pack(">I4s", 8 + len(index), b"moov") + index)
    return path


def _with_edits(track: bytes, shown: tuple[tuple[float, float], ...], scale: int) -> bytes:
    (media_scale,) = struct.unpack_from(">I", track, track.index(b"mdhd") + 16)
    edits = struct.pack(">II", 0, len(shown))
    for begin, duration in shown:
        edits += struct.pack(">IiI", round(duration * scale), round(begin * media_scale), 0x10000)
    edits = struct.pack(">I4s", 8 + len(edits), b"elst") + edits
    edits = struct.pack(">I4s", 8 + len(edits), b"edts") + edits
    inner = b""
    for kind, place, length in boxes(track, 8):
        if kind != "edts":
            inner += track[place : place + length]
        if kind == "tkhd":
            inner += edits
    return struct.pack(">I4s", 8 + len(inner), b"trak") + inner
