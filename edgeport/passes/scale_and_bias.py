"""The constant factor and offset that follow a normalization, taken into it."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import Array, constant, used_once


def following_constant(value: ir.Value, op_type: str, shape: tuple[int, ...]) -> tuple[ir.Node, Array] | None:
    """The only consumer, if it is `value (op) constant` and the constant spreads over the trailing `shape` alone."""
    if not used_once(value):
        return None
    node = value.consumers()[0]
    if node.domain != "" or node.op_type != op_type or node.graph is not value.graph:
        return None
    other = node.inputs[1] if node.inputs[0] is value else node.inputs[0]
    array = constant(other)
    if array is None or array.dtype.kind != "f" or value.shape is None or array.ndim > len(value.shape):
        return None
    while array.ndim > len(shape) and array.shape[0] == 1:
        array = array[0]
    try:
        return node, np.broadcast_to(array, shape).copy()
    except ValueError:
        return None
