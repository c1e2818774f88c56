"""Test that a header with an absurd claim is refused before memory is allocated for it."""

import io
import struct
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from defacer.engine.errors import VideoError
from defacer.engine.media.mp4.sample_count_check import MAX_SAMPLES, require_plausible_sample_count
from defacer.engine.media.reader import MAX_PIXELS, read_video_info
from tests.clips import Clip, write_clip
from tests.hostile import avi_that_claims_size, mp4_that_claims_frames, uncompressed_avi
from tests.servers import ROOT

MAX_GROWTH = 64 * 1024  # KiB


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("claims") / "clip.mp4", Clip(seconds=1))


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def nested(kind: bytes, depth: int) -> bytes:
    data = b""
    for _ in range(depth):
        data = box(kind, data)
    return data


def track(handler: bytes, delta: int, samples: int, entries: int = 1, data: bytes = b"") -> bytes:
    times = box(b"stts", struct.pack(">IIII", 0, entries, samples, delta))
    sizes = box(b"stsz", struct.pack(">III", 0, 4, samples))
    handling = box(b"hdlr", bytes(8) + handler + bytes(12))
    return box(b"trak", box(b"mdia", handling + box(b"minf", data + box(b"stbl", times + sizes))))


@pytest.mark.parametrize("count", [2**31, 2**32 - 1, 178_000_000, MAX_SAMPLES + 1])
def test_mp4_that_claims_billions_of_frames_is_refused(count: int, clip: Path) -> None:
    with pytest.raises(VideoError, match=f"claims {count} frames in one track"):
        read_video_info(io.BytesIO(mp4_that_claims_frames(clip, count)))


def test_refusing_an_absurd_claim_needs_little_memory(clip: Path, tmp_path: Path) -> None:
    """FFmpeg allocates 5 GB for 178 million frames, and refuses more by itself."""
    file = tmp_path / "claims.mp4"
    file.write_bytes(mp4_that_claims_frames(clip, 178_000_000))
    code = (
        "import resource, sys; from defacer.engine.media.reader import read_video_info\n"
        "from defacer.engine.errors import VideoError\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak()\n"
        "try: read_video_info(sys.argv[1])\n"
        "except VideoError: print(peak() - before)\n"
    )
    command = [sys.executable, "-c", code, str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) < MAX_GROWTH


def test_fragment_that_claims_billions_of_frames_is_refused() -> None:
    run = box(b"trun", struct.pack(">II", 0, 2**31))
    data = box(b"ftyp", b"iso5") + box(b"moov", b"") + box(b"moof", box(b"traf", run))
    with pytest.raises(VideoError, match="claims 2147483648 frames"):
        require_plausible_sample_count(io.BytesIO(data))


# A QuickTime file has a handler for its data in addition to the handler of its media.
DATA_HANDLER = box(b"hdlr", bytes(4) + b"dhlralis" + bytes(12))


@pytest.mark.parametrize(
    ("moov", "refused"),
    [
        (track(b"soun", 1, 11_040_000, data=DATA_HANDLER), False),
        (track(b"soun", 1024, MAX_SAMPLES + 1, data=DATA_HANDLER), True),
        (track(b"vide", 1, MAX_SAMPLES + 1, data=box(b"hdlr", bytes(8) + b"soun" + bytes(12))), True),
        (track(b"soun", 1, 4 * 10**9), False),  # uncompressed sound: a day of it
        (track(b"soun", 1024, 4 * 10**9), True),
        (track(b"soun", 1, 4 * 10**9, entries=2), True),
        (track(b"vide", 1, 4 * 10**9), True),
        (track(b"soun", 1, 4 * 10**9) + track(b"vide", 1, MAX_SAMPLES), False),
        (track(b"soun", 1, 4 * 10**9) + track(b"vide", 1, MAX_SAMPLES + 1), True),
        (track(b"vide", 1, MAX_SAMPLES + 1) + track(b"soun", 1, 7), True),
        (nested(b"trak", 2_000), True),
        (box(b"free", b"") * 20_000, True),
    ],
)
def test_sample_counts_are_limited_by_kind_of_track(moov: bytes, refused: bool) -> None:
    file = io.BytesIO(box(b"ftyp", b"isom") + box(b"moov", moov))
    if refused:
        with pytest.raises(VideoError, match="Export the video again"):
            require_plausible_sample_count(file)
    else:
        require_plausible_sample_count(file)


def test_mov_with_long_pcm_sound_is_accepted(tmp_path: Path) -> None:
    """Ten million samples of sound at 8 bits and 192 kHz last 53 s and are 10 MB."""
    path = tmp_path / "in.mov"
    with av.open(str(path), "w") as out:
        picture = out.add_stream("libx264", rate=1, options={"preset": "ultrafast"})
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        sound = out.add_stream("pcm_u8", rate=192_000, layout="mono")
        for second in range(MAX_SAMPLES // 192_000 + 2):
            frame = av.VideoFrame(64, 48, "yuv420p")
            frame.pts, frame.time_base = second, Fraction(1)
            out.mux(picture.encode(frame))
            frame_of_sound = av.AudioFrame.from_ndarray(np.zeros((1, 192_000), np.uint8), "u8", "mono")
            frame_of_sound.sample_rate, frame_of_sound.pts, frame_of_sound.time_base = (
                192_000,
                second * 192_000,
                Fraction(1, 192_000),
            )
            out.mux(sound.encode(frame_of_sound))
        out.mux(picture.encode(None))
    assert path.read_bytes().count(b"hdlr") == 4
    assert read_video_info(str(path)).duration_seconds == MAX_SAMPLES // 192_000 + 2


@pytest.mark.parametrize("size", [(100_000, 100_000), (2**31 - 1, 2**31 - 1), (8_193, 8_192), (0, 0)])
def test_frame_that_claims_too_many_pixels_is_refused(size: tuple[int, int], tmp_path: Path) -> None:
    avi = avi_that_claims_size(uncompressed_avi(tmp_path / "small.avi"), *size)
    with pytest.raises(VideoError):
        read_video_info(io.BytesIO(avi))


def test_message_about_a_large_frame_states_the_limit(tmp_path: Path) -> None:
    avi = avi_that_claims_size(uncompressed_avi(tmp_path / "small.avi"), 100_000, 100_000)
    with pytest.raises(VideoError, match=f"no picture size, or more than {MAX_PIXELS} pixels"):
        read_video_info(io.BytesIO(avi))


@pytest.mark.parametrize("size", range(4, 24))
@pytest.mark.parametrize("kind", [b"stts", b"stsz", b"stsd", b"elst", b"mdhd", b"tkhd", b"hdlr", b"mvhd"])
def test_box_that_ends_anywhere_is_refused(kind: bytes, size: int) -> None:
    inner = box(kind, bytes(range(size)))
    media = box(b"mdia", inner + box(b"minf", box(b"stbl", inner)))
    header = box(b"moov", inner + box(b"trak", inner + box(b"edts", inner) + media))
    with pytest.raises(VideoError):
        read_video_info(io.BytesIO(box(b"ftyp", b"isom") + header))
