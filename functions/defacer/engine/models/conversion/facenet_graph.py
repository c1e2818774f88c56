"""Convert FaceNet's frozen TensorFlow graph into weights for facenet-pytorch's InceptionResnetV1."""

import numpy as np
import torch
from facenet_pytorch import InceptionResnetV1
from tensorboard.compat.proto import graph_pb2, types_pb2

from defacer.engine.errors import WeightsError

EPSILON = 1e-3  # of InceptionResnetV1's batch norms: a variance of 1 - EPSILON scales by exactly one

Constants = tuple[list[torch.Tensor], list[torch.Tensor], list[torch.Tensor], dict[str, torch.Tensor]]


def convert_graph(graph: bytes) -> dict[str, torch.Tensor]:
    """Return the state dict of InceptionResnetV1 with the weights of a frozen TensorFlow graph.

    Graph and network list their convolutions in the same order. The graph's batch norms are already part of the
    weights. The remaining offset becomes the bias of a batch norm that scales by one.
    """
    convolutions, offsets, biases, rest = _graph_constants(graph)
    state = InceptionResnetV1(pretrained=None).state_dict()
    for key, value in state.items():
        if key.endswith(".bn.weight"):
            value.fill_(1)
        elif key.endswith(".bn.running_mean"):
            value.fill_(0)
        elif key.endswith(".bn.running_var"):
            value.fill_(1 - EPSILON)
    _fill(state, [k for k in state if k.endswith(("conv.weight", "conv2d.weight"))], convolutions)
    _fill(state, [k for k in state if k.endswith(".bn.bias")], offsets)
    _fill(state, [k for k in state if k.endswith("conv2d.bias")], biases)
    bottleneck = "InceptionResnetV1/Bottleneck/"
    _fill(state, ["last_linear.weight"], [rest[bottleneck + "weights"].T])
    for ours, theirs in (
        ("bias", "beta"),
        ("running_mean", "moving_mean"),
        ("running_var", "moving_variance"),
    ):
        _fill(state, [f"last_bn.{ours}"], [rest[f"{bottleneck}BatchNorm/{theirs}"]])
    state["last_bn.weight"] = torch.ones_like(state["last_bn.weight"])
    # Without the layer that classifies the people of the training set, as in facenet-pytorch.
    return {key: value.clone() for key, value in state.items() if not key.startswith("logits.")}


def _graph_constants(
    graph: bytes,
) -> Constants:
    """Return kernels as (out, in, height, width), batch norm offsets, biases, and all other constants by name."""
    definition = graph_pb2.GraphDef()
    definition.ParseFromString(graph)
    convolutions, offsets, biases, rest = [], [], [], {}
    for node in definition.node:
        tensor = node.attr["value"].tensor
        if node.op != "Const" or tensor.dtype != types_pb2.DT_FLOAT or not tensor.tensor_content:
            continue
        shape = [dimension.size for dimension in tensor.tensor_shape.dim]
        array = np.frombuffer(tensor.tensor_content, dtype="<f4").reshape(shape)
        value = torch.from_numpy(array.copy())
        if len(shape) == 4:
            convolutions.append(value.permute(3, 2, 0, 1).contiguous())
        elif node.name.endswith("_bn_offset"):
            offsets.append(value)
        elif node.name.endswith("/biases"):
            biases.append(value)
        else:
            rest[node.name] = value
    return convolutions, offsets, biases, rest


def _fill(state: dict[str, torch.Tensor], keys: list[str], values: list[torch.Tensor]) -> None:
    if len(keys) != len(values):
        raise WeightsError(
            f"The FaceNet graph has {len(values)} tensors, the network has {len(keys)}. "
            "Delete the file and run again."
        )
    for key, value in zip(keys, values, strict=True):
        if state[key].shape != value.shape:
            raise WeightsError(
                f"{key} is {tuple(state[key].shape)}, the graph has {tuple(value.shape)}. "
                "Delete the file and run again."
            )
        state[key] = value
