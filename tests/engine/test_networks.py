"""However a network is run, it gives what OpenCV makes of the published file, where no code of ours is."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator

from defacer.engine.models import openvino_backend, torch_backend, weights
from defacer.engine.models.arrays import Array, Detection, Image, overlap
from defacer.engine.models.centerface import centerface_faces
from defacer.engine.models.yunet import YuNet
from tests.clips import admiral, astronaut
from tests.servers import ROOT

Network = Callable[[Image], list[Array]]
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")


def pictures() -> Image:
    return np.stack([astronaut()[:288, :288], admiral()[100:388, 120:408]])


def crops() -> Image:
    found = (astronaut()[60:200, 90:230], admiral()[130:335, 160:365], astronaut()[:, :])
    return np.stack([cv2.resize(crop, (160, 160), interpolation=cv2.INTER_AREA) for crop in found])


@pytest.fixture(scope="module")
def centerface() -> list[Array]:
    """What OpenCV computes for `pictures()`."""
    network = cv2.dnn.readNetFromONNX(str(weights.centerface()))
    results = []
    for picture in pictures():
        network.setInput(picture.transpose(2, 0, 1)[None].astype(np.float32))
        results.append(network.forward(network.getUnconnectedOutLayersNames()))
    return [np.concatenate(output) for output in zip(*results, strict=True)]


@pytest.fixture(scope="module")
def facenet() -> Array:
    """What OpenCV computes for `crops()`."""
    network = cv2.dnn.readNetFromTensorflow(str(weights.casia_graph()))
    results = []
    for crop in crops():
        network.setInput(((crop.astype(np.float32) - 127.5) / 128).transpose(2, 0, 1)[None])
        results.append(network.forward().copy())
    return np.concatenate(results)


def aligned() -> Image:
    """Two faces as SFace gets them, (N, 112, 112, 3)."""
    return np.stack([cv2.resize(crop, (112, 112), interpolation=cv2.INTER_AREA) for crop in crops()[:2]])


@pytest.fixture(scope="module")
def sface() -> Array:
    """Return what ONNX's own reference computes for `aligned()` from the published, quantised file."""
    model = onnx.load(weights._fetched(weights.SFACE, None))
    (picture,) = (value for value in model.graph.input if value.name == "data")
    del model.graph.input[:]  # the file lists its weights as inputs, too
    model.graph.input.append(picture)
    network = ReferenceEvaluator(model)
    faces = aligned().transpose(0, 3, 1, 2).astype(np.float32)
    return unit(np.concatenate([network.run(None, {"data": face[None]})[0] for face in faces]))


def unit(vectors: Array) -> Array:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def faces(outputs: list[Array]) -> list[Detection]:
    """The sure faces of all pictures."""
    return [
        face
        for row in range(len(outputs[0]))
        for face in centerface_faces([output[row] for output in outputs], 0.3)
    ]


def assert_same_faces(found: list[Array], expected: list[Array]) -> None:
    """For 16-bit numbers: they may let another cell of a face be its best, which sees the hair a little higher."""
    assert len(faces(expected)) >= 2
    for face, known in zip(faces(found), faces(expected), strict=True):
        assert face.score == pytest.approx(known.score, abs=0.03)
        assert overlap(face.box, known.box[None])[0] > 0.9
        assert np.abs(face.landmarks - known.landmarks).max() < 0.03 * (known.box[2] - known.box[0])


@pytest.mark.parametrize(
    "make",
    [
        lambda path: openvino_backend.CenterFaceNetwork(path, "f32"),
        lambda path: torch_backend.CenterFaceNetwork(path, "cpu"),
    ],
    ids=["openvino", "torch"],
)
def test_centerface_in_float32_is_the_published_file(
    make: Callable[[Path], Network], centerface: list[Array]
) -> None:
    for found, expected in zip(make(weights.centerface())(pictures()), centerface, strict=True):
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() < 1e-4


def test_centerface_as_this_processor_runs_it_finds_the_same_faces(centerface: list[Array]) -> None:
    network = openvino_backend.CenterFaceNetwork(weights.centerface(), openvino_backend.precision())
    assert_same_faces(network(pictures()), centerface)


def test_centerface_takes_more_sizes_than_it_holds() -> None:
    network = openvino_backend.CenterFaceNetwork(weights.centerface(), "f32")
    first = network(pictures())
    for side in range(1, openvino_backend.SIZES_HELD + 1):
        assert network(pictures()[:, : 32 * side, :64])[0].shape == (2, 1, 8 * side, 16)
    assert all((one == other).all() for one, other in zip(network(pictures()), first, strict=True))


def test_facenet_in_float32_is_the_published_graph_in_any_batch(facenet: Array) -> None:
    network = openvino_backend.FaceNetNetwork(weights.casia_graph(), "f32")
    for count in (3, 1, 2):
        assert np.abs(network(crops()[:count]) - facenet[:count]).max() < 1e-5


def test_facenet_as_this_processor_runs_it_gives_nearly_the_same_embeddings(facenet: Array) -> None:
    found = openvino_backend.FaceNetNetwork(weights.casia_graph(), openvino_backend.precision())(crops())
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-3)
    # Strangers begin at 0.6 and more.
    assert np.linalg.norm(found - facenet, axis=1).max() < 0.03


def test_openvino_reports_to_nobody(tmp_path: Path) -> None:
    """Its telemetry is a package of its own, which writes an identifier into the home folder first."""
    code = "import sys, defacer.engine.models.openvino_backend; print(sys.modules['openvino_telemetry'])"
    environment = os.environ | {"HOME": str(tmp_path)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "None"
    assert not list(tmp_path.iterdir())


@needs_cuda
def test_centerface_on_cuda_finds_the_same_faces(centerface: list[Array]) -> None:
    assert_same_faces(torch_backend.CenterFaceNetwork(weights.centerface(), "cuda")(pictures()), centerface)


@needs_cuda
def test_facenet_on_cuda_gives_the_same_embeddings(facenet: Array) -> None:
    network = torch_backend.FaceNetNetwork(weights.facenet("facenet-casia"), "cuda")
    assert np.linalg.norm(network(crops()) - facenet, axis=1).max() < 0.01


THREADS_FIRST_LOOKS = """
import sys, threading, numpy
from pathlib import Path
from defacer.engine.models.openvino_backend import CenterFaceNetwork
network = CenterFaceNetwork(Path(sys.argv[1]), "f32")
network._of_size((64, 64, 3))  # compiled before, so that the threads reach their first request together
sys.setswitchinterval(1e-6)
start = threading.Event()
def look():
    while not start.is_set():
        pass
    network(numpy.zeros((1, 64, 64, 3), numpy.uint8))
threads = [threading.Thread(target=look) for _ in range(6)]
[thread.start() for thread in threads]
start.set()
[thread.join() for thread in threads]
"""


@pytest.mark.parametrize("attempt", range(4))
def test_threads_that_look_for_the_first_time_at_once_do_not_wait_for_each_other(attempt: int) -> None:
    command = [sys.executable, "-c", THREADS_FIRST_LOOKS, str(weights.centerface())]
    subprocess.run(command, cwd=ROOT, check=True, timeout=30)


def test_sface_in_float32_equals_the_published_quantised_file(sface: Array) -> None:
    found = openvino_backend.SFaceNetwork(weights.sface(), "f32")(aligned())
    assert np.abs(unit(found) - sface).max() < 1e-5


def test_sface_in_this_machines_precision_moves_no_face_far(sface: Array) -> None:
    found = openvino_backend.SFaceNetwork(weights.sface(), openvino_backend.precision())(aligned())
    assert np.linalg.norm(unit(found) - sface, axis=1).max() < 0.05


def test_sface_in_pytorch_equals_the_published_quantised_file(sface: Array) -> None:
    found = torch_backend.SFaceNetwork(weights.sface(), "cpu")(aligned())
    assert np.abs(unit(found) - sface).max() < 1e-5


@needs_cuda
def test_sface_on_cuda_equals_the_published_quantised_file(sface: Array) -> None:
    found = torch_backend.SFaceNetwork(weights.sface(), "cuda")(aligned())
    assert np.linalg.norm(unit(found) - sface, axis=1).max() < 0.01


@pytest.mark.parametrize("size", [(320, 320), (352, 288), (640, 384)])
def test_yunet_finds_the_faces_that_opencv_finds_with_the_same_file(size: tuple[int, int]) -> None:
    """OpenCV brings its own code for YuNet's outputs."""
    width, height = size
    canvas = np.full((height, width, 3), 90, np.uint8)
    canvas[:260, :260] = cv2.resize(astronaut(), (260, 260), interpolation=cv2.INTER_AREA)
    reference = cv2.FaceDetectorYN.create(str(weights.yunet()), "", size, 0.6, 0.45, 5000)
    _, expected = reference.detect(cv2.cvtColor(canvas, cv2.COLOR_RGB2BGR))
    (face,) = (found for found in YuNet().detect([canvas])[0] if found.score >= 0.6)
    assert len(expected) == 1
    x, y, wide, high, *points = expected[0][:14]
    np.testing.assert_allclose(face.box, [x, y, x + wide, y + high], atol=3)
    np.testing.assert_allclose(face.landmarks.ravel(), points, atol=3)
    assert face.score == pytest.approx(expected[0][14], abs=0.03)


def test_yunet_takes_pictures_of_any_size() -> None:
    picture = astronaut()[:, :270]
    faces_found = [face for face in YuNet().detect([picture])[0] if face.score >= YuNet.confident_score]
    assert len(faces_found) == 1
