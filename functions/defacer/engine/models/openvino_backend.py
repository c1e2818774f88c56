"""The networks on a processor, run by OpenVINO: in bfloat16 where the processor has it, in float32 elsewhere.

CPU time on 2 cores with AMX, alone, and beside a busy process, where PyTorch's threads spin while one of them waits:

| | OpenVINO bfloat16, float32 | PyTorch bfloat16, float32 | OpenCV 5 |
|---|---|---|---|
| CenterFace, a picture of 640x384 | 12, 28 ms; 14, 31 ms | 34, 52 ms; 340, 928 ms | 57 ms; 50 ms |
| FaceNet, a face; PyTorch's of a batch of 8 | 4, 17 ms; 4, 20 ms | 10, 24 ms; 15, 57 ms | |

Against float32 on real clips bfloat16 loses no face that is sure; scores move by up to 0.03, distances of
embeddings by up to 0.005. Neighbouring cells of a face may swap places in the order of their scores: then the
box is the neighbour's, as near to the annotated face as the other was.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Lock, local
from typing import Any

# With it, importing openvino writes an identifier into the home folder and reports its use to a web service.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import numpy as np  # noqa: E402
import openvino  # noqa: E402
from openvino.preprocess import PrePostProcessor  # noqa: E402

from defacer.engine.models.arrays import Array, Image  # noqa: E402
from defacer.engine.runtime.parallel import usable_threads  # noqa: E402

# The first use of an array by pybind11 gives the interpreter's lock away while it holds one of its own: two threads
# at it for the first time wait for each other for ever. So it happens here, in one.
_ = openvino.Tensor(np.zeros(1, np.uint8)).data

SIZES_HELD = 4  # pictures of one size are 15 % cheaper than those of any; compiling takes 0.2 s


def precision() -> str:
    """What the processor computes fastest in without emulating it: "bf16" or "f32"."""
    able = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "bf16" if "BF16" in able else "f32"


class _AnySizeNetwork:
    """An ONNX file that takes a picture of any size, as long as its sides are multiples of 32.

    Each calling thread computes on one core, picture by picture: batches' intermediate results outgrow the caches.
    """

    reads_bgr = False

    def __init__(self, path: Path, precision: str):
        self._path = path
        self._precision = precision
        self._requests: dict[tuple[int, ...], _Requests] = {}
        self._lock = Lock()

    def _of_size(self, shape: tuple[int, ...]) -> "_Requests":
        with self._lock:
            if shape not in self._requests:
                height, width, _ = shape
                model = openvino.Core().read_model(self._path)
                model.reshape([1, 3, height, width])
                steps = PrePostProcessor(model)
                steps.input().tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
                if self.reads_bgr:
                    steps.input().preprocess().reverse_channels()
                steps.input().model().set_layout(openvino.Layout("NCHW"))
                if len(self._requests) == SIZES_HELD:
                    self._requests.pop(next(iter(self._requests)))
                self._requests[shape] = _Requests(steps.build(), self._precision)
            return self._requests[shape]


class CenterFaceNetwork(_AnySizeNetwork):
    """CenterFace's ONNX file: pictures (N, H, W, 3) in; `torch_networks` describes the outputs."""

    def __call__(self, pictures: Image) -> list[Array]:
        """Heat, size, offset and landmarks, each (N, channels, H / 4, W / 4)."""
        request = self._of_size(pictures.shape[1:]).mine()
        found = []
        for index in range(len(pictures)):
            request.infer([pictures[index : index + 1]])
            found.append([tensor.data[0].copy() for tensor in request.output_tensors])
        return [np.stack(output) for output in zip(*found, strict=True)]


class YuNetNetwork(_AnySizeNetwork):
    """YuNet's ONNX file: a picture (H, W, 3) in; `yunet.yunet_faces` describes the outputs."""

    reads_bgr = True

    def __call__(self, picture: Image, outputs: Sequence[str]) -> list[Array]:
        """Return the outputs of these names, each (cells, channels)."""
        request = self._of_size(picture.shape).mine()
        request.infer([picture[None]])
        return [request.get_tensor(name).data[0].copy() for name in outputs]


class SFaceNetwork:
    """SFace's ONNX file: RGB uint8 faces (N, 112, 112, 3) in, embeddings (N, 128) out, not yet of length 1."""

    def __init__(self, path: Path, precision: str):
        steps = PrePostProcessor(openvino.Core().read_model(path))
        steps.input().tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
        steps.input().model().set_layout(openvino.Layout("NCHW"))
        self._requests = _Requests(steps.build(), precision)

    def __call__(self, faces: Image) -> Array:
        """Embeddings (N, 128), face by face."""
        request = self._requests.mine()
        return np.concatenate([request.infer([face[None]])[0].copy() for face in faces])


class FaceNetNetwork:
    """FaceNet's frozen TensorFlow graph: faces (N, 160, 160, 3) in, embeddings (N, 512) of length 1 out.

    Face by face: each size of a batch would take 10 MB for good and 20 ms when it first comes, for a quarter less time.
    """

    def __init__(self, path: Path, precision: str):
        model = openvino.Core().read_model(path)
        model.reshape([1, 160, 160, 3])
        steps = PrePostProcessor(model)
        steps.input().tensor().set_element_type(openvino.Type.u8)
        as_trained = steps.input().preprocess().convert_element_type(openvino.Type.f32)
        as_trained.mean(127.5).scale(128.0)
        self._requests = _Requests(steps.build(), precision)

    def __call__(self, faces: Image) -> Array:
        """Embeddings (N, 512)."""
        request = self._requests.mine()
        return np.concatenate([request.infer([face[None]])[0].copy() for face in faces])


class _Requests:
    """A compiled network and a request of it for each thread: a request serves one at a time."""

    def __init__(self, model: Any, precision: str):
        settings = {
            "INFERENCE_PRECISION_HINT": precision,
            "PERFORMANCE_HINT": "THROUGHPUT",
            "NUM_STREAMS": usable_threads(),
        }
        self._compiled = openvino.Core().compile_model(model, "CPU", settings)
        self._local = local()

    def mine(self) -> Any:
        """The calling thread's request."""
        if not hasattr(self._local, "request"):
            self._local.request = self._compiled.create_infer_request()
        return self._local.request
