"""Test that a faststart MP4 written without seeking has the contents of FFmpeg's own file."""

import io
import struct
from pathlib import Path
from typing import BinaryIO

import av
import pytest

from defacer.engine.errors import CheckError
from defacer.engine.media.mp4.faststart import FaststartWriter
from tests.clips import Clip, write_clip


@pytest.fixture(scope="module", params=[1, 8])
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a clip that FFmpeg writes at once, or in several writes."""
    return write_clip(
        tmp_path_factory.mktemp("index") / "in.mp4", Clip(seconds=request.param, size=(640, 360))
    )


class AppendOnlyStream(io.RawIOBase, BinaryIO):
    """A stream without seeking, such as an upload."""

    def __init__(self) -> None:
        super().__init__()
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.data += data
        return len(data)


def copy(source: Path, target: object, **options: str) -> None:
    with av.open(str(source)) as given, av.open(target, "w", format="mp4", options=options) as made:
        streams = {stream.index: made.add_stream_from_template(stream) for stream in given.streams}
        for packet in given.demux():
            if packet.size:
                packet.stream = streams[packet.stream_index]
                made.mux(packet)


def packets(file: object) -> list[tuple[int, int | None, int | None, bytes]]:
    with av.open(file) as container:
        return [(p.stream_index, p.pts, p.dts, bytes(p)) for p in container.demux() if p.size]


def test_index_is_first_and_packets_equal_those_of_ffmpeg(source: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.mp4"
    copy(source, str(own), movflags="faststart")
    body = AppendOnlyStream()
    out = FaststartWriter(body)
    copy(source, out)
    data = out.head() + bytes(body.data)
    assert data.index(b"moov") < data.index(b"mdat")
    assert packets(io.BytesIO(data)) == packets(str(own))
    assert len(data) == pytest.approx(own.stat().st_size, abs=64)


def test_unfinished_file_has_no_head() -> None:
    out = FaststartWriter(AppendOnlyStream())
    out.write(struct.pack(">I4s4s", 12, b"ftyp", b"isom") + struct.pack(">I4s", 0, b"mdat") + b"samples")
    with pytest.raises(CheckError, match="does not fit"):
        out.head()


@pytest.mark.parametrize(("last", "kind"), [(1000, b"stco"), (2**32 - 30, b"co64")])
def test_offsets_beyond_four_gigabytes_get_64_bits(last: int, kind: bytes) -> None:
    """The second of two handwritten sample offsets needs more than 32 bits after it is moved."""
    table = struct.pack(">I4sIIII", 24, b"stco", 0, 2, 100, last)
    index = table
    for name in (b"stbl", b"minf", b"mdia", b"trak", b"moov"):
        index = struct.pack(">I4s", 8 + len(index), name) + index
    body = AppendOnlyStream()
    out = FaststartWriter(body)
    out.write(struct.pack(">I4s4s", 12, b"ftyp", b"isom") + struct.pack(">I4s", 8 + 7, b"mdat") + b"samples")
    out.write(index)
    head = out.head()
    distance = len(head) - 12 - 8  # the size of the index before the samples
    place = head.index(kind)
    read = ">II" if kind == b"stco" else ">QQ"
    assert struct.unpack_from(read, head, place + 12) == (100 + distance, last + distance)
    assert head.endswith(struct.pack(">I4s", 15, b"mdat"))
    assert bytes(body.data) == b"samples"
