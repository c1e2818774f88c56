"""A path is a path. FFmpeg takes the start of names such as `12:30.mp4` for a protocol."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from defacer.engine.media.encoding import encoding_of
from defacer.engine.media.reader import read_frames
from defacer.engine.media.segment_writer import write_segment
from defacer.engine.verification.splicing import Part, splice
from defacer_emulator.demo.picture import read_frame, write_clip


@pytest.mark.parametrize("name", ["12:30.mp4", "http:x.mp4", "file:", "Meeting-2024-01-01T12:30:15.mp4"])
def test_any_relative_path_is_read_and_written(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    clip = Path(f"{name}:.mp4")
    write_clip(clip, [np.zeros((64, 64, 3), np.uint8)] * 5, 0.2, (64, 64), 25)
    shutil.copy(clip, name)
    encoding = encoding_of(name)
    with write_segment(f"{name}.nut", encoding, 18) as writer:
        for frame in read_frames(name):
            writer.write(frame)
    part = Part(0, None, f"{name}.nut", writer.result())
    splice(f"{name}.nut", [part], writer.result(), encoding.time_base, f"{name}:.nut")
    assert len(list(read_frames(f"{name}:.nut"))) == 5
    assert read_frame(Path(name), 0.1).seconds == pytest.approx(0.12)
