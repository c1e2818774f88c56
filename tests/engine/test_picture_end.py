"""Test that the last frame lasts as long as in the source, in every container."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import cv2
import pytest

from defacer.engine.errors import CheckError
from defacer.engine.media.encoding import encoding_of
from defacer.engine.media.joiner import JoinResult, SegmentFile, check_result, join_files
from defacer.engine.media.mp4.header_check import read_header
from defacer.engine.media.reader import open_video, read_frames
from defacer.engine.media.segment_writer import write_segment
from tests.inputs.write_video import Sound, Text, Video, set_edits, write

SIZE = (128, 96)
SECONDS = 2.4
LONGER = 3.0  # seconds that the last frame lasts beyond its usual interval
NO_B_FRAMES = (("preset", "ultrafast"), ("g", "20"), ("bf", "0"))
B_FRAMES = (("preset", "ultrafast"), ("g", "20"), ("bf", "3"))
VP8 = (("cpu-used", "8"), ("deadline", "realtime"), ("b", "1M"))
FRAGMENTED = (("movflags", "frag_keyframe+empty_moov+default_base_moof"),)
PHONE = tuple(n / 60 + 0.005 * (n % 3 == 1) for n in range(90))


def video(name: str, **changes: object) -> Callable[[Path], Path]:
    options: dict[str, object] = {"size": SIZE, "seconds": SECONDS, "options": B_FRAMES, **changes}
    return lambda folder: write(folder / name, Video(**options))  # type: ignore[arg-type]


def long_last(name: str, seconds: float = LONGER, **changes: object) -> Callable[[Path], Path]:
    """Return a function that writes a video whose last frame lasts `seconds` longer."""

    def make(folder: Path) -> Path:
        plain, muxer = video("plain.mov", **changes)(folder), changes.get("muxer", ())
        with av.open(str(plain)) as given, av.open(str(folder / name), "w", options=dict(muxer)) as out:  # type: ignore[call-overload]
            copied = {stream.index: out.add_stream_from_template(stream) for stream in given.streams}
            packets = [packet for packet in given.demux() if packet.size]
            last = max(packet.pts for packet in packets if packet.stream.type == "video")
            is_late = False
            for packet in packets:
                is_late |= packet.stream.type == "video" and packet.pts == last
                if (
                    packet.stream.type == "video" and is_late
                ):  # packets that are decoded later last longer too
                    packet.duration += round(seconds / packet.time_base)
                packet.stream = copied[packet.stream_index]
                out.mux(packet)
        return folder / name

    return make


def late_fragments(late: float, **changes: object) -> Callable[[Path], Path]:
    """Return a function that writes a fragmented MP4 that begins `late` seconds after the broadcast."""

    def make(folder: Path) -> Path:
        plain = video("plain.mov", sound=(), **changes)(folder)
        options = {
            "movflags": f"{FRAGMENTED[0][1]}+frag_discont",
            "use_editlist": "0",
            "avoid_negative_ts": "disabled",
        }
        with av.open(str(plain)) as given, av.open(str(folder / "in.mp4"), "w", options=options) as out:
            stream = out.add_stream_from_template(given.streams.video[0])
            for packet in given.demux():
                if packet.size and packet.pts is not None and packet.dts is not None:
                    packet.pts += round(late / packet.time_base)
                    packet.dts += round(late / packet.time_base)
                    packet.stream = stream
                    out.mux(packet)
        return folder / "in.mp4"

    return make


def with_empty_text(folder: Path) -> Path:
    """Write an MP4 whose last subtitle is empty and ends after the picture."""
    plain = video("plain.mov", sound=(), texts=(Text("mov_text"),))(folder)
    with av.open(str(plain)) as given, av.open(str(folder / "in.mp4"), "w") as out:
        copied = {stream.index: out.add_stream_from_template(stream) for stream in given.streams}
        for packet in given.demux():
            if packet.size and (packet.stream.type == "video" or packet.size > 2):
                packet.stream = copied[packet.stream_index]
                out.mux(packet)
        empty = av.Packet(b"\0\0")
        empty.stream, empty.time_base = copied[1], Fraction(1, 1000)
        empty.pts = empty.dts = 2200
        empty.duration = 3000
        out.mux(empty)
    return folder / "in.mp4"


def with_gap_in_its_sound(folder: Path) -> Path:
    """Write an MKV with PCM sound that pauses for half a second."""
    plain = video("plain.mkv", sound=(Sound("pcm_s16le"),))(folder)
    with av.open(str(plain)) as given, av.open(str(folder / "in.mkv"), "w") as out:
        copied = {stream.index: out.add_stream_from_template(stream) for stream in given.streams}
        for packet in given.demux():
            if packet.size and packet.pts is not None:
                if packet.stream.type == "audio" and packet.pts * packet.time_base > 1:
                    packet.pts = packet.dts = packet.pts + round(Fraction(1, 2) / packet.time_base)
                packet.stream = copied[packet.stream_index]
                out.mux(packet)
    return folder / "in.mkv"


def gif(last: float) -> Callable[[Path], Path]:
    """Return a function that writes a GIF of 10 frames a second whose last frame lasts `last` seconds."""

    def make(folder: Path) -> Path:
        times = tuple(n / 10 for n in range(12))
        options = (("final_delay", str(round(last * 100))),)
        return video("in.gif", codec="gif", pixel_format="rgb8", times=times, rate=10,
                     time_base=Fraction(1, 100), sound=(), options=(), muxer=options)(folder)  # fmt: skip

    return make


def cut_within_its_last_frame(folder: Path) -> Path:
    return set_edits(video("in.mp4", sound=(), options=NO_B_FRAMES)(folder), ((0.0, SECONDS - 0.03),))


SILENT = {"sound": ()}
SOURCES: dict[str, tuple[Callable[[Path], Path], float]] = {
    "MP4": (video("in.mp4"), 2.4),
    "MP4 without B-frames": (video("in.mp4", options=NO_B_FRAMES), 2.4),
    "fragmented MP4": (video("in.mp4", muxer=FRAGMENTED, sound=()), 2.4),
    "60 fps, 1/600 s": (video("in.mov", rate=60, time_base=Fraction(1, 600), seconds=1.5), 1.5),
    "variable rate, 1/600 s": (video("in.mov", times=PHONE, rate=60, time_base=Fraction(1, 600)), 1.5),
    "edit list, longer sound": (video("in.mp4", hidden_frames=10), 2.0),
    "edit list that cuts within the last frame": (cut_within_its_last_frame, 2.37),
    "AVI": (video("in.avi", codec="mpeg4", options=(), sound=(Sound("pcm_s16le"),)), 2.4),
    "AVI of H.264": (video("in.avi", options=NO_B_FRAMES, sound=(Sound("pcm_s16le"),)), 2.4),
    "MKV": (video("in.mkv"), 2.4),
    "WebM": (video("in.webm", codec="libvpx", options=VP8, sound=(Sound("libopus"),)), 2.4),
    "FLV": (video("in.flv"), 2.4),
    "FLV without sound": (video("in.flv", sound=()), 2.4),
    "transport stream": (video("in.ts"), 2.4),
    "transport stream of MPEG-2": (
        video("in.ts", codec="mpeg2video", options=(("b", "2M"), ("bf", "2")), sound=(Sound("ac3"),)), 2.4),
    "GIF": (gif(0.1), 1.2),
    "GIF whose last frame is long": (gif(LONGER), 1.1 + LONGER),
    "GIF whose last frame is short": (gif(0.03), 1.13),
    "MP4 whose last frame is long": (long_last("in.mp4", options=NO_B_FRAMES), 2.4 + LONGER),
    "MP4 whose last frame is long, without sound": (long_last("in.mp4", options=NO_B_FRAMES, sound=()), 2.4 + LONGER),
    "MP4 whose last frame is long, with B-frames": (long_last("in.mp4", sound=()), 2.4 + LONGER),
    "fragmented MP4 whose last frame is long": (
        long_last("in.mp4", options=NO_B_FRAMES, muxer=FRAGMENTED, sound=()), 2.4 + LONGER),
    "MKV whose last frame is long": (long_last("in.mkv", seconds=0.8, options=NO_B_FRAMES, sound=()), 3.2),
    "fragments of a live stream": (late_fragments(3600), 2.4),
    "fragments of a live stream without B-frames": (late_fragments(3600, options=NO_B_FRAMES), 2.4),
    "one frame": (video("in.mp4", seconds=0.04, sound=()), 0.04),
    "two frames": (video("in.mkv", seconds=0.08, sound=()), 0.08),
}  # fmt: skip


def join_source(source: Path, parts: int, out: Path) -> JoinResult:
    """Encode the source in `parts` segments without masks, and join them."""
    times = [frame.pts for frame in read_frames(str(source))]
    bounds = [None, *(times[len(times) * part // parts] for part in range(1, min(parts, len(times)))), None]
    encoding, segments = encoding_of(str(source)), []
    for number, (start, end) in enumerate(pairwise(bounds)):
        path = str(out.parent / f"{number}.nut")
        with write_segment(path, encoding, quality=30) as writer:
            for frame in read_frames(str(source), start, end):
                writer.write(frame)
        segments.append(SegmentFile.from_path(path, writer.result()))
    return join_files(str(source), segments, out)


@pytest.mark.parametrize("parts", [pytest.param(1, marks=pytest.mark.slow), 3])
@pytest.mark.parametrize("name", SOURCES)
def test_last_frame_lasts_as_in_the_source(name: str, parts: int, tmp_path: Path) -> None:
    make, seconds = SOURCES[name]
    out = tmp_path / "out.mp4"
    joined = join_source(make(tmp_path), parts, out)
    header = read_header(str(out))
    assert header is not None
    picture = next(track for track in header.tracks if track.kind == b"vide")
    assert picture.media_duration is not None
    assert picture.track_duration is not None
    assert header.duration is not None
    # Samples (stts), media (mdhd, with the reorder delay), and the shown edits of the edit list (elst).
    assert picture.samples_duration is not None
    assert picture.samples_duration / picture.timescale == pytest.approx(seconds, abs=0.002)
    assert 0 <= picture.media_duration - picture.samples_duration <= 0.2 * picture.timescale
    assert picture.edits[1] / header.timescale == pytest.approx(seconds, abs=0.002) or not any(picture.edits)
    # The lengths of the track (tkhd) and of the file (mvhd) include the time before the first frame.
    end = float(joined.end * joined.time_base)
    assert picture.track_duration / header.timescale == pytest.approx(end, abs=0.002)
    sound = max((track.end for track in joined.sound), default=0.0)
    assert header.duration / header.timescale == pytest.approx(max(end, sound), abs=0.1)


@pytest.mark.parametrize(
    "name", ["MP4", "60 fps, 1/600 s", "AVI of H.264", "MKV", "WebM", "FLV", "GIF", "transport stream"]
)
def test_opencv_reads_the_frame_rate_of_the_source(name: str, tmp_path: Path) -> None:
    source, out = SOURCES[name][0](tmp_path), tmp_path / "out.mp4"
    joined = join_source(source, 3, out)
    with open_video(str(source)) as (_, stream):
        rate = float(stream.average_rate or 0)
    capture = cv2.VideoCapture(str(out))
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(rate, rel=0.001)
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == joined.frames
    capture.release()


@pytest.mark.parametrize("make", [with_empty_text, with_gap_in_its_sound])
def test_track_that_ends_after_its_packets_is_accepted(make: Callable[[Path], Path], tmp_path: Path) -> None:
    joined = join_source(make(tmp_path), 2, tmp_path / "out.mp4")
    assert joined.end * joined.time_base == pytest.approx(2.4, abs=0.002)


@pytest.mark.parametrize("late", [-1, 1, 82 * 25])
def test_result_with_another_picture_end_is_refused(late: int, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    joined = join_source(SOURCES["AVI"][0](tmp_path), 2, out)
    frame = round(Fraction(1, 25) / joined.time_base)
    with pytest.raises(CheckError, match="the result's picture ends at"):
        check_result(str(out), replace(joined, end=joined.end + late * frame))


def test_result_whose_sound_ends_early_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    joined = join_source(SOURCES["MP4"][0](tmp_path), 1, out)
    (track,) = joined.sound
    with pytest.raises(CheckError, match="sound"):
        check_result(str(out), replace(joined, sound=[replace(track, end=track.end + 1)]))


def test_file_that_ends_after_its_tracks_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    joined = join_source(SOURCES["MP4"][0](tmp_path), 1, out)
    data = bytearray(out.read_bytes())
    start = data.index(b"mvhd") + 20
    data[start : start + 4] = (int.from_bytes(data[start : start + 4]) * 4).to_bytes(4)
    out.write_bytes(data)
    with pytest.raises(CheckError, match="the result's file ends at"):
        check_result(str(out), joined)


@pytest.mark.parametrize("seconds", [0.04, 9.0])
def test_last_sample_of_another_duration_is_refused(seconds: float, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    joined = join_source(SOURCES["MP4 whose last frame is long, without sound"][0](tmp_path), 1, out)
    data = bytearray(out.read_bytes())
    table = data.index(b"stts")
    last = table + 12 + (int.from_bytes(data[table + 8 : table + 12]) - 1) * 8 + 4
    scale = data.index(b"mdhd") + 16
    data[last : last + 4] = round(seconds * int.from_bytes(data[scale : scale + 4])).to_bytes(4)
    out.write_bytes(data)
    with pytest.raises(CheckError, match=r"the result's (picture|last sample) ends at"):
        check_result(str(out), joined)
