"""Test joined segments: every frame at its time, identical sound, and errors for frames that do not match."""

from dataclasses import dataclass, fields, replace
from itertools import pairwise
from pathlib import Path

import av
import pytest

from defacer.engine.errors import CheckError, OutputError, VideoError
from defacer.engine.media.encoding import Encoding, encoding_of
from defacer.engine.media.joiner import SegmentFile, fingerprint_of, join, join_files
from defacer.engine.media.orientation import UPRIGHT, matrix_of
from defacer.engine.media.reader import read_frames
from defacer.engine.media.segment_writer import write_segment
from tests.clips import Clip, frame_times, write_clip

FAST_START = {"movflags": "faststart"}
CLIP = Clip(seconds=3, keyframe_seconds=1)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("join") / "source.mp4", CLIP)


def segments(
    source: Path, folder: Path, *cuts: int, encoding: Encoding | None = None, quality: int = 18
) -> list[SegmentFile]:
    """Return the source cut before the frames of these numbers. Each part is encoded again."""
    encoding = encoding or encoding_of(str(source))
    shown = frame_times(source)
    bounds = [None, *(shown[cut] for cut in cuts), None]
    made = []
    for number, (start, end) in enumerate(pairwise(bounds)):
        path = str(folder / f"{number}.nut")
        with write_segment(path, encoding, quality) as writer:
            for frame in read_frames(str(source), start, end):
                writer.write(frame)
        made.append(SegmentFile.from_path(path, writer.result()))
    return made


def sound(path: Path) -> list[tuple[int | None, bytes]]:
    with av.open(str(path)) as container:
        return [(packet.pts, bytes(packet)) for packet in container.demux(audio=0) if packet.size]


@pytest.mark.parametrize("cuts", [(), (25, 50), (1, 40, 74)])
def test_frames_times_and_sound_equal_those_of_the_source(
    source: Path, tmp_path: Path, cuts: tuple[int, ...]
) -> None:
    out = tmp_path / "out.mp4"
    joined = join_files(str(source), segments(source, tmp_path, *cuts), out)
    assert (joined.frames, joined.audio_packets) == (CLIP.frames, len(sound(source)))
    assert joined.fingerprint == fingerprint_of(str(source))
    assert frame_times(out) == frame_times(source)
    assert sound(out) == sound(source)
    assert out.read_bytes().find(b"moov") < out.read_bytes().find(b"mdat")


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_result_has_a_key_frame_every_two_seconds(tmp_path: Path, codec: str) -> None:
    source = write_clip(tmp_path / "source.mp4", Clip(seconds=7, keyframe_seconds=7, size=(160, 90)))
    encoding = replace(encoding_of(str(source)), codec=codec)
    out = tmp_path / "out.mp4"
    join_files(str(source), segments(source, tmp_path, 60, encoding=encoding), out)
    with av.open(str(out)) as container:
        times = [packet.pts for packet in container.demux(video=0) if packet.is_keyframe]
        seconds = [float(time * container.streams.video[0].time_base) for time in times]
    assert seconds == pytest.approx([0, 2, 2.4, 4.4, 6.4])


def test_frame_that_no_report_lists_fails_the_join(source: Path, tmp_path: Path) -> None:
    first, second = segments(source, tmp_path, 25)
    short = replace(second, written=replace(second.written, frames=second.written.frames[:-1]))
    with pytest.raises(CheckError, match="segment 1 has 50 frames, its report lists 49"):
        join_files(str(source), [first, short], tmp_path / "out.mp4")


def test_segment_with_other_frames_than_its_report_fails_the_join(source: Path, tmp_path: Path) -> None:
    first, second, third = segments(source, tmp_path, 25, 50)
    with pytest.raises(CheckError, match="segment 1 has"):
        join_files(str(source), [first, replace(third, written=second.written), third], tmp_path / "out.mp4")


def test_missing_segment_fails_the_join(source: Path, tmp_path: Path) -> None:
    first, _, third = segments(source, tmp_path, 25, 50)
    with pytest.raises(CheckError, match="25 missing"):
        join_files(str(source), [first, third], tmp_path / "out.mp4")


def test_duplicate_segment_fails_the_join(source: Path, tmp_path: Path) -> None:
    first, second = segments(source, tmp_path, 25)
    with pytest.raises(CheckError, match="too many"):
        join_files(str(source), [first, first, second], tmp_path / "out.mp4")


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("degrees", [0, 90, 180, -90])
def test_rotated_or_mirrored_video_keeps_its_orientation(
    tmp_path: Path, degrees: int, mirrored: bool
) -> None:
    upright = write_clip(tmp_path / "upright.mp4", Clip(seconds=1, audio=False))
    turned = tmp_path / "turned.mp4"
    with av.open(str(upright)) as given, av.open(str(turned), "w") as container:
        stream = container.add_stream_from_template(given.streams.video[0])
        stream.set_display_rotation(degrees, hflip=mirrored)
        for packet in given.demux(video=0):
            if packet.size:
                packet.stream = stream
                container.mux(packet)
    out = tmp_path / "out.mp4"
    join_files(str(turned), segments(turned, tmp_path), out)
    matrices = {matrix_of(frame) for path in (turned, out) for frame in read_frames(str(path))}
    assert len(matrices) == 1
    assert (matrices == {UPRIGHT}) == (degrees == 0 and not mirrored)


def test_segment_without_frames_is_skipped(source: Path, tmp_path: Path) -> None:
    """A segment has no frame if the picture does not change for longer than the segment."""
    first, second = segments(source, tmp_path, 25)
    empty = str(tmp_path / "empty.nut")
    with write_segment(empty, encoding_of(str(source)), quality=18) as writer:
        pass
    out = tmp_path / "out.mp4"
    join_files(str(source), [first, SegmentFile.from_path(empty, writer.result()), second], out)
    assert frame_times(out) == frame_times(source)


@dataclass(frozen=True)
class OtherMachine(Encoding):
    """How a machine with another number of cores encodes: x264 and x265 choose their threads by it."""

    threads: str = "1"

    def options(self, quality: int) -> dict[str, str]:
        return super().options(quality) | {"threads": self.threads}


@pytest.mark.parametrize(
    ("codec", "pixel_format", "quality"),
    [
        ("libx264", "yuv420p", 0),
        ("libx264", "yuv420p", 18),
        ("libx265", "yuv420p10le", 18),
        pytest.param("libx265", "yuv420p10le", 0, marks=pytest.mark.slow),
    ],
)
def test_segments_of_machines_with_other_cores_are_joined(
    source: Path, tmp_path: Path, codec: str, pixel_format: str, quality: int
) -> None:
    """A GPU worker has four cores and a CPU worker two. A re-render can run on any machine."""
    own = replace(encoding_of(str(source)), codec=codec, pixel_format=pixel_format)
    known = {field.name: getattr(own, field.name) for field in fields(own)}
    made: list[SegmentFile] = []
    for threads in ("1", "4", "16"):
        folder = tmp_path / threads
        folder.mkdir()
        encoding = OtherMachine(**known, threads=threads)
        made.append(segments(source, folder, 25, 50, encoding=encoding, quality=quality)[len(made)])
    join_files(str(source), made, tmp_path / "out.mp4")
    assert frame_times(tmp_path / "out.mp4") == frame_times(source)


def test_segment_with_other_parameter_sets_fails_the_join(source: Path, tmp_path: Path) -> None:
    """Lossless H.264 has another profile, so it would not be readable with the header of the first segment."""
    made: list[SegmentFile] = []
    for quality in (18, 0):
        folder = tmp_path / str(quality)
        folder.mkdir()
        made.append(segments(source, folder, 25, quality=quality)[len(made)])
    with pytest.raises(CheckError, match="segment 1 was encoded in another way"):
        join_files(str(source), made, tmp_path / "out.mp4")


def test_segment_with_another_encoding_fails_the_join(source: Path, tmp_path: Path) -> None:
    first, second = segments(source, tmp_path, 25)
    smaller_form = replace(encoding_of(str(source)), width=160, height=90)
    with write_segment(str(tmp_path / "1.nut"), smaller_form, quality=18) as writer:
        for frame in read_frames(str(source), second.written.frames[0]):
            smaller = frame.reformat(160, 90)
            smaller.pts, smaller.time_base = frame.pts, frame.time_base
            writer.write(smaller)
    with pytest.raises(CheckError, match="segment 1 was encoded in another way"):
        join_files(str(source), [first, second], tmp_path / "out.mp4")


@pytest.mark.parametrize("suffix", ["ts", "mkv", "mov", "avi"])
def test_other_containers_keep_every_time(tmp_path: Path, suffix: str) -> None:
    """A transport stream starts between two milliseconds. An MP4's edit list is too coarse for that by default."""
    video = write_clip(tmp_path / f"source.{suffix}", Clip(seconds=2, b_frames=0 if suffix == "avi" else 2))
    out = tmp_path / "out.mp4"
    join_files(str(video), segments(video, tmp_path, 20), out)
    with av.open(str(video)) as before, av.open(str(out)) as after:
        # A player shows the first time of a broadcast's clock as 0.
        begin = (before.start_time or 0) / 1_000_000 if suffix == "ts" else 0
        seconds = [[frame.time or 0.0 for frame in given.decode(video=0)] for given in (before, after)]
    if suffix == "avi":  # its packets have decode times alone, which are those of display without B-frames
        with av.open(str(video)) as before:
            seconds[0] = [
                float(packet.dts * packet.time_base) for packet in before.demux(video=0) if packet.size
            ]
    assert seconds[1] == pytest.approx([time - begin for time in seconds[0]], abs=2e-6)


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
@pytest.mark.parametrize("share", [0.5, 0.8])
def test_source_that_was_cut_off_is_refused(tmp_path: Path, suffix: str, share: float) -> None:
    """The MP4 is a faststart file, so the rest of it can be read. Worker and merge would read the same frames."""
    whole = tmp_path / f"whole.{suffix}"
    write_clip(tmp_path / "plain.mp4", Clip(seconds=8))
    with av.open(str(tmp_path / "plain.mp4")) as given, av.open(str(whole), "w", options=FAST_START) as copy:
        streams = {stream.index: copy.add_stream_from_template(stream) for stream in given.streams}
        for packet in given.demux():
            if packet.size:
                packet.stream = streams[packet.stream_index]
                copy.mux(packet)
    part = tmp_path / f"part.{suffix}"
    data = whole.read_bytes()
    part.write_bytes(data[: round(len(data) * share)])
    with pytest.raises(VideoError):
        join_files(str(part), [], tmp_path / "out.mp4")


def test_full_disk_is_an_output_error(source: Path, tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with (
        open("/dev/full", "wb", buffering=0) as full,
        pytest.raises(OutputError, match="could not be written"),
    ):
        join(str(source), segments(source, tmp_path), full)
