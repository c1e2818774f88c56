"""Test that groups of pictures are copied bit for bit if nothing in them is hidden, and encoded in any doubt."""

import logging
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from defacer.engine.engine import Engine
from defacer.engine.media.clock.clocked_source import ClockedSource
from defacer.engine.media.encoding import encoding_of
from defacer.engine.media.h264.access_units import AccessUnit, NotCopyableError, SourceParameters
from defacer.engine.media.h264.copied_stream import find_copied_stream
from defacer.engine.media.h264.source_groups import SourceGroup, SourceGroups
from defacer.engine.media.joiner import SegmentFile, join_files
from defacer.engine.media.readback import MeasuredFrame, Readback
from defacer.engine.media.reader import Segment, read_frames
from defacer.engine.media.segment_writer import write_segment
from defacer.engine.options import Options, VerifyLevel
from defacer.engine.render_file import render_video
from defacer.engine.verification import check_ahead
from defacer.engine.verification.release_gate import redact_and_verify
from defacer.report.clock import Clock
from defacer.report.tracks import Origin, Reason
from tests.clips import astronaut, frame_times
from tests.engine.copied_videos import (
    COPY,
    ENCODER,
    GROUP,
    encoder,
    equal_frames,
    faces_with,
    message,
    redact,
    unit,
    units_in,
    with_packets,
)
from tests.engine.scene_files import Shown, faces_in, write_scene
from tests.inputs.picture_files import crop_elements, mkv_with
from tests.inputs.rows import PHONE
from tests.inputs.write_video import Video, write

PLAIN = Video(size=(160, 90), seconds=2.4, options=ENCODER, sound=())  # six groups of 10 frames
COORDINATES = b"+48.1372+011.5756/"
UNMASKED = 40  # columns at the left
MIN_PSNR = 35.0
MASKED_DIFFERENCE = 12.0  # gray levels


def numbers(*groups: int) -> list[int]:
    """Return the numbers of the frames in these groups."""
    return [n for group in groups for n in range(group * GROUP, (group + 1) * GROUP)]


ALL = numbers(*range(6))


def require_similar(source: Path, out: Path) -> None:
    """Raise AssertionError unless all frames show the source where no mask is."""
    for before, after in zip(read_frames(str(source)), read_frames(str(out)), strict=True):
        one, other = (frame.to_ndarray(format="gray").astype(np.float32) for frame in (before, after))
        one, other = one[:, :UNMASKED], other[:, :UNMASKED]
        assert 20 * np.log10(255 / max(float(np.sqrt(((one - other) ** 2).mean())), 0.01)) > MIN_PSNR


@pytest.mark.parametrize(
    "video",
    [
        PLAIN,
        replace(PLAIN, options=encoder(profile="baseline", bf="0")),
        replace(PLAIN, options=encoder(profile="main", coder="0", refs="5", slices="3")),
        replace(PLAIN, options=encoder(level="5.1", bf="8", **{"x264-params": "scenecut=0:b-pyramid=strict"})),
        replace(PLAIN, options=encoder(**{"x264-params": "scenecut=0:sps-id=1:aud=1:pic-struct=1"})),
        replace(PLAIN, size=(160, 96), shape=Fraction(4, 3)),
        replace(PLAIN, turned=(90, True)),
        replace(PLAIN, muxer=(("movflags", "frag_keyframe+empty_moov"),)),
        replace(PLAIN, color=(2, 1, 1, 1), pixel_format="yuvj420p"),
    ],
    ids=["B-frames", "baseline", "Main with slices", "a higher level", "the encoder's number", "anamorphic", "turned",
         "in fragments", "full range"],
)  # fmt: skip
def test_groups_without_masks_have_the_pixels_of_the_source(video: Video, tmp_path: Path) -> None:
    source = write(tmp_path / "in.mp4", video)
    out = redact(source, (25, 28))
    assert equal_frames(source, out) == numbers(0, 1, 3, 4, 5)
    require_similar(source, out)


def test_groups_of_an_mkv_are_copied_too(tmp_path: Path) -> None:
    source = write(tmp_path / "in.mkv", PLAIN)
    assert equal_frames(source, redact(source, (25, 28))) == numbers(0, 1, 3, 4, 5)


def test_copied_frames_are_compared_with_the_frames_that_were_checked(tmp_path: Path) -> None:
    source = write(tmp_path / "in.mp4", PLAIN)
    copied, encoding = find_copied_stream(str(source), encoding_of(str(source))), encoding_of(str(source))
    encoding = replace(encoding, sets_number=copied.encoder_number)
    groups = SourceGroups(copied, Segment(str(source)))
    frames = list(read_frames(str(source), on_packet=groups.add_packet))
    measured = [MeasuredFrame.of(frame) for frame in frames]
    swapped = [replace(measured[0], cells=255 - measured[0].cells), *measured[1:GROUP]]
    for expected, differing in ((measured[:GROUP], set()), (swapped, {frames[0].pts})):
        with (
            Readback(every_frame=True, has_copies=True) as readback,
            write_segment(str(tmp_path / "out.nut"), encoding, 18, readback, copied) as writer,
        ):
            group = groups.group_of(frames[0].pts or 0)
            assert group is not None
            writer.copy(group, expected)
            writer.flush()
            assert readback.differing == differing


@pytest.mark.parametrize("cut", [20, 25, 30])
def test_segments_copy_only_groups_that_they_contain(cut: int, tmp_path: Path) -> None:
    source = write(tmp_path / "in.mp4", PLAIN)
    out = redact(source, (45, 45), cuts=(cut,))
    assert equal_frames(source, out) == [n for n in numbers(0, 1, 2, 3, 5) if cut != 25 or n // GROUP != 2]


def test_lead_and_tail_of_a_mask_touch_the_groups_beside_it(tmp_path: Path) -> None:
    source = write(tmp_path / "in.mp4", PLAIN)
    equal = equal_frames(source, redact(source, (31, 33), origin=Origin.DETECTOR))
    assert equal[: 2 * GROUP] == numbers(0, 1)
    assert not set(equal) & set(numbers(2, 3, 4))


def test_variable_rate_keeps_each_time_and_each_pixel(tmp_path: Path) -> None:
    source = write(tmp_path / "in.mp4", replace(PLAIN, times=PHONE, time_base=Fraction(1, 90000)))
    equal = equal_frames(source, redact(source, (5, 5), cuts=(20,)))
    assert equal == list(range(GROUP, len(PHONE)))


def test_group_with_frames_that_an_edit_list_hides_is_encoded(tmp_path: Path) -> None:
    source = write(tmp_path / "in.mp4", replace(PLAIN, hidden_frames=15))
    out = redact(source)
    assert equal_frames(source, out) == list(range(5, 45))
    with av.open(str(out)) as container:
        assert sum(packet.size > 0 for packet in container.demux(video=0)) == 45


def test_open_groups_are_one_group_until_the_next_idr_frame(tmp_path: Path) -> None:
    options = encoder(**{"x264-params": "scenecut=0:open-gop=1"})
    source = write(tmp_path / "in.mp4", replace(PLAIN, options=options))
    with av.open(str(source)) as container:
        assert sum(packet.is_keyframe for packet in container.demux(video=0)) > 1
    assert equal_frames(source, redact(source, (45, 45))) == []
    assert equal_frames(source, redact(source)) == ALL


def test_coordinates_and_times_in_messages_are_dropped(tmp_path: Path) -> None:
    plain = write(tmp_path / "plain.mp4", PLAIN)
    located = message(5, bytes(16) + COORDINATES)
    source = with_packets(
        plain, tmp_path / "in.mp4", lambda _, data: located + message(1, COORDINATES) + data
    )
    out = redact(source)
    assert equal_frames(source, out) == ALL
    assert COORDINATES in source.read_bytes()
    assert COORDINATES not in out.read_bytes()
    assert {kind for _, kind in units_in(out)} == {1, 5}


def test_timed_metadata_of_a_data_track_is_dropped(tmp_path: Path) -> None:
    source = write(tmp_path / "in.mp4", replace(PLAIN, data=True))
    out = redact(source)
    assert equal_frames(source, out) == ALL
    assert b"37.7749" in source.read_bytes()
    assert b"37.7749" not in out.read_bytes()


def test_group_with_captions_is_encoded_as_without_copying(tmp_path: Path) -> None:
    plain = write(tmp_path / "plain.mp4", PLAIN)
    captions = message(4, b"\xb5\x00\x31GA94\x03\x41\xff\xfc\x94\x2c\xff")
    source = with_packets(
        plain, tmp_path / "in.mp4", lambda number, data: captions + data if number // GROUP == 2 else data
    )
    assert equal_frames(source, redact(source)) == numbers(0, 1, 3, 4, 5)
    assert count_captions(redact(source)) == GROUP
    assert count_captions(redact(source, options=replace(COPY, copy_untouched=False))) == GROUP


def count_captions(path: Path) -> int:
    return sum("A53_CC" in str(kind) for frame in read_frames(str(path)) for kind in frame.side_data)


def test_all_groups_after_other_parameter_sets_are_encoded(tmp_path: Path) -> None:
    plain = write(tmp_path / "plain.mp4", PLAIN)
    same = source_of(plain).units[0]
    other = same[:3] + bytes([same[3] + 1]) + same[4:]  # the level
    sets = {numbers(1)[0]: unit(same), numbers(3)[0]: unit(other)}
    source = with_packets(plain, tmp_path / "in.mp4", lambda number, data: sets.get(number, b"") + data)
    assert equal_frames(source, redact(source)) == numbers(0, 1, 2)


def test_key_frame_that_drops_waiting_frames_is_not_copied(tmp_path: Path) -> None:
    parameters = source_of(write(tmp_path / "in.mp4", PLAIN))
    sequence, (picture,) = parameters.sequence, parameters.pictures
    assert (sequence.number, picture.number, sequence.order_type, picture.has_order_deltas) == (
        0,
        0,
        0,
        False,
    )
    head = "1" + "0001000" + "1" + "0" * sequence.frame_number_bits + "1" + "0" * sequence.order_bits
    for drops in (False, True):
        bits = (head + f"{drops:d}" + "1" * 64)[:64]
        packet = unit(b"\x65" + int(bits, 2).to_bytes(8, "big"))
        if not drops:
            assert parameters.read(packet).is_key
            continue
        with pytest.raises(NotCopyableError, match="drops frames before it"):
            parameters.read(packet)


@pytest.mark.parametrize("lasting", [message(45, b"x"), message(5, bytes(16) + b"x264 - core 33 ")])
def test_all_groups_after_a_message_that_can_last_are_encoded(lasting: bytes, tmp_path: Path) -> None:
    plain = write(tmp_path / "plain.mp4", PLAIN)
    source = with_packets(
        plain, tmp_path / "in.mp4", lambda number, data: lasting * (number == numbers(2)[0]) + data
    )
    assert equal_frames(source, redact(source)) == numbers(0, 1)


def test_parameter_set_with_another_unit_inside_is_not_copied(tmp_path: Path) -> None:
    """The MP4's header could else bring a message, or another sequence, into the result."""
    plain = write(tmp_path / "plain.mp4", PLAIN)
    hidden, data = b"\0\0\1\6" + COORDINATES, plain.read_bytes()
    sequence = source_of(plain).units[0]
    start = data.index(sequence)
    data = data[: start - 2] + (len(sequence) + len(hidden)).to_bytes(2, "big") + sequence + hidden
    data += plain.read_bytes()[start + len(sequence) :]
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"avc1", b"avcC"):
        at = data.index(kind, data.index(b"moov")) - 4
        size = int.from_bytes(data[at : at + 4], "big") + len(hidden)
        data = data[:at] + size.to_bytes(4, "big") + data[at + 4 :]
    source = tmp_path / "in.mp4"
    source.write_bytes(data)
    with pytest.raises(NotCopyableError, match="header is damaged"):
        find_copied_stream(str(source), encoding_of(str(source)))


def source_of(path: Path) -> SourceParameters:
    return find_copied_stream(str(path), encoding_of(str(path))).source


def packets_of(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda one, other: one + other, "more than one frame"),
        (lambda one, other: one + one, "slices in another order"),
        (lambda one, other: one + unit(b"\x14hidden"), "NAL units of type 20"),
        (lambda one, other: one + unit(b"\x61a\0\0\1\x06b"), "damaged"),
        (lambda one, other: one[:-1], "damaged"),
        (lambda one, other: message(45, b"x") + one, "messages of type 45"),
        (lambda one, other: message(4, b"x") + one, "captions"),
        (lambda one, other: one + one[:4] + bytes([one[4] & 0x9F]) + one[5:], "more than one frame"),
        (lambda one, other: message(5, bytes(16) + b"x264 - core 33 ") + one, "old encoder"),
        (lambda one, other: message(5, b"x"), "no frame"),
    ],
)  # fmt: skip
def test_packet_that_could_show_something_else_is_not_copied(
    change: Callable[[bytes, bytes], bytes], reason: str, tmp_path: Path
) -> None:
    source = write(tmp_path / "in.mp4", replace(PLAIN, seconds=0.2, options=encoder(bf="0")))
    one, other = packets_of(source)[1:3]
    parameters = source_of(source)
    assert not parameters.read(one).is_key
    with pytest.raises(NotCopyableError, match=reason):
        parameters.read(change(one, other))


def test_reordered_frames_need_a_header_that_states_it() -> None:
    frames = {pts: AccessUnit(b"", is_key=pts == 0) for pts in (0, 3, 1, 2)}
    group = SourceGroup(frames, is_closed=True)
    assert group.find_reason(1) is None
    assert group.find_reason(0) == "the header does not state the order of its frames"


def tagged_colors(path: Path) -> Path:
    """Write a video whose colors are stated by the container only."""
    plain = write(path.with_name("plain.mp4"), PLAIN)
    with av.open(str(plain)) as given, av.open(str(path), "w") as made:
        stream = made.add_stream_from_template(given.streams.video[0])
        stream.codec_context.color_primaries = stream.codec_context.color_trc = 1
        stream.codec_context.colorspace = 1
        for packet in given.demux(video=0):
            if packet.size:
                packet.stream = stream
                made.mux(packet)
    return path


def two_sample_entries(path: Path) -> Path:
    """Write a video whose parts can have other parameter sets."""
    data = write(path, PLAIN).read_bytes()
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd"):
        start = data.index(kind)
        size = int.from_bytes(data[start - 4 : start], "big")
        data = data[: start - 4] + (size + ENTRY_BYTES).to_bytes(4, "big") + data[start:]
    end = start - 4 + size
    entry = b"\0\0\0\x10free" + bytes(8)
    data = data[: start + 8] + b"\0\0\0\2" + data[start + 12 : end] + entry + data[end:]
    path.write_bytes(data)
    return path


ENTRY_BYTES = 16
SOURCES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "HEVC": (lambda folder: write(folder / "in.mp4", replace(PLAIN, codec="libx265", options=())), "hevc"),
    "in a broadcast": (lambda folder: write(folder / "in.ts", PLAIN), "not in the header"),
    "4:4:4": (lambda folder: write(folder / "in.mp4", replace(PLAIN, pixel_format="yuv444p")), "4:2:0"),
    "interlaced": (
        lambda folder: write(
            folder / "in.mp4",
            replace(PLAIN, size=(160, 96), fields="tff", options=(*ENCODER[:2], ("x264-params", "tff=1"))),
        ),
        "not progressive",
    ),
    "cropped by its header": (
        lambda folder: write(
            folder / "in.mp4", replace(PLAIN, options=encoder(**{"x264-params": "crop-rect=0,0,20,0"}))
        ),
        "is cropped",
    ),
    "two sample entries": (lambda folder: two_sample_entries(folder / "in.mp4"), "parameter sets change"),
    "cropped by an MKV": (mkv_with(crop_elements(40, 20, 40, 20)), "is cropped"),
    "colors in the container": (lambda folder: tagged_colors(folder / "in.mp4"), "its colors"),
}


@pytest.mark.parametrize("name", SOURCES)
def test_source_in_doubt_is_encoded_and_the_log_says_why(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make, reason = SOURCES[name]
    source = make(tmp_path)
    with caplog.at_level(logging.INFO):
        out = redact(source)
    assert equal_frames(source, out) == []
    (warning,) = [record.getMessage() for record in caplog.records if "copy_untouched" in record.getMessage()]
    assert reason in warning
    assert source.name not in warning


def test_command_says_why_nothing_is_copied(tmp_path: Path) -> None:
    stages: list[str] = []
    for video in (PLAIN, replace(PLAIN, codec="libx265", options=())):
        source = write(tmp_path / "in.mp4", replace(video, seconds=0.4))
        out = tmp_path / "out.mp4"
        render_video(
            str(source),
            faces_with(source),
            COPY,
            None,
            out,
            lambda stage, *_: stages.append(stage),
            force=True,
        )
    (why,) = [stage for stage in stages if "because" in stage]
    assert why == "encoding all frames, because its picture is hevc, only 8-bit H.264 can be copied"


def test_corrected_times_and_hidden_damage_are_not_copied(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = write(tmp_path / "in.mp4", PLAIN)
    with pytest.raises(NotCopyableError, match="times are corrected"):
        find_copied_stream(ClockedSource(str(source), Clock(has_moved=True)), encoding_of(str(source)))
    assert equal_frames(source, redact(source, options=replace(COPY, on_decode_error="hide"))) == []
    assert "damaged frames become black" in caplog.text


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not on the PATH")
def test_ffmpeg_shows_all_frames_of_a_result_without_a_warning(tmp_path: Path) -> None:
    """The program `ffmpeg` is another version than the library that wrote the result."""
    source = write(tmp_path / "in.mp4", PLAIN)
    out = redact(source, (25, 28), (41, 41), cuts=(30,))
    hashes = []
    for path in (source, out):
        command = ["ffmpeg", "-v", "warning", "-i", str(path), "-f", "framemd5", "-"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stderr == ""
        hashes.append([line.split()[-1] for line in done.stdout.splitlines() if not line.startswith("#")])
    assert len(hashes[0]) == len(hashes[1]) == len(ALL)
    equal = [n for n, pair in enumerate(zip(*hashes, strict=True)) if pair[0] == pair[1]]
    assert equal == numbers(0, 1, 3, 5)


@pytest.mark.parametrize("verify", ["standard", pytest.param("strict", marks=pytest.mark.slow)])
@pytest.mark.parametrize("look_ahead", [True, False], ids=["in time", "encoded again"])
def test_face_that_the_check_finds_is_masked_in_its_groups(
    verify: VerifyLevel, look_ahead: bool, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not look_ahead:
        monkeypatch.setattr(check_ahead, "AHEAD_SECONDS", 0)
    face = Shown(astronaut(), (380, 80), 200, 22, 28)
    source = write_scene(tmp_path / "in.mp4", [face], seconds=3.2)
    out, options = tmp_path / "out.nut", replace(COPY, verify=verify)
    verified = redact_and_verify(Segment(str(source)), faces_in(source), out, options, engine.checker)
    assert verified.checked is not None
    assert [track.reason for track in verified.checked.tracks] == [Reason.FOUND_BY_VERIFICATION]
    joined = tmp_path / "out.mp4"
    join_files(str(source), [SegmentFile.from_path(str(out), verified.written)], joined)
    equal = set(equal_frames(source, joined))
    times = frame_times(source)
    assert {times.index(pts) for pts in verified.written.copied} == equal
    assert set(numbers(0, 6, 7)) <= equal
    assert not equal & set(range(20, 30))
    x1, y1, x2, y2 = (round(side) for side in face.face)
    for number, pair in enumerate(zip(read_frames(str(source)), read_frames(str(joined)), strict=True)):
        before, after = (frame.to_ndarray(format="gray")[y1:y2, x1:x2].astype(np.float32) for frame in pair)
        if face.first <= number <= face.last:
            assert float(np.abs(before - after).mean()) > MASKED_DIFFERENCE


def test_check_searches_copied_groups_as_often_as_encoded_ones(engine: Engine, tmp_path: Path) -> None:
    source = write_scene(tmp_path / "in.mp4", [])
    searched = []
    for options in (replace(COPY, verify="strict"), Options(verify="strict")):
        verified = redact_and_verify(
            Segment(str(source)), faces_in(source), tmp_path / "out.nut", options, engine.checker
        )
        assert verified.checked is not None
        searched.append(verified.checked.frames)
    assert searched == [50, 50]
