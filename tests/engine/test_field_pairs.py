"""Test that the two fields of a frame count as one frame, also if they are two packets."""

from collections.abc import Callable
from pathlib import Path

import pytest

from defacer.engine.media.clock.clock_scan import examine_video
from defacer.engine.media.clock.clocked_source import ClockedSource
from defacer.engine.media.clock.packet_clock import demux
from defacer.engine.media.reader import open_video, read_frames
from defacer.engine.media.source_audit import SourceAudit
from tests.inputs.field_files import FRAMES, fields_with_one_time, fields_with_own_times, raw_fields
from tests.inputs.write_video import Video, write

FILES = [raw_fields, fields_with_one_time, fields_with_own_times]


@pytest.mark.parametrize("make", FILES)
def test_two_fields_are_one_frame(make: Callable[[Path], Path], tmp_path: Path) -> None:
    path = str(make(tmp_path))
    info = examine_video(path)
    source = ClockedSource(path, info.clock)
    with open_video(source) as (container, picture):
        audit = SourceAudit(container, picture, info.clock)
        for packet in demux(container, picture, info.clock):
            audit.add_packet(packet)
        end = audit.picture_end
    times = [frame.pts for frame in read_frames(source)]
    assert sorted(audit.frame_times) == times
    base, start = info.time_base, times[0] or 0
    assert [round(((time or 0) - start) * base * 25) for time in times] == list(range(FRAMES))
    assert float((end - start) * base) == pytest.approx(FRAMES / 25)
    assert info.duration_seconds == pytest.approx(FRAMES / 25, abs=0.001)


@pytest.mark.parametrize("make", FILES)
def test_segment_begins_with_the_same_frames(make: Callable[[Path], Path], tmp_path: Path) -> None:
    path = str(make(tmp_path))
    source = ClockedSource(path, examine_video(path).clock)
    frames = [(frame.pts, frame.to_ndarray(format="gray").mean()) for frame in read_frames(source)]
    later = [
        (frame.pts, frame.to_ndarray(format="gray").mean()) for frame in read_frames(source, frames[23][0])
    ]
    assert later == frames[23:]


def test_interlaced_frames_stay_frames(tmp_path: Path) -> None:
    options = (("preset", "ultrafast"), ("x264-params", "tff=1"))
    path = write(tmp_path / "in.ts", Video(options=options, sound=(), seconds=1))
    info = examine_video(str(path))
    assert len(list(read_frames(ClockedSource(str(path), info.clock)))) == 25
