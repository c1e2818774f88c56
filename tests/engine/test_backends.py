"""Test that each back end computes what OpenCV computes from the published file, without our code."""

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from defacer.engine.models import openvino_backend, weights
from defacer.engine.models.arrays import Array, Detection, Image, compute_overlaps
from defacer.engine.models.centerface import centerface_faces
from defacer.engine.models.yunet import YuNet
from defacer.engine.runtime import gpu
from tests.clips import admiral, astronaut
from tests.servers import ROOT

Network = Callable[[Image], list[Array]]
needs_cuda = pytest.mark.skipif(not gpu.has_cuda(), reason="this machine has no CUDA device")


def torch_backend() -> ModuleType:
    """Import PyTorch, which takes seconds, only in the workers that run a test with it."""
    return import_module("defacer.engine.models.torch_backend")


def pictures() -> Image:
    return np.stack([astronaut()[:288, :288], admiral()[100:388, 120:408]])


def crops() -> Image:
    found = (astronaut()[60:200, 90:230], admiral()[130:335, 160:365], astronaut()[:, :])
    return np.stack([cv2.resize(crop, (160, 160), interpolation=cv2.INTER_AREA) for crop in found])


@pytest.fixture(scope="module")
def centerface() -> list[Array]:
    """Return what OpenCV computes for `pictures()`."""
    network = cv2.dnn.readNetFromONNX(str(weights.centerface()))
    results = []
    for picture in pictures():
        network.setInput(picture.transpose(2, 0, 1)[None].astype(np.float32))
        results.append(network.forward(network.getUnconnectedOutLayersNames()))
    return [np.concatenate(output) for output in zip(*results, strict=True)]


@pytest.fixture(scope="module")
def facenet() -> Array:
    """Return what OpenCV computes for `crops()`."""
    network = cv2.dnn.readNetFromTensorflow(str(weights.casia_graph()))
    results = []
    for crop in crops():
        network.setInput(((crop.astype(np.float32) - 127.5) / 128).transpose(2, 0, 1)[None])
        results.append(network.forward().copy())
    return np.concatenate(results)


def aligned() -> Image:
    """Return two faces as SFace gets them, (N, 112, 112, 3)."""
    return np.stack([cv2.resize(crop, (112, 112), interpolation=cv2.INTER_AREA) for crop in crops()[:2]])


@pytest.fixture(scope="module")
def sface() -> Array:
    """Return what ONNX's own reference computes for `aligned()` from the published, quantized file."""
    model = onnx.load(weights.fetch(weights.SFACE, None))
    (picture,) = (value for value in model.graph.input if value.name == "data")
    del model.graph.input[:]  # the file lists its weights as inputs too
    model.graph.input.append(picture)
    network = ReferenceEvaluator(model)
    faces = aligned().transpose(0, 3, 1, 2).astype(np.float32)
    return unit(np.concatenate([np.asarray(network.run(None, {"data": face[None]}))[0] for face in faces]))


def unit(vectors: Array) -> Array:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def faces(outputs: list[Array]) -> list[Detection]:
    """Return the confident detections of all pictures."""
    return [
        face
        for row in range(len(outputs[0]))
        for face in centerface_faces([output[row] for output in outputs], 0.3)
    ]


def assert_same_faces(found: list[Array], expected: list[Array]) -> None:
    """Allow small differences: with 16-bit numbers another cell of a face can have the best score."""
    assert len(faces(expected)) >= 2
    for face, known in zip(faces(found), faces(expected), strict=True):
        assert face.score == pytest.approx(known.score, abs=0.03)
        assert compute_overlaps(face.box, known.box[None])[0] > 0.9
        assert np.abs(face.landmarks - known.landmarks).max() < 0.03 * (known.box[2] - known.box[0])


@pytest.mark.parametrize(
    "make",
    [
        lambda path: openvino_backend.CenterFaceNetwork(path, "f32"),
        lambda path: torch_backend().CenterFaceNetwork(path, "cpu"),
    ],
    ids=["openvino", "torch"],
)
def test_centerface_in_float32_equals_the_published_file(
    make: Callable[[Path], Network], centerface: list[Array]
) -> None:
    for found, expected in zip(make(weights.centerface())(pictures()), centerface, strict=True):
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() < 1e-4


def test_centerface_in_the_fastest_precision_detects_the_same_faces(centerface: list[Array]) -> None:
    network = openvino_backend.CenterFaceNetwork(weights.centerface(), openvino_backend.fastest_precision())
    assert_same_faces(network(pictures()), centerface)


def test_centerface_accepts_more_sizes_than_it_caches() -> None:
    network = openvino_backend.CenterFaceNetwork(weights.centerface(), "f32")
    first = network(pictures())
    for side in range(1, openvino_backend.MAX_COMPILED_SIZES + 1):
        assert network(pictures()[:, : 32 * side, :64])[0].shape == (2, 1, 8 * side, 16)
    assert all((one == other).all() for one, other in zip(network(pictures()), first, strict=True))


@pytest.mark.slow
def test_facenet_in_float32_equals_the_published_graph(facenet: Array) -> None:
    network = openvino_backend.FaceNetNetwork(weights.casia_graph(), "f32")
    for count in (3, 1, 2):
        assert np.abs(network(crops()[:count]) - facenet[:count]).max() < 1e-5


@pytest.mark.slow
def test_facenet_in_the_fastest_precision_moves_no_face_far(facenet: Array) -> None:
    found = openvino_backend.FaceNetNetwork(weights.casia_graph(), openvino_backend.fastest_precision())(
        crops()
    )
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-3)
    # Different people are at least 0.6 apart.
    assert np.linalg.norm(found - facenet, axis=1).max() < 0.03


def test_openvino_binds_no_thread_to_a_core() -> None:
    """A bound thread waits for its core while another core is free."""
    network = openvino_backend.CenterFaceNetwork(weights.centerface(), "f32")
    seen: set[frozenset[int]] = set()
    with ThreadPoolExecutor(1) as pool:
        computing = pool.submit(lambda: [network(pictures()) for _ in range(5)])
        while not computing.done():
            for thread in os.listdir("/proc/self/task"):
                with suppress(ProcessLookupError):  # the thread has ended
                    seen.add(frozenset(os.sched_getaffinity(int(thread))))
    assert seen == {frozenset(os.sched_getaffinity(0))}
    computing.result()


def test_openvino_telemetry_is_disabled(tmp_path: Path) -> None:
    """The telemetry package would write an identifier into the home folder."""
    code = "import sys, defacer.engine.models.openvino_backend; print(sys.modules['openvino_telemetry'])"
    environment = os.environ | {"HOME": str(tmp_path)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "None"
    assert not list(tmp_path.iterdir())


@needs_cuda
def test_centerface_on_cuda_detects_the_same_faces(centerface: list[Array]) -> None:
    assert_same_faces(torch_backend().CenterFaceNetwork(weights.centerface(), "cuda")(pictures()), centerface)


@pytest.mark.slow
def test_centerface_in_half_precision_detects_the_same_faces(centerface: list[Array]) -> None:
    """The CPU computes with the numbers that CUDA uses, which no test machine has."""
    backend = torch_backend()
    network = backend.CenterFaceNetwork(weights.centerface(), "cpu", import_module("torch").float16)
    assert_same_faces(network(pictures()), centerface)


@pytest.mark.slow
def test_sface_in_half_precision_moves_no_face_far(sface: Array) -> None:
    backend = torch_backend()
    network = backend.SFaceNetwork(weights.sface(), "cpu", import_module("torch").float16)
    assert np.linalg.norm(unit(network(aligned()[:1])) - sface[:1], axis=1).max() < 0.01


def test_batch_in_pytorch_equals_single_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three batches, so that also their borders are compared."""
    backend = torch_backend()
    monkeypatch.setattr(backend, "CENTERFACE_BATCH", 2)
    network = backend.CenterFaceNetwork(weights.centerface(), "cpu")
    batch = np.concatenate([pictures(), pictures()[::-1], pictures()[:1]])[:, :128, :128]
    single = [network(picture[None]) for picture in batch]
    for found, expected in zip(network(batch), zip(*single, strict=True), strict=True):
        assert np.abs(found - np.concatenate(expected)).max() < 1e-4


@pytest.mark.parametrize("name", ["CenterFaceNetwork", "SFaceNetwork"])
def test_pytorch_in_several_threads_equals_one_thread(name: str) -> None:
    """The detection pass computes several windows at a time, with one network for all threads."""
    path = weights.centerface() if name == "CenterFaceNetwork" else weights.sface()
    network = getattr(torch_backend(), name)(path, "cpu")
    side = 96 if name == "CenterFaceNetwork" else 112
    turned = [np.rot90(aligned()[:1], turn, (1, 2))[:, :side, :side] for turn in range(4)]
    inputs = [np.ascontiguousarray(faces) for faces in turned]
    # A thread of PyTorch's own for each of these would wait for the others on few cores.
    with ThreadPoolExecutor(4, initializer=import_module("torch").set_num_threads, initargs=(1,)) as pool:
        found = list(pool.map(network, inputs))
    for result, batch in zip(found, inputs, strict=True):
        expected = network(batch)
        assert all(np.abs(one - other).max() < 1e-4 for one, other in zip(result, expected, strict=True))


@needs_cuda
def test_facenet_on_cuda_returns_the_same_embeddings(facenet: Array) -> None:
    network = torch_backend().FaceNetNetwork(weights.facenet("facenet-casia"), "cuda")
    assert np.linalg.norm(network(crops()) - facenet, axis=1).max() < 0.01


FIRST_USE_IN_THREADS = """
import sys, threading, numpy
from pathlib import Path
from defacer.engine.models.openvino_backend import CenterFaceNetwork
network = CenterFaceNetwork(Path(sys.argv[1]), "f32")
network._requests_for_size((64, 64, 3))  # compile first, so that the threads reach their first request together
sys.setswitchinterval(1e-6)
start = threading.Event()
def detect():
    while not start.is_set():
        pass
    network(numpy.zeros((1, 64, 64, 3), numpy.uint8))
threads = [threading.Thread(target=detect) for _ in range(6)]
[thread.start() for thread in threads]
start.set()
[thread.join() for thread in threads]
"""


@pytest.mark.parametrize("attempt", range(4))
def test_first_use_in_several_threads_does_not_deadlock(attempt: int) -> None:
    command = [sys.executable, "-c", FIRST_USE_IN_THREADS, str(weights.centerface())]
    subprocess.run(command, cwd=ROOT, check=True, timeout=30)


def test_sface_in_float32_equals_the_published_quantised_file(sface: Array) -> None:
    found = openvino_backend.SFaceNetwork(weights.sface(), "f32")(aligned())
    assert np.abs(unit(found) - sface).max() < 1e-5


def test_sface_in_the_fastest_precision_moves_no_face_far(sface: Array) -> None:
    found = openvino_backend.SFaceNetwork(weights.sface(), openvino_backend.fastest_precision())(aligned())
    assert np.linalg.norm(unit(found) - sface, axis=1).max() < 0.05


def test_sface_in_pytorch_equals_the_published_quantised_file(sface: Array) -> None:
    found = torch_backend().SFaceNetwork(weights.sface(), "cpu")(aligned())
    assert np.abs(unit(found) - sface).max() < 1e-5


@needs_cuda
def test_sface_on_cuda_equals_the_published_quantised_file(sface: Array) -> None:
    found = torch_backend().SFaceNetwork(weights.sface(), "cuda")(aligned())
    assert np.linalg.norm(unit(found) - sface, axis=1).max() < 0.01


@pytest.mark.parametrize("size", [(320, 320), (352, 288), (640, 384)])
def test_yunet_detects_the_same_face_as_opencv(size: tuple[int, int]) -> None:
    """OpenCV has its own code for YuNet's outputs."""
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


def test_yunet_accepts_pictures_of_any_size() -> None:
    picture = astronaut()[:, :270]
    faces_found = [face for face in YuNet().detect([picture])[0] if face.score >= YuNet.confident_score]
    assert len(faces_found) == 1
