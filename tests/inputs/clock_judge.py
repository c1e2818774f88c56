"""Judge a result whose times were corrected: against the known times of its frames, and against ffprobe."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import Any

import av
import numpy as np

from tests.inputs.rows import Row

TIME_SECONDS = 0.0011  # a frame with the time of another one moves by a tick
SYNC_SECONDS = 0.02
MIN_PSNR = 35.0  # dB of the luma
BLACK = 24


def judge_corrected(row: Row, source: Path, result: Path, dropped: tuple[str, ...]) -> str:
    """Raise AssertionError if the result is not as expected. Return its description for the table."""
    shifts = _judge_frames(row, source, result)
    count = _judge_sound(source, result, shifts)
    _judge_by_ffprobe(row, result)
    assert dropped == row.dropped
    parts = [f"{len(row.times or ())} frames, {count} sound packets"]
    if row.black:
        parts.append(f"{len(row.black)} of the frames black")
    for action, texts in (("corrected", row.corrected), ("dropped", row.dropped)):
        if texts:
            parts.append(f"{action}: {', '.join(texts)}")
    return ", ".join(parts)


def _judge_frames(row: Row, source: Path, result: Path) -> list[float]:
    """Require the frames that the decoder shows, in its order, at the times of the row. Return how far each moved."""
    expected, shifts, first = row.times or (), [], None
    for number, (before, after) in enumerate(zip_longest(_shown(source), _shown(result))):
        assert before is not None, f"frame {number} is not in the source"
        assert after is not None, f"frame {number} is missing"
        first = after.time if first is None else first
        assert abs(after.time - first - expected[number]) < TIME_SECONDS, f"frame {number} is at {after.time}"
        if before.time is not None:
            shifts.append(after.time - before.time)
        found = after.to_ndarray(format="gray").astype(np.float32)
        if row.black and number in row.black:
            assert found.max() < BLACK, f"frame {number} is not black"
            continue
        error = float(np.mean((before.to_ndarray(format="gray") - found) ** 2))
        assert 10 * np.log10(255**2 / max(error, 1e-9)) >= MIN_PSNR, f"frame {number} is another one"
    assert number + 1 == len(expected)
    # The first frame of an AVI is displayed at the first decode time.
    return [first or 0.0] if source.suffix == ".avi" else shifts


def _shown(path: Path) -> Iterator[Any]:
    with av.open(str(path)) as container:
        for packet in container.demux(video=0):
            try:
                yield from packet.decode()
            except av.error.InvalidDataError:
                continue


def _judge_sound(source: Path, result: Path, shifts: list[float]) -> int:
    """Require one run of the source's packets, each moved as far as the picture. Return their number."""
    before, after = _sound(source), _sound(result)
    data = [packet for _, packet in after]
    begin = next(
        (n for n in range(len(before) - len(data) + 1) if [p for _, p in before[n : n + len(data)]] == data),
        None,
    )
    assert begin is not None, "the sound is another one"
    moved = np.array(sorted(shifts))
    for (one, _), (other, _) in zip(before[begin:], after, strict=False):
        assert np.abs(moved - (other - one)).min() <= SYNC_SECONDS, f"sound at {other:.3f} s is out of sync"
    assert all(one < other for (one, _), (other, _) in pairwise(after))
    return len(after)


def _sound(path: Path) -> list[tuple[float, bytes]]:
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return []
        packets = [packet for packet in container.demux(audio=0) if packet.size and packet.pts is not None]
        return [(float(packet.pts * packet.time_base), _payload(packet)) for packet in packets]


def _payload(packet: Any) -> bytes:
    data = bytes(packet)
    is_adts = packet.stream.codec_context.name == "aac" and data[:1] == b"\xff" and data[1] & 0xF6 == 0xF0
    return data[7 if data[1] & 1 else 9 :] if is_adts else data


def _judge_by_ffprobe(row: Row, result: Path) -> None:
    if not shutil.which("ffprobe"):  # without it, a test in test_rows.py is skipped with a hint
        return
    entries = "stream=nb_read_frames,duration,r_frame_rate:stream_disposition="
    command = ["ffprobe", "-v", "warning", "-count_frames", "-select_streams", "v", "-of", "json"]
    done = subprocess.run(
        [*command, "-show_entries", entries, str(result)], capture_output=True, text=True, check=True
    )
    assert not done.stderr
    (stream,) = json.loads(done.stdout)["streams"]
    times = row.times or ()
    assert int(stream["nb_read_frames"]) == len(times)
    usual = float(np.median(np.diff(times)))
    assert abs(float(stream["duration"]) - (times[-1] + usual)) < usual / 2
