"""Test that a GPU leads to the same decisions as the CPU. The tests are skipped on a machine without a GPU."""

from pathlib import Path

import av
import numpy as np
import pytest

from defacer.engine.engine import Engine
from defacer.engine.errors import GpuError
from defacer.engine.media.reader import Segment
from defacer.engine.models import centerface, sface
from defacer.engine.options import Options
from defacer.engine.recognition.gallery import Gallery, Picture
from defacer.engine.rendering.redact_segment import redact_segment
from defacer.engine.runtime import gpu, torch_package
from defacer.engine.tracking.linking import link_faces
from defacer.report.faces import Faces
from defacer_emulator.demo.demo_clip import write_target_picture
from tests.clips import frame_times


@pytest.mark.skipif(not gpu.has_cuda(), reason="this machine has no CUDA device")
def test_gpu_decides_like_the_cpu(demo_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def decide() -> Faces:
        engine = Engine()
        picture = tmp_path / "astronaut.png"
        write_target_picture(picture)
        gallery: Gallery = engine.gallery([Picture("a", "a", picture.read_bytes())], "sface")
        return link_faces(
            [engine.detect_segment(Segment(str(demo_clip)), gallery, Options())], gallery, Options()
        )

    on_gpu = decide()
    written = redact_segment(Segment(str(demo_clip)), on_gpu, str(tmp_path / "gpu.nut"), Options())
    assert list(written.frames) == frame_times(demo_clip)
    with av.open(str(tmp_path / "gpu.nut")) as container:
        assert container.streams.video[0].codec_context.name == "h264"

    for module in (centerface, sface):
        monkeypatch.setattr(module, "has_cuda", lambda: False)
    on_cpu = decide()

    assert [t.decision for t in on_gpu.tracks] == [t.decision for t in on_cpu.tracks]
    for one, other in zip(on_gpu.tracks, on_cpu.tracks, strict=True):
        assert one.distance == pytest.approx(other.distance, abs=0.05)
        assert np.abs(np.subtract(one.detections[0].box, other.detections[0].box)).max() < 8


@pytest.mark.parametrize(
    ("built_for", "driver", "expected"),
    [
        ("12.6", 12020, None),  # any 12 on any 12
        ("12.6", 13000, None),
        ("13.2", 13000, None),
        (
            "13.0",
            12020,
            "built for CUDA 13.0, but the NVIDIA driver runs CUDA 12.2 at most. Install a PyTorch",
        ),
        ("13.0", None, "no NVIDIA driver is installed. Use a machine"),
        (None, 12020, "built without CUDA"),
    ],
)
def test_pytorch_that_the_driver_can_not_run_is_reported(
    built_for: str | None, driver: int | None, expected: str | None
) -> None:
    found = gpu.find_incompatibility(built_for, driver)
    assert (found is None) == (expected is None)
    if found and expected:
        assert expected in found
        assert found.endswith(".")


@pytest.mark.parametrize(
    ("driver", "has_torch", "has_cuda", "expected"),
    [
        (None, True, False, "no NVIDIA driver, so the models run on the CPU"),
        (12020, True, True, "NVIDIA driver for CUDA 12.2, used for the models, not for video"),
        (12020, True, False, "NVIDIA driver for CUDA 12.2, PyTorch can't use it"),
        (13000, False, False, "NVIDIA driver for CUDA 13.0, not used, because PyTorch is missing"),
    ],
)
def test_use_of_the_gpu_is_described(
    driver: int | None, has_torch: bool, has_cuda: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """These machines can't be had here, so their facts are given."""
    monkeypatch.setattr(gpu, "driver_version", lambda: driver)
    monkeypatch.setattr(gpu, "has_cuda", lambda: has_cuda)
    monkeypatch.setattr(torch_package, "is_installed", lambda: has_torch)
    assert gpu.describe().startswith(expected)


def test_required_gpu_that_is_missing_is_reported() -> None:
    if gpu.has_cuda():
        gpu.require_gpu()
    else:
        with pytest.raises(GpuError, match="PyTorch"):
            gpu.require_gpu()


def test_warm_up_loads_the_default_models() -> None:
    engine = Engine()
    engine.preload_models(Options())
    assert engine.detector("centerface") is engine.detector("centerface")
    assert (list(engine._detectors), list(engine._recognizers)) == (["centerface"], ["sface"])
