"""Write recordings whose times have to be corrected, and recordings that begin or end badly."""

import struct
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from tests.inputs.write_video import GOP, Sound, Video, patch, write

Maker = Callable[[Path], Path]
Change = Callable[[Any], bool]  # changes a packet, and returns whether it is written
SECONDS = 2.4
B_FRAMES = (*GOP, ("bf", "2"), ("x264-params", "b-adapt=0:scenecut=0"))
VP8 = (("cpu-used", "8"), ("deadline", "realtime"), ("b", "1M"))
FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
TICKS_33_BITS = 2**33
PACKET_BYTES = 188  # of a transport stream
TABLES = 3  # packets at its start: service description, program association, program map


def recording(folder: Path, name: str, **changes: object) -> Path:
    contents: dict[str, object] = {"seconds": SECONDS, "options": B_FRAMES, **changes}
    return write(folder / name, Video(**contents))  # type: ignore[arg-type]


def remux(source: Path, out: Path, change: Change, muxer: dict[str, str] | None = None) -> Path:
    """Copy the packets of a video after `change`."""
    with av.open(str(source)) as given, av.open(str(out), "w", options=muxer or {}) as made:
        copied = {stream.index: made.add_stream_from_template(stream) for stream in given.streams}
        for packet in given.demux():
            if packet.size and change(packet):
                packet.stream = copied[packet.stream_index]
                made.mux(packet)
    return out


def _shift(seconds: float) -> Change:
    def change(packet: Any) -> bool:
        ticks = round(seconds / packet.time_base)
        packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
        return True

    return change


def avi_with_b_frames(folder: Path) -> Path:
    return recording(folder, "in.avi", sound=(Sound("libmp3lame"),))


def mp4_without_offsets(folder: Path) -> Path:
    """Write an MP4 of MPEG-4 with B-frames that has the times of decoding only."""
    plain = recording(folder, "plain.mp4", codec="mpeg4", options=(("b", "2M"), ("g", "20"), ("bf", "2")))

    def change(packet: Any) -> bool:
        packet.pts = packet.dts = packet.dts + 512 if packet.stream.type == "video" else packet.dts
        return True

    return remux(plain, folder / "in.mp4", change)


def raw_h264(folder: Path) -> Path:
    return recording(folder, "in.h264", sound=(), rate=30)


def raw_hevc(folder: Path) -> Path:
    options = (("preset", "ultrafast"), ("x265-params", "log-level=error:keyint=20:bframes=3:info=0"))
    return recording(folder, "in.hevc", sound=(), codec="libx265", options=options)


def raw_mpeg4(folder: Path) -> Path:
    options = (("b", "2M"), ("g", "20"), ("bf", "2"))
    plain = recording(folder, "plain.mp4", codec="mpeg4", options=options, sound=())
    with av.open(str(plain)) as container:
        header = container.streams.video[0].codec_context.extradata or b""
        path = folder / "in.m4v"
        path.write_bytes(header + b"".join(bytes(packet) for packet in container.demux(video=0)))
    return path


def raw_av1(folder: Path) -> Path:
    return recording(folder, "in.obu", sound=(), codec="libsvtav1", options=(("preset", "10"), ("crf", "30")))


def avi_with_dropped_frames(folder: Path) -> Path:
    """Write an AVI with an empty chunk for each sixth frame, as recorders do that were too slow."""
    times = tuple(number / 25 for number in range(60) if number % 6 != 3)
    options = (("b", "2M"), ("g", "20"))
    return recording(
        folder, "in.avi", codec="mpeg4", options=options, times=times, sound=(Sound("libmp3lame"),)
    )


def avi_with_empty_frames(folder: Path) -> Path:
    """Write an AVI of MPEG-4 whose frames 10, 11 and 30 are not coded (N-VOP), as Xvid does for dropped frames."""
    options = (("b", "2M"), ("g", "20"))
    plain = recording(folder, "plain.avi", codec="mpeg4", options=options, sound=(Sound("libmp3lame"),))
    number = 0
    with av.open(str(plain)) as given, av.open(str(folder / "in.avi"), "w") as made:
        copied = {stream.index: made.add_stream_from_template(stream) for stream in given.streams}
        for packet in given.demux():
            if not packet.size:
                continue
            written = packet
            if packet.stream.type == "video":
                if number in (10, 11, 30):
                    written = av.Packet(_empty_vop(number))
                    written.pts, written.dts, written.time_base = packet.pts, packet.dts, packet.time_base
                number += 1
            written.stream = copied[packet.stream_index]
            made.mux(written)
    return folder / "in.avi"


def _empty_vop(number: int) -> bytes:
    """Return an MPEG-4 frame that is not coded (N-VOP), at 25 frames a second."""
    # P, no full second, 5 bits of time (25 ticks a second), not coded, stuffing
    bits = f"0101{number % 25:05b}10" + "01111"
    return b"\0\0\1\xb6" + int(bits, 2).to_bytes(2)


def packed_avi(b_frames: int) -> Maker:
    """Return a function that writes an AVI of MPEG-4 with a packed bitstream, as DivX does.

    The first B-frame after another frame is in the packet of that frame, and an empty frame (N-VOP) follows them.
    """

    def make(folder: Path) -> Path:
        options = (("b", "2M"), ("g", "20"), ("bf", str(b_frames)))
        plain = recording(folder, "plain.mkv", codec="mpeg4", options=options, sound=())
        with av.open(str(plain)) as given, av.open(str(folder / "in.avi"), "w") as made:
            coded = [bytes(packet) for packet in given.demux(video=0) if packet.size]
            out = made.add_stream_from_template(given.streams.video[0])
            out.codec_context.extradata = (out.codec_context.extradata or b"") + b"\0\0\1\xb2DivX503b1393p"
            for number, data in enumerate(_pack(coded)):
                packet = av.Packet(data)
                packet.stream, packet.time_base = out, Fraction(1, 25)
                packet.pts = packet.dts = number
                packet.is_keyframe = _vop_kind(data) == 0
                made.mux(packet)
        return folder / "in.avi"

    return make


def _vop_kind(data: bytes) -> int:
    """Return the kind of the first MPEG-4 frame in a packet: 0 for I, 1 for P, 2 for B."""
    return data[data.index(b"\0\0\1\xb6") + 4] >> 6


def _pack(coded: list[bytes]) -> Iterator[bytes]:
    """Yield the packets of a packed bitstream for frames in the order of decoding."""
    number = 0
    while number < len(coded):
        end = number + 1
        while end < len(coded) and _vop_kind(coded[end]) == 2:
            end += 1
        group = coded[number:end]
        yield b"".join(group[:2])
        yield from group[2:]
        if len(group) > 1:
            yield _empty_vop(0)
        number = end


def avi_with_long_header(folder: Path) -> Path:
    """Write an AVI whose header counts 1,000 frames, as after a crash."""

    def change(data: bytearray) -> None:
        struct.pack_into("<I", data, data.index(b"avih") + 8 + 16, 1000)
        struct.pack_into("<I", data, data.index(b"strh") + 8 + 32, 1000)

    path = recording(
        folder, "in.avi", codec="mpeg4", options=(("b", "2M"), ("g", "20")), sound=(Sound("libmp3lame"),)
    )
    return patch(path, change)


def mkv_with_same_times(folder: Path) -> Path:
    """Write an MKV whose frames 10, 30 and 31 have the times of those before them."""
    number, last = 0, 0

    def change(packet: Any) -> bool:
        nonlocal number, last
        if packet.stream.type == "video":
            if number in (10, 30, 31):
                packet.pts = packet.dts = last
            number, last = number + 1, packet.pts
        return True

    return remux(recording(folder, "plain.mkv", options=GOP), folder / "in.mkv", change)


def flv_tags(data: bytearray) -> Iterator[tuple[int, int, int]]:
    """Yield offset, type and time in milliseconds of the tags with sound (8) and picture (9)."""
    offset = 13
    while offset + 11 <= len(data):
        size = int.from_bytes(data[offset + 1 : offset + 4])
        if data[offset] in (8, 9):
            yield offset, data[offset], int.from_bytes(data[offset + 4 : offset + 7]) | data[offset + 7] << 24
        offset += 11 + size + 4


def set_flv_time(data: bytearray, offset: int, time: int) -> None:
    data[offset + 4 : offset + 7], data[offset + 7] = (time & 0xFFFFFF).to_bytes(3), time >> 24


def flv_with_same_times(folder: Path) -> Path:
    """Write an FLV with three frames that have the decode time of the frame before."""

    def change(data: bytearray) -> None:
        pictures = [(offset, time) for offset, kind, time in flv_tags(data) if kind == 9]
        for number in (10, 30, 31):
            set_flv_time(data, pictures[number][0], pictures[number - 1][1])

    return patch(recording(folder, "in.flv", options=GOP), change)


def flv_with_restart(folder: Path) -> Path:
    """Write an FLV whose clock begins again at 0 after 1.2 s, as after a lost connection."""

    def change(data: bytearray) -> None:
        for offset, _, time in list(flv_tags(data)):
            if time >= 1200:
                set_flv_time(data, offset, time - 1200)

    return patch(recording(folder, "in.flv"), change)


def flv_with_jump(folder: Path) -> Path:
    """Write an FLV whose clock jumps three hours ahead at a key frame, and that has a damaged packet of sound.

    The packet's codec is PCM instead of AAC.
    """

    def change(data: bytearray) -> None:
        tags = list(flv_tags(data))
        for offset, _, time in tags:
            if time >= 800:
                set_flv_time(data, offset, time + 3 * 3600 * 1000)
        sound = [offset for offset, kind, _ in tags if kind == 8]
        data[sound[20] + 11] = 0x3F

    return patch(recording(folder, "in.flv"), change)


def ts_with_jump(folder: Path) -> Path:
    """Write a transport stream whose clock jumps 20 s ahead at a key frame."""

    def change(packet: Any) -> bool:
        is_later = packet.dts * packet.time_base > 0.71
        return _shift(20)(packet) if is_later else True

    return remux(recording(folder, "plain.mp4"), folder / "in.ts", change)


def joined(name: str, count: int, **changes: object) -> Maker:
    """Return a function that writes the same recording `count` times into one file, as `cat` does."""

    def make(folder: Path) -> Path:
        path = recording(folder, name, **changes)
        path.write_bytes(path.read_bytes() * count)
        return path

    return make


def wrapping_clock(folder: Path) -> Path:
    """Write a transport stream whose clock of 33 bits begins again after about a second."""
    start = float(Fraction(TICKS_33_BITS, 90_000)) - 1.2
    return remux(recording(folder, "plain.mp4"), folder / "in.ts", _shift(start))


def fragments_at_time_of_day(folder: Path) -> Path:
    """Write a fragmented MP4 whose clock is the time of day."""
    muxer = {
        "movflags": f"{FRAGMENTS['movflags']}+frag_discont",
        "use_editlist": "0",
        "avoid_negative_ts": "disabled",
    }
    return remux(recording(folder, "plain.mp4"), folder / "in.mp4", _shift(1_700_000_000), muxer)


def mkv_at_time_of_day(folder: Path) -> Path:
    return remux(recording(folder, "plain.mp4"), folder / "in.mkv", _shift(1_700_000))


def without_first_key_frame(folder: Path, **changes: object) -> Path:
    """Write a transport stream that begins with the sixth frame of a group of pictures."""
    path = recording(folder, "in.ts", **changes)
    with av.open(str(path)) as container:
        begin = [packet.pos for packet in container.demux(video=0) if packet.size][5]
    data = path.read_bytes()
    path.write_bytes(data[: TABLES * PACKET_BYTES] + data[begin:])
    return path


def cut_fragment(folder: Path) -> Path:
    """Write a fragmented MP4 that ends within a frame of its last fragment."""
    path = recording(folder, "in.mp4", muxer=tuple(FRAGMENTS.items()))
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][50]
    path.write_bytes(path.read_bytes()[: packet.pos + packet.size // 2])
    return path


def cut_cluster(folder: Path) -> Path:
    """Write an MKV that ends within a cluster."""
    path = recording(folder, "in.mkv")
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][30]
    path.write_bytes(path.read_bytes()[: packet.pos + packet.size // 2])
    return path


def junk_between_packets(folder: Path) -> Path:
    """Write a transport stream with bytes that belong to no packet."""
    path = recording(folder, "in.ts")
    data = path.read_bytes()
    middle = len(data) // PACKET_BYTES // 2 * PACKET_BYTES
    path.write_bytes(bytes(100) + data[:middle] + bytes(300) + data[middle:])
    return path


def annex_b_in_mp4(folder: Path) -> Path:
    """Write an MP4 with start codes instead of the lengths of its NAL units."""
    path = recording(folder, "in.mp4")
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]

    def change(data: bytearray) -> None:
        for begin, size in packets:
            offset = begin
            while offset < begin + size:
                length = int.from_bytes(data[offset : offset + 4])
                data[offset : offset + 4] = b"\0\0\0\1"
                offset += 4 + length

    return patch(path, change)


def hidden_vp8(folder: Path) -> Path:
    """Write a WebM with a hidden copy of every tenth frame before the frame, at the same time."""
    plain = recording(folder, "plain.webm", codec="libvpx", options=VP8, sound=(Sound("libopus"),))
    with av.open(str(plain)) as given, av.open(str(folder / "in.webm"), "w") as made:
        copied = {stream.index: made.add_stream_from_template(stream) for stream in given.streams}
        for number, packet in enumerate(packet for packet in given.demux() if packet.size):
            packet.stream = copied[packet.stream_index]
            if packet.stream.type == "video" and number % 10 == 4:
                data = bytearray(bytes(packet))
                data[0] &= ~0x10  # show_frame
                hidden = av.Packet(bytes(data))
                hidden.pts, hidden.dts, hidden.time_base = packet.pts, packet.dts, packet.time_base
                hidden.stream, hidden.is_keyframe = packet.stream, packet.is_keyframe
                made.mux(hidden)
            made.mux(packet)
    return folder / "in.webm"
