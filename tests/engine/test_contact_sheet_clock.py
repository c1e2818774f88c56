"""Test that the faces of a video whose times are corrected are cut from the right frames."""

from pathlib import Path

import numpy as np

from defacer.engine.media.clock.clock_scan import examine_video
from defacer.engine.media.clock.clocked_source import ClockedSource
from defacer.engine.media.reader import read_frames
from defacer.engine.rendering.contact_sheet import cut_faces
from defacer.report.face_views import FaceView
from tests.inputs import clock_files


def test_face_after_a_restart_is_cut_from_its_frame(tmp_path: Path) -> None:
    path = str(clock_files.flv_with_restart(tmp_path))
    source = ClockedSource(path, examine_video(path).clock)
    wanted = list(read_frames(source))[45]
    assert wanted.pts is not None
    (face,) = cut_faces(source, [FaceView(0, wanted.pts, (0.0, 0.0, 100.0, 100.0))], 0.0)
    expected = wanted.to_ndarray(format="rgb24")[:100, :100]
    assert np.abs(face.astype(int) - expected.astype(int)).mean() < 1
