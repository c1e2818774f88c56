"""Run the networks with PyTorch: on CUDA, and for weights that OpenVINO can't read.

Pictures are RGB uint8 (N, H, W, 3). They are scaled here to the value range of each network.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import onnx
import torch
from facenet_pytorch import InceptionResnetV1
from onnx import numpy_helper
from torch.nn import functional

from defacer.engine.errors import WeightsError
from defacer.engine.models.arrays import Array, Image

CENTERFACE_BATCH = 16  # pictures; one of 640x384 needs 60 MB in float16


@dataclass(frozen=True)
class _Node:
    """A node of an ONNX graph. Its attributes are parsed once: 0.4 ms for all nodes of CenterFace."""

    operator: str
    inputs: tuple[str, ...]
    output: str
    settings: dict[str, Any]

    @classmethod
    def parse(cls, node: onnx.NodeProto) -> Self:
        settings = {field.name: onnx.helper.get_attribute_value(field) for field in node.attribute}
        return cls(node.op_type, tuple(map(_buffer_name, node.input)), _buffer_name(node.output[0]), settings)


def _buffer_name(name: str) -> str:
    """Return the name of a tensor as PyTorch allows it for a buffer: without dots."""
    return name.replace(".", "_")


class OnnxGraph(torch.nn.Module):
    """Run the nodes of an ONNX graph in order. It supports the operators of CenterFace and SFace."""

    def __init__(self, path: Path):
        super().__init__()
        graph = onnx.load(path).graph
        self._nodes = list(map(_Node.parse, graph.node))
        self._outputs = [_buffer_name(output.name) for output in graph.output]
        for tensor in graph.initializer:  # buffers move to the device with the module
            values = torch.from_numpy(numpy_helper.to_array(tensor).copy())
            self.register_buffer(_buffer_name(tensor.name), values)
        constants = {tensor.name for tensor in graph.initializer}
        self._input = _buffer_name(next(i.name for i in graph.input if i.name not in constants))

    def forward(self, pictures: torch.Tensor) -> list[torch.Tensor]:
        """Return the outputs of the graph, in its order."""
        values = dict(self.named_buffers(recurse=False))
        values[self._input] = pictures
        for node in self._nodes:
            inputs = [values[name] for name in node.inputs]
            values[node.output] = _run_operator(node.operator, inputs, node.settings)
        return [values[name] for name in self._outputs]


def _load_graph(path: Path, device: str, dtype: torch.dtype) -> OnnxGraph:
    """Return the graph with weights in the layout channels_last, like its pictures."""
    return OnnxGraph(path).eval().to(device, dtype).to(memory_format=torch.channels_last)


def _precision_for(device: str) -> torch.dtype:
    """Return float16 on CUDA: all values of the networks stay below 130, on real pictures and on noise."""
    return torch.float16 if device == "cuda" else torch.float32


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
        f"The network has the operator {operator!r}, which is not supported. Delete the file and run again."
    )


class CenterFaceNetwork:
    """CenterFace's ONNX file, for RGB uint8 pictures (N, H, W, 3) whose sides are multiples of 32."""

    def __init__(self, path: Path, device: str, dtype: torch.dtype | None = None):
        self._device, self._dtype = device, dtype or _precision_for(device)
        self._graph = _load_graph(path, device, self._dtype)

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

    def __init__(self, path: Path, device: str, dtype: torch.dtype | None = None):
        self._device, self._dtype = device, dtype or _precision_for(device)
        self._graph = _load_graph(path, device, self._dtype)

    def __call__(self, faces: Image) -> Array:
        """Return the embeddings (N, 128)."""
        batch = torch.from_numpy(faces).to(self._device).permute(0, 3, 1, 2)
        with torch.inference_mode():
            (output,) = self._graph(batch.to(self._dtype))
        embeddings: Array = output.float().cpu().numpy()
        return embeddings


class FaceNetNetwork:
    """InceptionResnetV1, for faces (N, 160, 160, 3). The embeddings (N, 512) are unit vectors."""

    def __init__(self, weights: dict[str, torch.Tensor], device: str):
        network = InceptionResnetV1(pretrained=None)
        missing, unexpected = network.load_state_dict(weights, strict=False)
        if [key for key in (*missing, *unexpected) if not key.startswith("logits.")]:
            raise WeightsError(
                f"The weights do not fit the network, missing: {missing}, unexpected: {unexpected}. "
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
