"""Test that hidden frames are found in the first bits of VP8, VP9 and AV1 packets."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from defacer.engine.errors import VideoError
from defacer.engine.media.clock.hidden_frames import is_hidden
from defacer.engine.media.clock.packet_clock import demux
from defacer.engine.media.reader import _decode_packets, open_video
from defacer.report.clock import Clock
from tests.inputs.clock_files import hidden_vp8, recording

AV1 = (("preset", "10"), ("crf", "30"))
# The first byte of a VP9 frame: marker, profile, show_existing_frame, frame_type, show_frame, error_resilient_mode.
HIDDEN, SHOWN, EXISTING = b"\x84rest", b"\x86rest", b"\x88"


def superframe(*frames: bytes) -> bytes:
    """Return a VP9 superframe with an index whose sizes have one byte."""
    marker = bytes([0xC0 | len(frames) - 1])
    return b"".join(frames) + marker + bytes(map(len, frames)) + marker


def test_av1_packets_show_as_many_frames_as_the_decoder(tmp_path: Path) -> None:
    path = recording(tmp_path, "in.mkv", codec="libsvtav1", options=AV1, sound=())
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        parts = av.bitstream.BitStreamFilterContext("av1_frame_split", stream)
        hidden, count = 0, 0
        for packet in container.demux(stream):
            assert not packet.size or not is_hidden(packet)
            for part in parts.filter(packet if packet.size else None):
                part.stream = stream
                hidden, count = hidden + is_hidden(part), count + 1
    assert count - hidden == 60
    assert hidden > 0


def test_hidden_copies_of_vp8_frames_are_not_shown(tmp_path: Path) -> None:
    with av.open(str(hidden_vp8(tmp_path))) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        shown = sum(not is_hidden(packet) for packet in packets)
    assert shown == 60 < len(packets)


def test_damaged_hidden_frame_is_an_error(tmp_path: Path) -> None:
    path = hidden_vp8(tmp_path)
    with open_video(str(path)) as (container, picture):
        hidden = [bytes(packet) for packet in container.demux(picture) if packet.size and is_hidden(packet)]
    # The header then states more data than the packet has.
    damaged = bytes([hidden[1][0] | 0xE0, 0xFF, 0xFF]) + hidden[1][3:]
    path.write_bytes(path.read_bytes().replace(hidden[1], damaged))
    with open_video(str(path)) as (container, picture):
        picture.thread_type = "NONE"  # several threads report an error at a later packet
        packets = demux(container, picture, Clock(), picture_only=True)
        with pytest.raises(VideoError, match="is damaged or missing"):
            list(_decode_packets(packets, Clock(), Fraction(0)))


@pytest.mark.parametrize(
    ("data", "hidden"),
    [
        (HIDDEN, True),
        (SHOWN, False),
        (EXISTING, False),
        (superframe(HIDDEN, SHOWN), False),
        (superframe(HIDDEN, HIDDEN), True),
    ],
)
def test_vp9_packet_is_hidden_if_it_shows_no_frame(data: bytes, hidden: bool, tmp_path: Path) -> None:
    options = (("deadline", "realtime"),)
    path = recording(tmp_path, "in.webm", codec="libvpx-vp9", options=options, sound=(), seconds=0.1)
    with av.open(str(path)) as container:
        packet: Any = av.Packet(data)
        packet.stream = container.streams.video[0]
        assert is_hidden(packet) == hidden
