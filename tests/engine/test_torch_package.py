"""Test that a default run on a CPU needs no PyTorch, and that other settings say how to install it."""

import logging
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from defacer.engine.engine import Engine
from defacer.engine.errors import GpuError, MissingPackageError, PictureError
from defacer.engine.models.arrays import Detection, Detector, Image, compute_overlaps
from defacer.engine.models.centerface import CenterFace
from defacer.engine.recognition.target_face import LIKELY_FACE, MAX_SIDE, find_faces, locate_face
from defacer.engine.runtime import gpu, torch_package
from tests.clips import Clip, admiral, astronaut, encode_picture, write_clip
from tests.servers import ROOT

HIDE = f"import sys; sys.modules.update(dict.fromkeys({torch_package.MODULES!r})); "
RUN = "import runpy; runpy.run_module('defacer', run_name='__main__', alter_sys=True)"


@pytest.fixture
def no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the modules of the extra `gpu` look as if they were not installed."""
    for name in torch_package.MODULES:
        monkeypatch.setitem(sys.modules, name, None)


def run(*arguments: str | Path, hidden: bool) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", (HIDE if hidden else "") + RUN, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.slow
def test_default_run_without_pytorch_writes_the_same_bytes(tmp_path: Path) -> None:
    video = write_clip(tmp_path / "in.mp4", Clip(seconds=0.4, portrait=astronaut()))
    target = tmp_path / "ann.png"
    target.write_bytes(encode_picture(astronaut()))
    results = []
    for hidden in (False, True):
        out, report = tmp_path / f"{hidden}.mp4", tmp_path / f"{hidden}.json"
        done = run("run", video, "-o", out, "--keep", target, "--report", report, hidden=hidden)
        assert done.returncode == 0, done.stderr
        results.append((out.read_bytes(), report.read_bytes()))

    assert b'"decision":"keep"' in results[0][1]
    assert results[0] == results[1]


@pytest.mark.parametrize(
    ("setting", "value", "instead"),
    [("detector", "mtcnn", "centerface"), ("recognizer", "facenet-vggface2", "sface")],
)
def test_setting_that_needs_pytorch_says_how_to_install_it(
    setting: str, value: str, instead: str, tmp_path: Path
) -> None:
    (tmp_path / "in.mp4").touch()

    done = run("run", tmp_path / "in.mp4", f"--{setting}", value, hidden=True)

    assert done.returncode == 3
    assert done.stderr == (
        f"error: {setting} {value} needs PyTorch, but torch, torchvision, facenet_pytorch and tensorboard are "
        f"not installed. {torch_package.how_to_install()}, or choose {instead}.\n"
    )


def test_engine_refuses_these_settings_too(no_torch: None) -> None:
    with pytest.raises(MissingPackageError, match=r"Detector mtcnn needs PyTorch.*make torch"):
        Engine().detector("mtcnn")
    with pytest.raises(MissingPackageError, match=r"Recognizer facenet-vggface2 needs PyTorch.*make torch"):
        Engine().recognizer("facenet-vggface2")


def test_driver_without_pytorch_logs_one_warning_and_uses_the_cpu(
    no_torch: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(gpu, "has_driver", lambda: True)
    gpu.has_cuda.cache_clear()
    try:
        with caplog.at_level(logging.WARNING):
            found = [gpu.has_cuda() for _ in range(3)]
        with pytest.raises(GpuError, match=r"PyTorch is not installed.*make torch"):
            gpu.require_gpu()
    finally:
        gpu.has_cuda.cache_clear()

    assert found == [False] * 3
    assert len(caplog.messages) == 1
    assert (
        "An NVIDIA driver is installed, but PyTorch is not installed: the models run on the CPU"
        in caplog.text
    )


class RecordingDetector:
    """A detector that records the width of each picture before it calls another detector."""

    def __init__(self, detector: Detector, calls: list[tuple[str, int]]):
        self.name, self.confident_score = detector.name, detector.confident_score
        self._detector, self._calls = detector, calls

    def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
        self._calls.append((self.name, images[0].shape[1]))
        return self._detector.detect(images)


@pytest.mark.parametrize(
    ("picture", "rows", "columns", "first_detections"),
    [
        (admiral(), slice(149, 315), slice(176, 358), 0),
        (astronaut(), slice(73, 182), slice(102, 190), 2),
    ],
    ids=["no first detection", "two parts first"],
)
def test_face_that_fills_its_picture_is_detected_without_pytorch(
    picture: Image, rows: slice, columns: slice, first_detections: int, no_torch: None
) -> None:
    face = picture[rows, columns]
    scale = MAX_SIDE / face.shape[0]
    image = cv2.resize(face, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    engine = Engine()
    small = cv2.resize(
        image,
        None,
        fx=MAX_SIDE / max(image.shape),
        fy=MAX_SIDE / max(image.shape),
        interpolation=cv2.INTER_AREA,
    ).astype(np.uint8)
    first = CenterFace().detect([small])[0]
    assert len([face for face in first if face.score >= LIKELY_FACE]) == first_detections

    found = locate_face(image, "me.png", engine.detector).face

    whole = np.array([[0, 0, image.shape[1], image.shape[0]]], np.float32)
    assert compute_overlaps(found.box, whole)[0] > 0.8


def test_two_people_that_fill_a_picture_are_two_faces(no_torch: None) -> None:
    left, right = astronaut()[40:260, 50:240], admiral()[60:400, 120:420]
    size = (300, 400)
    picture = np.hstack([cv2.resize(left, size), cv2.resize(right, size)]).astype(np.uint8)

    assert len(find_faces(picture, Engine().detector)) == 2
    with pytest.raises(PictureError, match=r"me\.png shows 2 faces"):
        locate_face(picture, "me.png", Engine().detector)


def test_mtcnn_is_tried_last_and_only_with_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, calls = Engine(), list[tuple[str, int]]()

    def detector_of(name: str) -> Detector:
        return RecordingDetector(engine.detector(name), calls)

    blank = np.full((800, 800, 3), 127, np.uint8)
    assert find_faces(blank, detector_of) == []
    assert calls == [("centerface", 640), ("mtcnn", 640)]
    calls.clear()
    assert len(find_faces(astronaut(), detector_of)) == 1
    assert calls == [("centerface", 300)]
    calls.clear()
    for name in torch_package.MODULES:
        monkeypatch.setitem(sys.modules, name, None)
    assert find_faces(blank, detector_of) == []
    assert calls == [("centerface", 640)]
