"""With a GPU the same decisions come out. Skipped where there is none."""

from pathlib import Path

import av
import numpy as np
import pytest

from defacer.engine.engine import Engine
from defacer.engine.errors import GpuError
from defacer.engine.media import reader, segment_writer
from defacer.engine.media.reader import Segment
from defacer.engine.models import detector, gpu, recognizer
from defacer.engine.options import Options
from defacer.engine.recognition.gallery import Gallery, Picture
from defacer.engine.rendering.redact_segment import redact_segment
from defacer.engine.tracking.linking import link
from defacer.report.faces import Faces
from defacer_emulator.demo.demo_clip import write_target_picture
from tests.clips import frame_times


def test_without_a_gpu_nothing_is_asked_for() -> None:
    if gpu.has_cuda():
        pytest.skip("this machine has a CUDA device")
    assert gpu.hardware_decoder() is None
    assert not gpu.can_encode(640, 360, "yuv420p")


@pytest.mark.skipif(not gpu.has_cuda(), reason="this machine has no CUDA device")
def test_the_gpu_decides_as_the_processor_does(
    demo_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look() -> Faces:
        engine = Engine()
        picture = tmp_path / "astronaut.png"
        write_target_picture(picture)
        gallery: Gallery = engine.gallery([Picture("a", "a", picture.read_bytes())], "sface")
        return link([engine.find(Segment(str(demo_clip)), gallery, Options())], gallery, Options())

    on_gpu = look()
    frames = redact_segment(Segment(str(demo_clip)), on_gpu, str(tmp_path / "gpu.nut"), Options())
    assert list(frames) == frame_times(demo_clip)
    with av.open(str(tmp_path / "gpu.nut")) as container:
        assert container.streams.video[0].codec_context.name == "h264"

    for module in (detector, recognizer):
        monkeypatch.setattr(module, "has_cuda", lambda: False)
    monkeypatch.setattr(reader, "hardware_decoder", lambda: None)
    monkeypatch.setattr(segment_writer, "can_encode", lambda *_: False)
    on_processor = look()

    assert [t.decision for t in on_gpu.tracks] == [t.decision for t in on_processor.tracks]
    for one, other in zip(on_gpu.tracks, on_processor.tracks, strict=True):
        assert one.distance == pytest.approx(other.distance, abs=0.05)
        assert np.abs(np.subtract(one.detections[0].box, other.detections[0].box)).max() < 8


@pytest.mark.parametrize(
    ("built_for", "driver", "said"),
    [
        ("12.6", 12020, None),  # any 12 on any 12
        ("12.6", 13000, None),
        ("13.2", 13000, None),
        (
            "13.0",
            12020,
            "built for CUDA 13.0, but the NVIDIA driver here runs CUDA 12.2 at most: take a PyTorch",
        ),
        ("13.0", None, "no NVIDIA driver"),
        (None, 12020, "built for no GPU"),
    ],
)
def test_a_pytorch_that_the_driver_can_t_run_is_told_in_one_sentence(
    built_for: str | None, driver: int | None, said: str | None
) -> None:
    found = gpu.problem_of(built_for, driver)
    assert (found is None) == (said is None)
    if found and said:
        assert said in found
        assert found.count(". ") == 0
        assert found.endswith(".")


def test_where_a_gpu_is_asked_for_and_there_is_none_it_is_said() -> None:
    if gpu.has_cuda():
        gpu.require_gpu()
    else:
        with pytest.raises(GpuError, match="PyTorch"):
            gpu.require_gpu()


def test_warmed_up_the_models_are_loaded() -> None:
    engine = Engine()
    engine.warm_up(Options())
    assert engine.detector("centerface") is engine.detector("centerface")
    assert (list(engine._detectors), list(engine._recognizers)) == (["centerface"], ["sface"])
