"""Write videos with sound that an MP4 can't hold, with gaps in their sound, or with a track that can't be decoded."""

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from tests.inputs.write_video import Sound, Video, patch, write

Maker = Callable[[Path], Path]
AVI_PICTURE = (("b", "2M"), ("g", "20"))
GAP_SECONDS = (0.9, 1.5)
AMR_WB_BYTES = 18  # of a frame of 20 ms at 6.6 kbit/s


def with_sound(name: str, encoder: str, rate: int = 48_000, layout: str = "stereo", **video: object) -> Maker:
    """Return a function that writes a video of that name with a rising tone."""
    sound = Sound(encoder, rate=rate, layout=layout, is_sweep=True, language="fra")
    return lambda folder: write(folder / name, Video(sound=(sound,), **video))  # type: ignore[arg-type]


def encoded_by_ffmpeg(name: str, encoder: str, *options: str, **video: object) -> Maker:
    """Return a function that writes a video with a rising tone in a format that PyAV can't encode."""

    def make(folder: Path) -> Path:
        if shutil.which("ffmpeg") is None:
            pytest.skip("ffmpeg is not on the PATH. Run `apt-get install ffmpeg`.")
        plain = with_sound("plain.mkv", "pcm_s16le", **video)(folder)  # type: ignore[arg-type]
        command = [
            "ffmpeg",
            "-v",
            "error",
            "-i",
            str(plain),
            "-c:v",
            "copy",
            "-c:a",
            encoder,
            "-strict",
            "-2",
        ]
        subprocess.run([*command, *options, str(folder / name)], check=True)
        return folder / name

    return make


def with_amr_wb(folder: Path) -> Path:
    """Write a 3GP with AMR-WB, whose frames are random numbers: a decoder makes sounds of them."""
    frames = np.random.default_rng(3).integers(0, 256, (5, AMR_WB_BYTES), np.uint8).repeat(26, axis=0)
    frames[:, 0] = 0x04  # the lowest rate, no error
    frames[:, -1] &= 0xF0
    (folder / "sound.amr").write_bytes(b"#!AMR-WB\n" + frames.tobytes())
    plain = write(folder / "plain.mp4", Video(codec="mpeg4", options=AVI_PICTURE, sound=()))
    with (
        av.open(str(plain)) as picture,
        av.open(str(folder / "sound.amr"), format="amr") as sound,
        av.open(str(folder / "in.3gp"), "w") as out,
    ):
        streams = [out.add_stream_from_template(one.streams[0]) for one in (picture, sound)]
        for one, stream in zip((picture, sound), streams, strict=True):
            for packet in one.demux():
                if packet.size:
                    packet.stream = stream
                    out.mux(packet)
    return folder / "in.3gp"


def with_gap(maker: Maker) -> Maker:
    """Return a function that writes the video without the packets of sound inside GAP_SECONDS."""

    def make(folder: Path) -> Path:
        whole = maker(folder)
        path = whole.with_stem("gap")
        with av.open(str(whole)) as given, av.open(str(path), "w") as out:
            streams = {stream.index: out.add_stream_from_template(stream) for stream in given.streams}
            for packet in given.demux():
                seconds = float((packet.pts or 0) * packet.time_base)
                is_lost = packet.stream.type == "audio" and GAP_SECONDS[0] < seconds < GAP_SECONDS[1]
                if packet.size and not is_lost:
                    packet.stream = streams[packet.stream_index]
                    out.mux(packet)
        return path

    return make


def with_unknown_track(folder: Path) -> Path:
    """Write an MP4 with AAC and a second track whose sample entry is `apac`, as newer iPhones write it."""
    return rename_sample_entry(write(folder / "in.mp4", Video(sound=(Sound(), Sound(hertz=660)))), 1)


def with_ac4_track(folder: Path) -> Path:
    """Write an MP4 with AC-4, as television stations send it, before a track of AAC."""
    path = write(folder / "in.mp4", Video(sound=(Sound(hertz=660), Sound())))
    return rename_sample_entry(path, 0, b"ac-4")


def with_unknown_track_only(folder: Path) -> Path:
    return rename_sample_entry(write(folder / "in.mp4", Video()), 0)


def rename_sample_entry(path: Path, number: int, name: bytes = b"apac") -> Path:
    """Rename the sample entry of a track of AAC, and the box that states its codec."""

    def change(data: bytearray) -> None:
        offset = -1
        for _ in range(number + 1):
            offset = data.index(b"mp4a" + bytes(6), offset + 1)
        data[offset : offset + 4] = name
        inner = data.index(b"esds", offset)
        data[inner : inner + 4] = b"free"

    return patch(path, change)


def two_tracks(folder: Path) -> Path:
    """Write a MOV with AAC and a G.711 track in another language."""
    first, second = Sound(is_sweep=True, language="eng"), Sound("pcm_alaw", layout="mono", is_sweep=True)
    return write(folder / "in.mov", Video(sound=(first, replace(second, language="deu"))))


def with_late_packet(folder: Path, name: str, hours: float) -> Path:
    """Write a video whose last packet of sound is that late."""
    whole = write(
        folder / f"whole{Path(name).suffix}",
        Video(
            sound=(Sound("aac" if name.endswith("mov") else "wavpack"),),
            seconds=1,
            options=(("preset", "ultrafast"), ("bf", "2")),
        ),
    )
    with av.open(str(whole)) as given:
        packets = [packet for packet in given.demux() if packet.size]
        last = max(packet.pts for packet in packets if packet.stream.type == "audio")
        with av.open(str(folder / name), "w") as out:
            streams = {stream.index: out.add_stream_from_template(stream) for stream in given.streams}
            for packet in packets:
                if packet.stream.type == "audio" and packet.pts == last:
                    packet.pts = packet.dts = last + round(3600 * hours / packet.time_base)
                packet.stream = streams[packet.stream_index]
                out.mux(packet)
    return folder / name
