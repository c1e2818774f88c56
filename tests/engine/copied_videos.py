"""Write H.264 videos, redact stated frames of them with `copy_untouched`, and compare the results with them."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import pytest

from defacer.engine.media.encoding import encoding_of
from defacer.engine.media.joiner import SegmentFile, join_files
from defacer.engine.media.reader import Segment, read_frames
from defacer.engine.options import Options
from defacer.engine.rendering.redact_segment import redact_segment
from defacer.report.compact_boxes import Box, CompactBoxes
from defacer.report.faces import Faces
from defacer.report.tracks import Origin, Reason, TrackRecord
from tests.clips import frame_times

GROUP = 10  # frames of a group
ENCODER = (("preset", "medium"), ("g", str(GROUP)), ("x264-params", "scenecut=0"))
COPY = Options(copy_untouched=True, verify="off")
BOX: Box = (90.0, 30.0, 120.0, 70.0)


def encoder(**options: str) -> tuple[tuple[str, str], ...]:
    """Return the options of a source's encoder, with some of them changed."""
    return tuple((dict(ENCODER) | options).items())


@dataclass(frozen=True)
class Frame:
    """One decoded frame: its time in seconds, and a hash of its pixels."""

    seconds: float
    digest: str


def frames_of(path: Path) -> list[Frame]:
    return [
        Frame(
            float((frame.pts or 0) * (frame.time_base or 1)),
            hashlib.sha256(frame.to_ndarray().tobytes()).hexdigest(),
        )
        for frame in read_frames(str(path))
    ]


def faces_with(source: Path, *hidden: tuple[int, int], origin: Origin = Origin.MANUAL) -> Faces:
    """Return the faces of a video with a box from one frame to another (both included), for each pair.

    A drawn box (`Origin.MANUAL`) has no lead and no tail.
    """
    encoding, times = encoding_of(str(source)), frame_times(source)
    size = encoding.orientation.displayed_size(encoding.width, encoding.height)
    tracks = tuple(
        TrackRecord(
            number, times[first], times[last], "hide", None, Reason.NO_MATCH, None, None, None,
            CompactBoxes((pts, BOX) for pts in times[first : last + 1]), origin=origin,
        )
        for number, (first, last) in enumerate(hidden)
    )  # fmt: skip
    base = f"{encoding.time_base.numerator}/{encoding.time_base.denominator}"
    return Faces("centerface", None, 1.0, *size, base, len(times), len(times), (), tracks)


def redact(
    source: Path,
    *hidden: tuple[int, int],
    cuts: Sequence[int] = (),
    options: Options = COPY,
    origin: Origin = Origin.MANUAL,
) -> Path:
    """Hide these frames, in segments that begin at the frames `cuts`, and return the joined result.

    The written segments must state which frames are copied: those with the pixels of the source.
    """
    faces, times, out = (
        faces_with(source, *hidden, origin=origin),
        frame_times(source),
        source.with_name("out.mp4"),
    )
    files: list[SegmentFile] = []
    copied: list[int] = []
    for number, (start, end) in enumerate(pairwise([None, *(times[cut] for cut in cuts), None])):
        path = str(source.with_name(f"{number}.nut"))
        written = redact_segment(Segment(str(source), start, end), faces, path, options)
        files.append(SegmentFile.from_path(path, written))
        copied += written.copied
    join_files(str(source), files, out, past_damage=options.on_decode_error == "hide")
    assert [times.index(pts) for pts in copied] == equal_frames(source, out)
    return out


def equal_frames(source: Path, out: Path) -> list[int]:
    """Return the numbers of the frames whose pixels are the source's. All must follow each other as in the source."""
    before, after = frames_of(source), frames_of(out)
    for one, other in zip(before, after, strict=True):
        assert one.seconds - before[0].seconds == pytest.approx(other.seconds - after[0].seconds, abs=1e-4)
    return [n for n, pair in enumerate(zip(before, after, strict=True)) if pair[0].digest == pair[1].digest]


def with_packets(source: Path, out: Path, change: Callable[[int, bytes], bytes]) -> Path:
    """Write the video again with other data in its packets. `change` gets the number of each packet."""
    with av.open(str(source)) as given, av.open(str(out), "w") as made:
        stream = made.add_stream_from_template(given.streams.video[0])
        for number, packet in enumerate(packet for packet in given.demux(video=0) if packet.size):
            copy: Any = av.Packet(change(number, bytes(packet)))
            copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
            copy.duration, copy.is_keyframe, copy.stream = packet.duration, packet.is_keyframe, stream
            made.mux(copy)
    return out


def unit(data: bytes) -> bytes:
    """Return a NAL unit with its length, as in a packet of an MP4."""
    return len(data).to_bytes(4, "big") + data


def message(kind: int, payload: bytes) -> bytes:
    """Return a NAL unit with one message (SEI), with its length."""
    plain = bytes([kind, len(payload)]) + payload + b"\x80"
    return unit(b"\6" + plain.replace(b"\0\0", b"\0\0\3"))


def units_in(path: Path) -> Iterator[tuple[float, int]]:
    """Yield the time and the type of each NAL unit in the packets of an MP4."""
    with av.open(str(path)) as container:
        for packet in container.demux(video=0):
            data, position = bytes(packet), 0
            while position < len(data):
                size = int.from_bytes(data[position : position + 4], "big")
                yield float((packet.pts or 0) * (packet.time_base or Fraction(1))), data[position + 4] & 31
                position += 4 + size
