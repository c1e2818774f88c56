"""Test which sound is copied, converted, dropped or refused, and that conversions are exact and repeatable."""

from pathlib import Path

import av
import numpy as np
import pytest

from defacer.engine.errors import EngineErrorCode, SoundError
from defacer.engine.media.encoding import encoding_of
from defacer.engine.media.joiner import JoinResult, SegmentFile, join_files
from defacer.engine.media.probe import probe
from defacer.engine.media.reader import read_frames
from defacer.engine.media.segment_writer import write_segment
from defacer.engine.media.sound.sound_encoding import AAC_RATES
from defacer.engine.media.sound.sound_plan import plan_sound
from defacer.engine.options import Options
from defacer.report.changes import ChangeCode
from tests.engine.test_passthrough import join_video
from tests.inputs.sound_files import with_late_packet, with_sound, with_unknown_track
from tests.inputs.write_video import Sound, Video, patch, write

WMA = {"codec": "wmv2", "options": (("b", "2M"),)}


def samples(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray() for frame in container.decode(container.streams.audio[0])]
    return np.concatenate(frames, axis=1)


def join_sound(folder: Path, name: str, codec: str, rate: int, layout: str) -> tuple[Path, JoinResult]:
    return join_video(folder, Video(sound=(Sound(codec, rate=rate, layout=layout, is_sweep=True),)), name)


@pytest.mark.parametrize(
    ("codec", "name"), [("pcm_mulaw", "in.mov"), ("pcm_s16be", "in.mov"), ("wavpack", "in.mkv")]
)
def test_lossless_result_has_the_samples_of_the_source(codec: str, name: str, tmp_path: Path) -> None:
    out, _ = join_sound(tmp_path, name, codec, 8000, "mono")
    assert np.array_equal(samples(tmp_path / name).ravel(), samples(out).ravel())


def test_same_source_is_converted_to_the_same_bytes(tmp_path: Path) -> None:
    source = with_sound("in.mov", "adpcm_ima_qt", 22_050)(tmp_path)
    segment = encode_segment(source, tmp_path / "0.nut")
    join_files(str(source), [segment], tmp_path / "one.mp4")
    join_files(str(source), [segment], tmp_path / "two.mp4")
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()


def test_copied_sound_is_not_a_change(tmp_path: Path) -> None:
    source = write(tmp_path / "in.mp4", Video(seconds=0.4))
    assert plan_sound(str(source), "copy_only").changes == ()


def test_copy_only_refuses_a_conversion_before_any_frame_is_decoded(tmp_path: Path) -> None:
    source = with_sound("in.mov", "pcm_alaw", 8000, "mono", seconds=0.4)(tmp_path)
    with pytest.raises(SoundError, match="sound track 1: pcm_alaw") as refused:
        probe(str(source), Options(sound="copy_only"))
    assert refused.value.code == EngineErrorCode.UNSUPPORTED_SOUND


def test_undecodable_track_beside_another_is_dropped_in_both_modes(tmp_path: Path) -> None:
    source = str(with_unknown_track(tmp_path))
    for mode in ("convert", "copy_only"):
        (change,) = plan_sound(source, mode).changes
        assert change.code == ChangeCode.DROPPED_SOUND
        assert "apac" in change.text


def test_sound_with_damaged_headers_is_refused_by_the_probe(tmp_path: Path) -> None:
    source = with_sound("in.mkv", "vorbis", seconds=1.0)(tmp_path)

    def change(data: bytearray) -> None:
        start = data.index(b"\x01vorbis")
        data[start : start + 7] = b"\x01worbis"

    with pytest.raises(SoundError, match=r"its sound \(vorbis\) can't be decoded"):
        probe(str(patch(source, change)), Options())


def test_damaged_packets_are_silent_and_reported(tmp_path: Path) -> None:
    source = with_sound("in.mkv", "wavpack")(tmp_path)
    with av.open(str(source)) as container:
        packets = [packet for packet in container.demux(audio=0) if packet.size]
    data = bytearray(source.read_bytes())
    middle = packets[1]
    start, size = middle.pos + middle.size // 3, middle.size // 3
    data[start : start + size] = bytes(size)
    source.write_bytes(data)
    out = tmp_path / "out.mp4"
    joined = join_files(str(source), [encode_segment(source, tmp_path / "0.nut")], out)
    corrected = [change.text for change in joined.changes if change.code == ChangeCode.CORRECTED_SOUND]
    assert len(corrected) == 1
    assert "can't be decoded, silent" in corrected[0]
    last = packets[-1]
    assert samples(out).size / 2 / 48_000 == pytest.approx(
        float((last.pts + last.duration) * last.time_base), abs=0.1
    )


def test_damaged_aac_of_a_broadcast_is_left_out_and_reported(tmp_path: Path) -> None:
    def change(data: bytearray) -> None:
        """Discard each tenth packet of the transport stream that has sound."""
        starts = range(0, len(data), 188)
        sound = [start for start in starts if (data[start + 1] & 0x1F, data[start + 2]) == (1, 1)]
        for start in reversed(sound[5::10]):
            del data[start : start + 188]

    source = patch(write(tmp_path / "in.ts", Video()), change)
    segment = encode_segment(source, tmp_path / "0.nut")
    joined = join_files(str(source), [segment], tmp_path / "out.mp4", past_damage=True)
    assert [change.code for change in joined.changes] == [ChangeCode.CORRECTED_SOUND]
    with av.open(str(source)) as given, av.open(str(tmp_path / "out.mp4")) as made:
        counts = [sum(1 for packet in c.demux(audio=0) if packet.size) for c in (given, made)]
    assert 0 < counts[0] - counts[1] < 20


@pytest.mark.parametrize(("name", "hours"), [("in.mov", 10), ("in.mkv", 0.9)])
def test_sound_with_an_implausible_gap_is_refused_by_the_probe(
    name: str, hours: float, tmp_path: Path
) -> None:
    with pytest.raises(SoundError, match=rf"gaps of {3600 * hours:.0f} s, its picture lasts 1 s"):
        probe(str(with_late_packet(tmp_path, name, hours)), Options())


def test_conversion_of_sound_with_an_implausible_gap_ends(tmp_path: Path) -> None:
    source = with_late_packet(tmp_path, "in.mkv", 25)
    with pytest.raises(SoundError, match="gaps of over 86400 s"):
        join_files(str(source), [encode_segment(source, tmp_path / "0.nut")], tmp_path / "out.mp4")


def test_every_rate_of_aac_is_one_that_the_encoder_accepts() -> None:
    for rate in AAC_RATES:
        context = av.CodecContext.create("aac", "w")
        context.rate, context.layout, context.format = rate, "mono", "fltp"
        context.open()


def encode_segment(source: Path, segment: Path) -> SegmentFile:
    with write_segment(str(segment), encoding_of(str(source)), 18) as writer:
        for frame in read_frames(str(source)):
            writer.write(frame)
    return SegmentFile.from_path(str(segment), writer.result())
