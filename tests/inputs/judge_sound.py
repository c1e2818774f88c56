"""Judge converted sound by ffmpeg, which does not use De-facer's libraries: its place in time, and its samples."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

RATE = 48_000
SYNC_SECONDS = 0.005
MIN_CORRELATION = 0.98
LENGTH_SECONDS = (
    0.1  # a packet of AAC at 8 kHz lasts 0.13 s, and FFmpeg 5.1 plays the padding of the last one
)
LOSSLESS = ("pcm_s16le", "pcm_s16be", "flac")
MAX_LOSSLESS_ERROR = 2**-23  # half a step of 24 bits is the rounding of floating point

Samples = NDArray[np.float32]


def judge_converted_sound(source: Path, result: Path, *, has_gap: bool) -> str:
    """Require each track of the result at the place of its source, and return their formats.

    Languages and numbers of channels must be the same. Tracks that ffmpeg can't decode are not in the result. With
    `has_gap`, the result has more samples than the source: those of the silence.
    """
    if shutil.which("ffmpeg") is None:  # a test in test_rows.py is skipped with a hint
        return "sound not judged"
    before, after = _describe(source), _describe(result)
    assert [track["channels"] for track in before.sound] == [track["channels"] for track in after.sound]
    languages = [[track.get("tags", {}).get("language", "und") for track in d.sound] for d in (before, after)]
    assert languages[0] == languages[1]
    for number, track in enumerate(after.sound):
        one, other = _decode(source, number), _decode(result, number)
        assert abs(len(one) - len(other)) / RATE < LENGTH_SECONDS
        half = len(one) // 2  # a gap in the middle moves the second half only
        for part in (slice(0, half), slice(half, None)):
            lag, alike = _compare(one[part], other[part])
            lag -= after.picture_start - before.picture_start
            assert abs(lag) < SYNC_SECONDS, f"sound track {number + 1} is {lag:.4f} s late"
            assert alike > MIN_CORRELATION, f"sound track {number + 1} correlates by {alike:.3f}"
        if track["codec_name"] in LOSSLESS and not has_gap:
            exact = [_decode(path, number, raw=True) for path in (source, result)]
            assert len(exact[0]) == len(exact[1])
            assert np.abs(exact[0] - exact[1]).max() <= MAX_LOSSLESS_ERROR
    return " and ".join(f"{track['codec_name']} in sync" for track in after.sound)


class _Description:
    """The decodable sound tracks of a file, and the time of its first frame after its first packet."""

    def __init__(self, found: dict[str, Any]):
        self.sound = [
            stream
            for stream in found["streams"]
            if stream["codec_type"] == "audio" and stream.get("codec_name", "unknown") != "unknown"
        ]
        picture = next(stream for stream in found["streams"] if stream["codec_type"] == "video")
        self.picture_start = float(picture["start_time"]) - float(found["format"]["start_time"])


def _describe(path: Path) -> _Description:
    command = ["ffprobe", "-v", "error", "-of", "json", "-show_streams", "-show_format", str(path)]
    return _Description(json.loads(subprocess.run(command, capture_output=True, check=True).stdout))


def _decode(path: Path, number: int, *, raw: bool = False) -> Samples:
    """Return the samples of a track, mixed to one channel at 48 kHz with its gaps; or with `raw` as they are."""
    whole = ["-af", "aresample=async=1:first_pts=0:min_hard_comp=0.004", "-ac", "1", "-ar", str(RATE)]
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-map", f"0:a:{number}", *([] if raw else whole)]
    done = subprocess.run([*command, "-f", "f32le", "-"], capture_output=True, check=True)
    return np.frombuffer(done.stdout, np.float32)


def _compare(one: Samples, other: Samples) -> tuple[float, float]:
    """Return by how many seconds the other sound is later, and their correlation there."""
    size = 1 << (len(one) + len(other)).bit_length()
    product = np.fft.rfft(other, size) * np.conj(np.fft.rfft(one, size))
    likeness = np.fft.irfft(product, size)
    place = int(np.argmax(likeness))
    energy = float(np.sqrt(np.sum(one**2) * np.sum(other**2)))
    return (place - size if place > size // 2 else place) / RATE, float(likeness[place]) / energy
