"""Compare a result with its source: times, sound, picture, format, other tracks, and personal data."""

import hashlib
import json
import math
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import Any

import av
import numpy as np

from defacer.engine.media.orientation import Orientation, matrix_of, orientation_of
from defacer.engine.rendering.masks import MaskSchedule
from defacer.engine.rendering.redaction import OPAQUE_SCALE, SOFT_SCALE
from defacer.report.changes import SourceChange, list_dropped
from defacer.report.faces import Faces
from tests.inputs.clock_judge import judge_corrected
from tests.inputs.judge_sound import judge_converted_sound
from tests.inputs.rows import Row
from tests.inputs.write_video import boxes

PREROLL_SECONDS = -0.2  # a decoder needs packets before the first audible one
TIME_SECONDS = 1e-6
MIN_PSNR = 40.0  # dB, of each plane of each frame, outside of masks
SOUND_SECONDS = 0.01
SOUND_PACKET_SECONDS = 0.05
ALLOWED_TAGS = {"major_brand", "minor_version", "compatible_brands", "encoder", "handler_name", "language", "vendor_id",
        "title", "timecode"}  # fmt: skip


def judge(row: Row, source: Path, result: Path, faces: Faces, changes: tuple[SourceChange, ...]) -> str:
    """Raise AssertionError if the result is not as expected. Return its description for the table."""
    if row.times:
        return judge_corrected(row, source, result, list_dropped(changes))
    shown = _judge_picture(row, source, result, faces)
    converted = tuple(change.text for change in changes if change.code.action == "converted")
    assert converted == row.converted
    if converted:
        sound = judge_converted_sound(source, result, has_gap="gap" in row.name)
    else:
        sound = _judge_sound(source, result)
    _judge_format(row, source, result)
    _judge_texts(source, result)
    _require_no_personal_data(result)
    assert list_dropped(changes) == row.dropped
    _judge_by_ffprobe(row, source, result)
    parts = [f"{shown} frames", sound]
    if row.black:
        parts.append(f"{len(row.black)} of the frames black")
    if row.converted:
        parts.append(f"converted: {', '.join(row.converted)}")
    if row.dropped:
        parts.append(f"dropped: {', '.join(row.dropped)}")
    return ", ".join(parts)


def _judge_picture(row: Row, source: Path, result: Path, faces: Faces) -> int:
    cover = MaskSchedule(faces)
    count, hidden, clock = 0, 0, _clock(source)
    with av.open(str(source)) as container:
        shape = container.streams.video[0].sample_aspect_ratio
    worst, judged = 0.0, 0
    for number, (before, after) in enumerate(zip_longest(_shown(source), _shown(result))):
        assert before is not None, f"frame {number} is not in the source"
        assert after is not None, f"frame {number} is missing"
        seconds = float(before.pts * before.time_base) - clock
        assert abs(seconds - float(after.pts * after.time_base)) < TIME_SECONDS, number
        assert (before.width, before.height) == (after.width, after.height)
        assert matrix_of(before) == matrix_of(after)
        count += 1
        if row.black and number in row.black:
            assert after.to_ndarray(format="gray").max() < 24, f"frame {number} is not black"
            continue
        masks = cover.boxes(before.pts)
        hidden += bool(masks)
        noise = _noise(_like(before, after), after, masks, orientation_of(before, shape))
        worst, judged = max(worst, *noise, 0.0), judged + bool(noise)
    assert judged or row.black
    least = 10 * np.log10(1 / max(worst, 1e-12))
    assert least >= MIN_PSNR, f"a frame with {least:.1f} dB outside of faces"
    assert (hidden > 0) == row.face, f"{hidden} frames with a hidden face"
    if row.face:
        assert hidden == count, "the face is not hidden in every frame"
    return count


def _clock(source: Path) -> float:
    """Return the first time of a transport stream's clock, which a player shows as 0."""
    with av.open(str(source)) as container:
        if container.format.name not in ("mpegts", "mpeg"):
            return 0.0
        starts = [s.start_time * s.time_base for s in (*container.streams.video, *container.streams.audio)]
        return float(min(starts))


def _like(before: av.VideoFrame, after: av.VideoFrame) -> av.VideoFrame:
    if before.format.is_rgb or before.format.has_palette:
        return before.reformat(format=after.format.name, dst_colorspace="ITU601", dst_color_range="MPEG")
    return before.reformat(format=after.format.name)


def _shown(path: Path) -> Iterator[av.VideoFrame]:
    with av.open(str(path)) as container:
        stream = next(
            s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic
        )
        for packet in container.demux(stream):
            try:
                yield from packet.decode()
            except av.error.InvalidDataError:
                continue


def _noise(before: av.VideoFrame, after: av.VideoFrame, masks: Any, orientation: Orientation) -> list[float]:
    """Return the mean squared error of each plane outside of masks. The largest sample value counts as 1."""
    depth = after.format.components[0].bits
    largest = float((1 << depth) - 1)
    found = []
    for one, other in zip(_planes(before), _planes(after), strict=True):
        is_outside = np.ones(one.shape, bool)
        for mask in masks:
            x1, y1, x2, y2 = orientation.to_stored_box(mask, before.width, before.height)
            more_x, more_y = (
                (x2 - x1) * (OPAQUE_SCALE * SOFT_SCALE - 1) / 2 + 8,
                (y2 - y1) * (OPAQUE_SCALE * SOFT_SCALE - 1) / 2 + 8,
            )
            scale_x, scale_y = one.shape[1] / before.width, one.shape[0] / before.height
            rows = slice(max(0, int((y1 - more_y) * scale_y)), int((y2 + more_y) * scale_y) + 1)
            columns = slice(max(0, int((x1 - more_x) * scale_x)), int((x2 + more_x) * scale_x) + 1)
            is_outside[rows, columns] = False
        if is_outside.any():
            difference = (one.astype(np.float32) - other)[is_outside] / largest
            found.append(float(np.mean(difference**2)))
    return found


def _planes(frame: av.VideoFrame) -> list[np.ndarray]:
    dtype = np.dtype(np.uint8 if frame.format.components[0].bits == 8 else "<u2")
    found = []
    for plane in frame.planes:
        rows = np.frombuffer(memoryview(plane), dtype)[: plane.height * plane.line_size // dtype.itemsize]
        found.append(rows.reshape(plane.height, -1)[:, : plane.width])
    return found


def _judge_sound(source: Path, result: Path) -> str:
    before, after = _sound(source), _sound(result)
    clock = _clock(source)
    for track in before:
        track["times"] = [seconds - clock for seconds in track["times"]]
    assert [track["language"] for track in before] == [track["language"] for track in after]
    for one, other in zip(before, after, strict=True):
        if one["pcm"]:
            assert one["digest"] == other["digest"]
            assert abs(one["times"][0] - other["times"][0]) < SOUND_SECONDS
            continue
        assert one["packets"] == other["packets"]
        assert len(one["times"]) == len(other["times"])
        assert np.abs(np.array(one["times"]) - np.array(other["times"])).max(initial=0) < SOUND_SECONDS
    if any(track["pcm"] for track in before):
        return "the same samples of PCM"
    return f"{sum(len(track['packets']) for track in before)} sound packets"


def _sound(path: Path) -> list[dict[str, Any]]:
    """Return the packets of each track that a result has: the audible ones, and those before that a decoder needs."""
    with av.open(str(path)) as container:
        tracks: dict[int, dict[str, Any]] = {
            stream.index: {
                "language": stream.language or "und",
                "pcm": stream.codec_context.name.startswith("pcm_"),
                "rate": stream.rate,
                "all": [],
            }
            for stream in container.streams.audio
            if stream.codec_context is not None
        }
        for packet in container.demux(*container.streams.audio) if tracks else ():
            if packet.size and packet.stream_index in tracks:
                seconds = float((packet.pts if packet.pts is not None else packet.dts) * packet.time_base)
                tracks[packet.stream_index]["all"].append((seconds, packet.is_discard, _payload(packet)))
    for track in tracks.values():
        packets = track.pop("all")
        begin = next((n for n, (_, hidden, _) in enumerate(packets) if not hidden), len(packets))
        first = packets[begin][0] + PREROLL_SECONDS if begin < len(packets) and not track["pcm"] else math.inf
        kept = [
            (seconds, data)
            for n, (seconds, hidden, data) in enumerate(packets)
            if not hidden or (n < begin and seconds >= first)
        ]
        if track["pcm"]:
            kept = list(_without_overlaps(kept, track["rate"]))
        track["times"] = [seconds for seconds, _ in kept]
        track["packets"] = [hashlib.sha256(data).hexdigest() for _, data in kept]
        track["digest"] = hashlib.sha256(b"".join(data for _, data in kept)).hexdigest()
    return list(tracks.values())


def _without_overlaps(kept: list[tuple[float, bytes]], rate: int) -> Iterator[tuple[float, bytes]]:
    """Yield packets of 16-bit stereo without the samples that begin before the end of the packet before.

    An edit list can cut inside a packet, which is in the file as a whole.
    """
    end = kept[0][0] if kept else 0.0
    for seconds, data in kept:
        early = max(0, round((end - seconds) * rate))
        yield seconds, data[early * 4 :]
        end = max(end, seconds + len(data) / 4 / rate)


def _payload(packet: Any) -> bytes:
    data = bytes(packet)
    if packet.stream.codec_context.name == "aac" and data[:1] == b"\xff" and data[1] & 0xF6 == 0xF0:
        return data[7 if data[1] & 1 else 9 :]  # ADTS
    return data


def _judge_format(row: Row, source: Path, result: Path) -> None:
    with av.open(str(source)) as given, av.open(str(result)) as made:
        before = next(
            s for s in given.streams.video if not s.disposition & av.stream.Disposition.attached_pic
        )
        (after,) = made.streams.video
        assert after.codec_context.name == row.codec
        assert after.pix_fmt == (row.pixel_format or "yuv420p")
        shape = before.sample_aspect_ratio or Fraction(1)
        assert (after.sample_aspect_ratio or Fraction(1)) == shape
        one, other = next(given.decode(before)), next(made.decode(after))
        assert one.interlaced_frame == other.interlaced_frame
        if not (one.format.is_rgb or one.format.has_palette):
            for name in ("color_primaries", "color_trc", "colorspace"):
                assert int(getattr(one, name)) == int(getattr(other, name)), name
            assert _range(one) == _range(other)
        for kind in ("MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL"):
            assert _side_data(one, kind) == _side_data(other, kind), kind
        if row.codec == "hevc":
            assert after.codec_tag == "hvc1"
    kinds = [kind for kind, _, _ in boxes(result.read_bytes())]
    assert kinds.index("moov") < kinds.index("mdat")


def _range(frame: av.VideoFrame) -> bool:
    return int(frame.color_range) == 2 or frame.format.name.startswith("yuvj")


def _side_data(frame: av.VideoFrame, kind: str) -> Any:
    side_data: Any = frame.side_data
    for data in side_data:
        if data.type.name == kind:
            numbers = np.frombuffer(bytes(data), "<i4")
            if kind == "CONTENT_LIGHT_LEVEL":
                return numbers[:2].tolist()
            return [round(float(a) / b, 4) for a, b in zip(numbers[0:20:2], numbers[1:20:2], strict=True)]
    return None


def _judge_texts(source: Path, result: Path) -> None:
    with av.open(str(source)) as given, av.open(str(result)) as made:
        chapters = [_chapters(container) for container in (given, made)]
        assert chapters[0] == chapters[1]
        languages = [[s.language or "und" for s in c.streams.subtitles] for c in (given, made)]
        assert languages[0] == languages[1]
    texts = [_texts(path) for path in (source, result)]
    assert texts[0] == texts[1]


def _chapters(container: Any) -> list[tuple[float, float, str]]:
    return [
        (
            round(float(c["start"] * c["time_base"]), 3),
            round(float(c["end"] * c["time_base"]), 3),
            c["metadata"].get("title", ""),
        )
        for c in container.chapters()
    ]


def _texts(path: Path) -> list[list[tuple[float, float, str]]]:
    """Return the texts of each subtitle track with their times, without styles."""
    with av.open(str(path)) as container:
        found: dict[int, list[tuple[float, float, str]]] = {s.index: [] for s in container.streams.subtitles}
        for packet in container.demux(*container.streams.subtitles) if found else ():
            if not packet.size:
                continue
            for part in packet.decode():
                words = re.sub(r"{[^}]*}", "", part.dialogue.decode()).replace("\\N", "\n").strip()
                if words:
                    start = float(packet.pts * packet.time_base)
                    end = start + float(packet.duration * packet.time_base)
                    found[packet.stream_index].append((round(start, 2), round(end, 2), words))
    return [_intervals(texts) for texts in found.values()]


def _intervals(texts: list[tuple[float, float, str]]) -> list[tuple[float, float, str]]:
    """Return the shown text of each interval. Texts that are shown together are one text."""
    times = sorted({time for start, end, _ in texts for time in (start, end)})
    read = [
        (begin, until, "\n".join(words for start, end, words in texts if start <= begin and end >= until))
        for begin, until in pairwise(times)
    ]
    return [interval for interval in read if interval[2]]


def _require_no_personal_data(result: Path) -> None:
    """Require that the result has only picture, sound and texts, and no tag of the source."""
    with av.open(str(result)) as container:
        for stream in container.streams:
            assert stream.type in ("video", "audio", "subtitle") or stream.name in ("bin_data", None)
        tags = {key for tagged in (container, *container.streams) for key in tagged.metadata}
        assert tags <= ALLOWED_TAGS, tags
    data = result.read_bytes()
    for secret in (b"+37.77", b"Phone Inc.", b"2026-01-02", b"Ann at home", b"01:02:03:04", b"-122.41"):
        assert secret not in data


def _judge_by_ffprobe(row: Row, source: Path, result: Path) -> None:
    """Require no warning of ffprobe. A chapter track can have the warnings of the source."""
    if shutil.which("ffprobe"):  # without it, a test in test_rows.py is skipped with a hint
        before, after = _probe(source), _probe(result)
        assert after.warnings <= (before.warnings if row.name == "chapters" else set())
        _judge_lengths(before.lengths, after.lengths)
        # The order of fields matters only in interlaced frames.
        assert before.fields == after.fields or not any(
            interlaced for interlaced, _ in before.fields | after.fields
        )


@dataclass(frozen=True)
class _Lengths:
    """The lengths of the picture, each sound track and the file in seconds, as ffprobe states them."""

    frame: float  # the median interval
    rate: float
    picture: float
    sound: list[float | None]
    file: float | None


def _judge_lengths(before: _Lengths, after: _Lengths) -> None:
    """Require the lengths of the source, within one frame or one packet of sound."""
    assert abs(before.picture - after.picture) <= before.frame, (before, after)
    frames = after.picture * after.rate
    assert abs(frames - round(frames)) < 0.02, f"a rate of {after.rate} for {frames} frames"
    for one, other in zip(before.sound, after.sound, strict=True):
        assert one is None or other is None or abs(one - other) <= max(before.frame, SOUND_PACKET_SECONDS)
    if before.file is not None and after.file is not None:
        assert abs(before.file - after.file) <= max(before.frame, SOUND_PACKET_SECONDS)


@dataclass(frozen=True)
class _Probe:
    """What ffprobe finds in a file. `fields` are the combinations of interlacing and field order of its frames."""

    lengths: _Lengths
    fields: set[tuple[int, int]]
    warnings: set[str]


def _probe(path: Path) -> _Probe:
    """Decode the file with ffprobe, once for all that is judged: a start of ffprobe takes as long as a short video."""
    entries = "packet=codec_type,stream_index,pts_time,dts_time,flags"
    entries += ":frame=media_type,stream_index,interlaced_frame,top_field_first"
    entries += (
        ":stream=index,codec_type,codec_name,avg_frame_rate,duration:stream_disposition=attached_pic"
        ":format=format_name,duration"
    )
    command = ["ffprobe", "-v", "warning", "-of", "json", "-show_entries", entries, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    (picture,) = (
        stream
        for stream in found["streams"]
        if stream["codec_type"] == "video" and not stream["disposition"]["attached_pic"]
    )
    parts = [part for part in found["packets_and_frames"] if part.get("stream_index") == picture["index"]]
    return _Probe(
        lengths=_lengths(found, picture, [part for part in parts if part["type"] == "packet"]),
        fields={(p["interlaced_frame"], p["top_field_first"]) for p in parts if p["type"] == "frame"},
        warnings={re.sub(r" @ 0x[0-9a-f]+", "", line) for line in done.stderr.splitlines() if line},
    )


def _lengths(found: dict[str, Any], picture: dict[str, Any], packets: list[dict[str, str]]) -> _Lengths:
    shown = [packet for packet in packets if "D" not in packet["flags"]]
    times = sorted(float(packet.get("pts_time", packet.get("dts_time", ""))) for packet in shown)
    rate = float(Fraction(picture["avg_frame_rate"]))
    usual = float(np.median(np.diff(times))) if len(times) > 1 else 1 / rate
    sound = [
        stream
        for stream in found["streams"]
        if stream["codec_type"] == "audio" and stream.get("codec_name", "unknown") != "unknown"
    ]
    from_times = times[-1] - times[0] + usual
    is_inexact = found["format"]["format_name"] in (
        "asf",
        "mpeg",
    )  # the duration is that of the file, or a guess
    return _Lengths(
        frame=usual,
        rate=rate,
        picture=from_times if is_inexact else float(picture.get("duration", from_times)),
        sound=[float(stream["duration"]) if "duration" in stream else None for stream in sound],
        file=float(found["format"]["duration"]) if "duration" in found["format"] else None,
    )
