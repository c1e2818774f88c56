"""Test real clips whose edit lists hide frames: the result has none of these frames."""

import os
from pathlib import Path

import av
import pytest

from defacer.engine.engine import Engine
from defacer.engine.options import Options
from tests.inputs.run_engine import deface


@pytest.mark.slow
@pytest.mark.parametrize(("name", "stored", "hidden"), [("c01", 356, 108), ("c08", 277, 37)])
def test_frames_that_an_edit_list_hides_never_appear(
    name: str, stored: int, hidden: int, tmp_path: Path
) -> None:
    if "DEFACER_EVAL" not in os.environ:
        pytest.skip("DEFACER_EVAL does not name the folder with real clips")
    source, out = Path(os.environ["DEFACER_EVAL"]) / "clips" / f"{name}.mp4", tmp_path / "out.mp4"
    deface(Engine(), source, out, Options(), 4.0)
    with av.open(str(source)) as container:
        assert sum(bool(packet.size) for packet in container.demux(video=0)) == stored
    with av.open(str(out)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    assert len(packets) == stored - hidden
    assert not any(packet.is_discard for packet in packets)
    with av.open(str(source)) as given, av.open(str(out)) as made:
        times = [[frame.time for frame in container.decode(video=0)] for container in (given, made)]
    assert times[1] == pytest.approx(times[0], abs=1e-6)
