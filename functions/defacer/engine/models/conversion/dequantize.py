"""Convert block-quantized ONNX weights to float32, because OpenVINO 2026.4 can't read blocks of `DequantizeLinear`."""

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

Values = npt.NDArray[Any]


def dequantize_model(data: bytes) -> bytes:
    """Return an ONNX model with the same outputs as `data`, and with its weights in float32.

    Each weight is an int8 tensor with a scale and a zero point for each block of values along one axis
    (https://onnx.ai/onnx/operators/onnx__DequantizeLinear.html), and a reshape after it.
    """
    model = onnx.load_from_string(data)
    graph = model.graph
    tensors: dict[str, Any] = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    folded: dict[str, Any] = {}
    nodes = []
    for node in graph.node:
        inputs: list[Any] = [folded.get(name, tensors.get(name)) for name in node.input]
        if node.op_type == "DequantizeLinear":
            settings = {field.name: onnx.helper.get_attribute_value(field) for field in node.attribute}
            values, scales, zeros = inputs
            axis, block = settings["axis"], settings["block_size"]
            folded[node.output[0]] = _dequantize(values, scales, zeros, axis, block)
        elif node.op_type == "Reshape" and node.input[0] in folded:
            folded[node.output[0]] = inputs[0].reshape(inputs[1])
        else:
            nodes.append(node)
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    kept += [numpy_helper.from_array(value, name) for name, value in folded.items() if name in used]
    pictures = [value for value in graph.input if value.name not in tensors and value.name in used]
    parts: tuple[tuple[Any, list[Any]], ...] = (
        (graph.node, nodes),
        (graph.initializer, kept),
        (graph.input, pictures),
    )
    for field, items in parts:
        copies = [type(value).FromString(value.SerializeToString()) for value in items]
        del field[:]
        field.extend(copies)
    folded_model: bytes = model.SerializeToString()
    return folded_model


def _dequantize(
    values: Values, scales: Values, zeros: Values, axis: int, block: int
) -> npt.NDArray[np.float32]:
    length = values.shape[axis]
    scale, zero = (np.repeat(part, block, axis).take(range(length), axis) for part in (scales, zeros))
    weights: npt.NDArray[np.float32] = (values.astype(np.float32) - zero.astype(np.float32)) * scale
    return weights
