"""Test damaged packets: refused by default, black by policy, in the same way in every segment."""

import shutil
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from defacer.engine.errors import VideoError
from defacer.engine.media.reader import read_frames
from tests.clips import Clip, frame_times, write_clip
from tests.inputs.write_video import Video, write

CLIP = Clip(seconds=4, size=(640, 360), keyframe_seconds=0.8, b_frames=2, audio=False)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "sound.mp4", CLIP)


@pytest.fixture(scope="module")
def intact(sound: Path) -> dict[int, np.ndarray]:
    return pictures(sound, past_damage=False)


def write_damaged(sound: Path, folder: Path, number: int, seed: int) -> Path:
    """Write the clip with 30 random bytes in the packet of that number."""
    path = Path(shutil.copy(sound, folder / "in.mp4"))
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][number]
        place, size = packet.pos, packet.size
    data = bytearray(path.read_bytes())
    random = np.random.default_rng(seed)
    start = place + 8 + int(random.integers(0, max(1, size - 48)))
    data[start : start + 30] = random.integers(0, 256, 30, dtype=np.uint8).tobytes()
    path.write_bytes(bytes(data))
    return path


def pictures(
    path: Path, past_damage: bool, start: int | None = None, end: int | None = None
) -> dict[int, np.ndarray]:
    return {
        frame.pts or 0: frame.to_ndarray(format="gray")
        for frame in read_frames(str(path), start, end, [] if past_damage else None)
    }


@pytest.mark.parametrize("number", [0, 20, 47, 99])
@pytest.mark.parametrize("seed", range(4))
def test_each_frame_is_intact_or_black(
    sound: Path, intact: dict[int, np.ndarray], tmp_path: Path, number: int, seed: int
) -> None:
    path = write_damaged(sound, tmp_path, number, seed)
    found = pictures(path, past_damage=True)
    assert list(found) == list(intact)
    black = {pts for pts, picture in found.items() if picture.max() < 24}
    assert len(black) <= 24  # the group of pictures, and the frames that depend on it
    traces = {
        pts for pts in found if pts not in black and np.abs(found[pts].astype(int) - intact[pts]).mean() > 4
    }
    assert not traces
    if black:
        with pytest.raises(VideoError, match="damaged"):
            pictures(path, past_damage=False)


def test_segments_have_the_black_frames_of_the_whole_file(sound: Path, tmp_path: Path) -> None:
    path = write_damaged(sound, tmp_path, 47, 1)
    whole = pictures(path, past_damage=True)
    times = frame_times(sound)
    bounds = [None, times[30], times[48], times[52], times[75], None]
    parts: dict[int, np.ndarray] = {}
    for start, end in pairwise(bounds):
        parts |= pictures(path, True, start, end)
    assert list(parts) == list(whole)
    assert [pts for pts in whole if whole[pts].max() < 24] == [pts for pts in parts if parts[pts].max() < 24]


def test_intact_video_has_no_black_frame(sound: Path, intact: dict[int, np.ndarray]) -> None:
    past = pictures(sound, True)
    assert list(intact) == list(past)
    assert all((intact[pts] == past[pts]).all() for pts in intact)


def test_video_without_a_decodable_frame_is_refused(sound: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(sound, tmp_path / "in.mp4"))
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        for packet in container.demux(video=0):
            if packet.size:
                data[packet.pos + 4 : packet.pos + packet.size] = bytes(packet.size - 4)
    path.write_bytes(bytes(data))
    with pytest.raises(VideoError):
        pictures(path, past_damage=True)


def test_intact_hevc_transport_stream_has_no_black_frame(tmp_path: Path) -> None:
    """A seek in it ends between two key frames. They are further apart than the search for damage goes back."""
    parameters = "log-level=error:keyint=40:min-keyint=40:scenecut=0"
    video = Video(
        codec="libx265",
        size=(128, 96),
        rate=2,
        seconds=30,
        options=(("preset", "ultrafast"), ("x265-params", parameters)),
        sound=(),
    )
    path = write(tmp_path / "in.ts", video)
    times = frame_times(path)
    for first in range(20, 60, 5):
        black: list[int] = []
        shown = [frame.pts for frame in read_frames(str(path), times[first], None, black)]
        assert (shown, black) == (times[first:], [])
        assert [frame.pts for frame in read_frames(str(path), times[first])] == times[first:]
