"""Run the networks with PyTorch: on CUDA, and for weights that OpenVINO can't read.

Pictures are RGB uint8 (N, H, W, 3). They are scaled here to the value range of each network.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from facenet_pytorch import InceptionResnetV1
from onnx import numpy_helper
from torch.nn import functional

from defacer.engine.errors import WeightsError
from defacer.engine.models.arrays import Array, Image

CENTERFACE_BATCH = 16  # pictures; one of 640x384 needs 60 MB in float16


class OnnxGraph(torch.nn.Module):
    """Run the nodes of an ONNX graph in order. It supports the operators of CenterFace and SFace."""

    def __init__(self, path: Path):
        super().__init__()
        graph = onnx.load(path).graph
        self._nodes = list(graph.node)
        self._outputs = [output.name for output in graph.output]
        # Buffers move to the device with the module. PyTorch does not allow dots in their names.
        self._buffer_names = {tensor.name: tensor.name.replace(".", "_") for tensor in graph.initializer}
        for tensor in graph.initializer:
            values = torch.from_numpy(numpy_helper.to_array(tensor).copy())
            self.register_buffer(self._buffer_names[tensor.name], values)
        self._input = next(i.name for i in graph.input if i.name not in self._buffer_names)

    def forward(self, pictures: torch.Tensor) -> list[torch.Tensor]:
        """Return the outputs of the graph, in its order."""
        values = {name: self.get_buffer(buffer) for name, buffer in self._buffer_names.items()}
        values[self._input] = pictures
        for node in self._nodes:
            settings = {field.name: onnx.helper.get_attribute_value(field) for field in node.attribute}
            inputs = [values[name] for name in node.input]
            values[node.output[0]] = _run_operator(node.op_type, inputs, settings)
        return [values[name] for name in self._outputs]


def _run_operator(operator: str, inputs: list[torch.Tensor], settings: dict[str, Any]) -> torch.Tensor:
    match operator:
        case "Relu":
            return functional.relu(inputs[0])
        case "Add":
            return inputs[0] + inputs[1]
        case "Sub":
            return inputs[0] - inputs[1]
        case "Mul":
            return inputs[0] * inputs[1]
        case "Sigmoid":
            return torch.sigmoid(inputs[0])
        case "PRelu":
            return torch.where(inputs[0] < 0, inputs[0] * inputs[1], inputs[0])
        case "Constant" | "Dropout":  # only training uses dropout and its rate
            return inputs[0] if inputs else torch.zeros(())
        case "Flatten":
            return inputs[0].flatten(1)
        case "Gemm":  # a plain linear layer in the pinned file
            return functional.linear(*inputs)
        case "BatchNormalization":
            values, weight, bias, mean, variance = inputs
            return functional.batch_norm(values, mean, variance, weight, bias, eps=settings["epsilon"])
        case "Conv" | "ConvTranspose":
            run: Any = functional.conv2d if operator == "Conv" else functional.conv_transpose2d
            result: torch.Tensor = run(
                *inputs,
                stride=settings["strides"],
                padding=settings["pads"][:2],  # the same on both sides in the pinned file
                dilation=settings["dilations"],
                groups=settings["group"],
            )
            return result
    raise WeightsError(
        f"the network has the operator {operator!r}, which is not supported. Delete the file and run again."
    )


class CenterFaceNetwork:
    """CenterFace's ONNX file, for RGB uint8 pictures (N, H, W, 3) whose sides are multiples of 32.

    It computes in float16 on CUDA: all values stay below 50, on real pictures and on noise.
    """

    def __init__(self, path: Path, device: str):
        self._dtype = torch.float16 if device == "cuda" else torch.float32
        self._device = device
        self._graph = OnnxGraph(path).eval().to(device, self._dtype)

    def __call__(self, pictures: Image) -> list[Array]:
        """Return heat, size, offset and landmarks, each (N, channels, H / 4, W / 4)."""
        batches = []
        for first in range(0, len(pictures), CENTERFACE_BATCH):
            batch = torch.from_numpy(pictures[first : first + CENTERFACE_BATCH]).to(self._device)
            with torch.inference_mode():
                # A permuted view of pictures is channels_last already, and the layers keep it.
                outputs = self._graph(batch.permute(0, 3, 1, 2).to(self._dtype))
            batches.append([output.float().cpu().numpy() for output in outputs])
        return [np.concatenate(output) for output in zip(*batches, strict=True)]


class SFaceNetwork:
    """SFace's ONNX file, for RGB uint8 faces (N, 112, 112, 3). The embeddings (N, 128) are not yet unit vectors."""

    def __init__(self, path: Path, device: str):
        self._device = device
        self._graph = OnnxGraph(path).eval().to(device)

    def __call__(self, faces: Image) -> Array:
        """Return the embeddings (N, 128)."""
        batch = torch.from_numpy(faces).to(self._device).permute(0, 3, 1, 2)
        with torch.inference_mode():
            (output,) = self._graph(batch.float())
        embeddings: Array = output.float().cpu().numpy()
        return embeddings


class FaceNetNetwork:
    """InceptionResnetV1, for faces (N, 160, 160, 3). The embeddings (N, 512) are unit vectors."""

    def __init__(self, weights: dict[str, torch.Tensor], device: str):
        network = InceptionResnetV1(pretrained=None)
        missing, unexpected = network.load_state_dict(weights, strict=False)
        if [key for key in (*missing, *unexpected) if not key.startswith("logits.")]:
            raise WeightsError(
                f"the weights do not fit the network, missing: {missing}, unexpected: {unexpected}. "
                "Delete the file and run again."
            )
        self._device = device
        self._network = network.eval().to(device, memory_format=torch.channels_last)

    def __call__(self, faces: Image) -> Array:
        """Return the embeddings (N, 512)."""
        batch = torch.from_numpy(faces).to(self._device).permute(0, 3, 1, 2)
        with torch.inference_mode():
            output = self._network((batch.float() - 127.5) / 128)  # as the network was trained
        embeddings: Array = output.float().cpu().numpy()
        return embeddings
