"""A scale and a shift a channel become a BatchNormalization, for runtimes that give constants a tensor of their own.

    x[N, C, H, W] --> Mul(s[C, 1, 1]) --> Add(b[C, 1, 1]) --> y
    ==>   x --> BatchNormalization(s, b, mean 0, variance 1, epsilon 0) --> y

Its numbers are part of the layer. Either of the two may be absent, and one of them may be one number for all channels;
both may on an input of the graph, which that brings to the range that the network was trained on. Other single numbers
belong to activations and attention, which runtimes know as they are written.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import Array, add_initializer, constant, nodes, rank, static_shape, take_over, used_once
from edgeport.passes.registry import register

_PLANES = (4, 5)
"""Ranks of data with two or three axes beside batch and channels."""


@register("scale_as_batch_norm")
def scale_as_batch_norm(model: ir.Model) -> bool:
    """Rewrites every Mul, Add and Sub of that kind."""
    rewritten = [_rewrite(model, node) for node in nodes(model, "Mul", "Add", "Sub")]
    return any(rewritten)


def _rewrite(model: ir.Model, node: ir.Node) -> bool:
    x, first = _operands(node)
    dims = static_shape(node.outputs[0])
    if x is None or first is None or dims is None or x.dtype != ir.DataType.FLOAT or static_shape(x) != dims:
        return False
    y, scale, shift = node.outputs[0], np.ones(1, np.float32), first
    if node.op_type == "Mul":
        scale, shift = first, np.zeros(1, np.float32)
        after = next(iter(y.uses())).node if used_once(y) else None
        if after is not None and after.op_type in ("Add", "Sub") and after.domain == "" and after.graph is node.graph:
            source, second = _operands(after)
            if source is y and second is not None and static_shape(after.outputs[0]) == dims:
                y, shift = after.outputs[0], second
    if max(scale.size, shift.size) == 1 and not x.is_graph_input():
        return False
    channels = dims[1]
    ones = np.ones(channels, np.float32)
    parts = (("scale", scale * ones), ("shift", shift * ones), ("mean", 0 * ones), ("variance", ones))
    inputs = [x, *(add_initializer(model, f"{y.name}/{role}", array) for role, array in parts)]
    take_over(y, "BatchNormalization", inputs, {"epsilon": 0.0})
    return True


def _operands(node: ir.Node) -> tuple[ir.Value | None, Array | None]:
    """What is scaled or shifted, and by what: shape (channels,) or (1,); None where it is of another kind."""
    for x, value, index in zip(node.inputs, node.inputs[::-1], (1, 0), strict=True):
        array, axes = constant(value), rank(x)
        if array is None or axes not in _PLANES or (node.op_type == "Sub" and index == 0):
            continue
        whole = array.reshape((1,) * (axes - array.ndim) + array.shape) if array.ndim <= axes else array
        if whole.size != (whole.shape[1] if whole.ndim == axes else 0):
            continue
        return x, -whole.reshape(-1) if node.op_type == "Sub" else whole.reshape(-1)
    return None, None
