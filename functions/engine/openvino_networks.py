"""The networks on a processor, run by OpenVINO: in bfloat16 where the processor has it, in float32 elsewhere.

CPU time on 2 cores with AMX, alone, and beside a busy process, where PyTorch's threads spin while one of them waits:

| | OpenVINO bfloat16, float32 | PyTorch bfloat16, float32 | OpenCV 5 |
|---|---|---|---|
| CenterFace, a picture of 640x384 | 12, 28 ms; 14, 31 ms | 34, 52 ms; 340, 928 ms | 57 ms; 50 ms |
| FaceNet, a face of a batch of 8 | 4, 17 ms; 4, 20 ms | 10, 24 ms; 15, 57 ms | |

Against float32 on real clips bfloat16 loses no face that is sure; scores move by up to 0.03, distances of
embeddings by up to 0.005. Neighbouring cells of a face may swap places in the order of their scores: then the
box is the neighbour's, as near to the annotated face as the other was.
"""

import sys
from pathlib import Path
from typing import Any

# With it, importing openvino writes an identifier into the home folder and reports its use to a web service.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import numpy as np  # noqa: E402
import openvino  # noqa: E402
from openvino import opset13  # noqa: E402
from openvino.preprocess import PrePostProcessor  # noqa: E402

from functions.engine.detect import Array, Image  # noqa: E402

SIZES_HELD = 4  # pictures of one size are 15 % cheaper than those of any; compiling takes 0.2 s


def precision() -> str:
    """What the processor computes fastest in without emulating it: "bf16" or "f32"."""
    able = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "bf16" if "BF16" in able else "f32"


class CenterFaceNetwork:
    """CenterFace's ONNX file, for RGB uint8 pictures (N, H, W, 3) whose sides are multiples of 32.

    One picture a core is cheaper than batches, whose intermediate results outgrow the caches.
    """

    def __init__(self, path: Path, precision: str):
        self._path = path
        self._precision = precision
        self._queues: dict[tuple[int, ...], Any] = {}

    def __call__(self, pictures: Image) -> list[Array]:
        """Heat, size, offset and landmarks, each (N, channels, H / 4, W / 4)."""
        found: list[list[Array]] = [[] for _ in pictures]

        def keep(request: Any, index: int) -> None:
            found[index] = [tensor.data[0].copy() for tensor in request.output_tensors]

        queue = self._queue(pictures.shape[1:])
        queue.set_callback(keep)
        for index in range(len(pictures)):
            # Copied into the queue: a shared input is freed while it is read, and the process dies (2026.4.1).
            queue.start_async([pictures[index : index + 1]], index, share_inputs=False)
        queue.wait_all()
        return [np.stack(output) for output in zip(*found, strict=True)]

    def _queue(self, shape: tuple[int, ...]) -> Any:
        if shape not in self._queues:
            height, width, _ = shape
            model = openvino.Core().read_model(self._path)
            model.reshape([1, 3, height, width])
            steps = PrePostProcessor(model)
            steps.input().tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
            steps.input().model().set_layout(openvino.Layout("NCHW"))
            if len(self._queues) == SIZES_HELD:
                self._queues.pop(next(iter(self._queues)))
            self._queues[shape] = openvino.AsyncInferQueue(
                _compile(steps.build(), self._precision, "THROUGHPUT")
            )
        return self._queues[shape]


class FaceNetNetwork:
    """FaceNet's frozen TensorFlow graph: faces (N, 160, 160, 3) in, embeddings (N, 512) of length 1 out."""

    def __init__(self, path: Path, precision: str):
        model = openvino.Core().read_model(path)
        _allow_any_batch(model)
        model.reshape([-1, 160, 160, 3])
        steps = PrePostProcessor(model)
        steps.input().tensor().set_element_type(openvino.Type.u8)
        as_trained = steps.input().preprocess().convert_element_type(openvino.Type.f32)
        as_trained.mean(127.5).scale(128.0)
        self._request = _compile(steps.build(), precision, "LATENCY").create_infer_request()

    def __call__(self, faces: Image) -> Array:
        """Embeddings (N, 512)."""
        embeddings: Array = self._request.infer([faces])[0].copy()
        return embeddings


def _allow_any_batch(model: Any) -> None:
    """The graph was frozen with a batch of one, which stands in the constants of its reshapes to (1, channels)."""
    for node in model.get_ordered_ops():
        if node.get_type_name() == "Reshape" and len(node.get_output_shape(0)) == 2:
            channels = node.get_output_shape(0)[1]
            shape = opset13.constant(np.array([-1, channels], np.int64))
            node.input(1).replace_source_output(shape.output(0))


def _compile(model: Any, precision: str, hint: str) -> Any:
    settings = {
        "INFERENCE_PRECISION_HINT": precision,
        "PERFORMANCE_HINT": hint,
        "ENABLE_CPU_PINNING": False,  # decoders and encoders share the cores, and so may other workers
    }
    return openvino.Core().compile_model(model, "CPU", settings)
