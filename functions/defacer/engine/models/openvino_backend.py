"""Run the networks on a CPU with OpenVINO, in bfloat16 if the CPU supports it, or else in float32.

The detector and the recognizers use this back end without a GPU, and `torch_backend.py` with one. Both have the same
classes, one for each network.

CPU time on 2 cores with AMX, first alone, then beside a busy process, where PyTorch's threads spin while one waits:

| | OpenVINO bfloat16, float32 | PyTorch bfloat16, float32 | OpenCV 5 |
|---|---|---|---|
| CenterFace, a picture of 640x384 | 12, 28 ms; 14, 31 ms | 34, 52 ms; 340, 928 ms | 57 ms; 50 ms |
| FaceNet, a face (PyTorch: in a batch of 8) | 4, 17 ms; 4, 20 ms | 10, 24 ms; 15, 57 ms | |

On real clips, bfloat16 loses no confident detection of float32. Scores differ by up to 0.03, and distances of
embeddings by up to 0.005. Two neighboring cells of a face can change their order of scores. Then the box is that of
the other cell, which is as near to the annotated face.
"""

import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from threading import Lock, local
from typing import Any

# This disables telemetry: otherwise the import writes an identifier into the home folder and calls a web service.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import numpy as np  # noqa: E402
import openvino  # noqa: E402
from openvino.preprocess import PrePostProcessor  # noqa: E402

from defacer.engine.models.arrays import Array, Image  # noqa: E402
from defacer.engine.runtime.prefetch import usable_threads  # noqa: E402

# When pybind11 uses an array for the first time, it releases the interpreter's lock while it holds its own lock. Two
# threads that do so at the same time deadlock. Its first iterator is registered as a type, which fails in one of two
# threads. So both happen here in one thread.
_ = openvino.Tensor(np.zeros(1, np.uint8)).data, tuple(openvino.Shape([1]))

# A network for one size is 15 % faster than one for any size, and compiling it takes 0.2 s. The sizes are those of
# frames, of their small copies, of both turned by 90 degrees, and of crowds.
MAX_COMPILED_SIZES = 6


@cache
def _core() -> Any:
    """Return the process's only OpenVINO core.

    Each core sets an alternate signal stack of the calling thread, and frees it with the last network that it compiled.
    With several cores, the thread can keep a freed stack. Then the next signal, such as that of Ctrl-C, is a crash.
    """
    return openvino.Core()


def processor_name() -> str:
    """Return the processor's name as OpenVINO reports it."""
    return str(_core().get_property("CPU", "FULL_DEVICE_NAME")).strip()


def fastest_precision() -> str:
    """Return the fastest precision that this CPU supports: "bf16" or "f32"."""
    capabilities = _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "bf16" if "BF16" in capabilities else "f32"


class _AnySizeNetwork:
    """A network of an ONNX file for pictures of any size whose sides are multiples of 32.

    Each calling thread computes on one core, one picture at a time, because the caches are too small for batches.
    """

    reads_bgr = False

    def __init__(self, path: Path, precision: str):
        self._model = _core().read_model(path)  # its copies share the weights
        self._precision = precision
        self._requests: dict[tuple[int, ...], _Requests] = {}
        self._lock = Lock()

    def _requests_for_size(self, shape: tuple[int, ...]) -> "_Requests":
        with self._lock:
            if shape not in self._requests:
                height, width, _ = shape
                model = self._model.clone()
                model.reshape([1, 3, height, width])
                steps = PrePostProcessor(model)
                steps.input().tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
                if self.reads_bgr:
                    steps.input().preprocess().reverse_channels()
                steps.input().model().set_layout(openvino.Layout("NCHW"))
                if len(self._requests) == MAX_COMPILED_SIZES:
                    self._requests.pop(next(iter(self._requests)))
                self._requests[shape] = _Requests(steps.build(), self._precision)
            return self._requests[shape]


class CenterFaceNetwork(_AnySizeNetwork):
    """CenterFace's ONNX file, for RGB uint8 pictures (N, H, W, 3). `centerface_faces` describes the outputs."""

    def __call__(self, pictures: Image) -> list[Array]:
        """Return heat, size, offset and landmarks, each (N, channels, H / 4, W / 4)."""
        requests = self._requests_for_size(pictures.shape[1:])
        outputs: list[Array] = []
        for index in range(len(pictures)):
            found = [tensor.data[0] for tensor in requests.infer(pictures[index : index + 1]).output_tensors]
            outputs = outputs or [np.empty((len(pictures), *output.shape), np.float32) for output in found]
            for output, values in zip(outputs, found, strict=True):
                output[index] = values
        return outputs


class YuNetNetwork(_AnySizeNetwork):
    """YuNet's ONNX file, for an RGB uint8 picture (H, W, 3). `yunet.yunet_faces` describes the outputs."""

    reads_bgr = True

    def __call__(self, picture: Image, outputs: Sequence[str]) -> list[Array]:
        """Return the outputs of these names, each (cells, channels)."""
        request = self._requests_for_size(picture.shape).infer(picture[None])
        return [request.get_tensor(name).data[0].copy() for name in outputs]


class SFaceNetwork:
    """SFace's ONNX file, for RGB uint8 faces (N, 112, 112, 3). The embeddings (N, 128) are not yet unit vectors."""

    def __init__(self, path: Path, precision: str):
        steps = PrePostProcessor(_core().read_model(path))
        steps.input().tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
        steps.input().model().set_layout(openvino.Layout("NCHW"))
        self._requests = _Requests(steps.build(), precision)

    def __call__(self, faces: Image) -> Array:
        """Return the embeddings (N, 128), one face at a time."""
        return np.concatenate(
            [self._requests.infer(face[None]).get_output_tensor().data.copy() for face in faces]
        )


class FaceNetNetwork:
    """FaceNet's frozen TensorFlow graph, for faces (N, 160, 160, 3). The embeddings (N, 512) are unit vectors.

    It computes one face at a time. Batches would be a quarter faster, but each batch size needs 10 MB permanently.
    """

    def __init__(self, path: Path, precision: str):
        model = _core().read_model(path)
        model.reshape([1, 160, 160, 3])
        steps = PrePostProcessor(model)
        steps.input().tensor().set_element_type(openvino.Type.u8)
        as_trained = steps.input().preprocess().convert_element_type(openvino.Type.f32)
        as_trained.mean(127.5).scale(128.0)
        self._requests = _Requests(steps.build(), precision)

    def __call__(self, faces: Image) -> Array:
        """Return the embeddings (N, 512)."""
        return np.concatenate(
            [self._requests.infer(face[None]).get_output_tensor().data.copy() for face in faces]
        )


class _Requests:
    """A compiled network with an inference request for each thread, because threads can't share a request."""

    def __init__(self, model: Any, precision: str):
        settings = {
            "INFERENCE_PRECISION_HINT": precision,
            "PERFORMANCE_HINT": "THROUGHPUT",
            "NUM_STREAMS": usable_threads(),
            # By default, threads are bound to cores, and two networks often share a core while another one is free.
            "ENABLE_CPU_PINNING": False,
        }
        self._compiled = _core().compile_model(model, "CPU", settings)
        self._local = local()

    def infer(self, pictures: Image) -> Any:
        """Compute with the request of the calling thread, and return it. The next call overwrites its outputs."""
        if not hasattr(self._local, "request"):
            self._local.request = self._compiled.create_infer_request()
        # By default, OpenVINO copies the pictures, and returns copies of all outputs.
        self._local.request.infer([pictures], share_inputs=True, share_outputs=True)
        return self._local.request
