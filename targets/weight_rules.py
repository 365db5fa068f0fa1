"""Which weights Apple's formats store in integers or palettes; each function says why a node's are none of them."""

from __future__ import annotations

import onnx_ir as ir

from edgeport.quantize.plan import Kernel

KERNELS: dict[str, Kernel] = {
    "fp32": "float32",
    "fp16": "float32",
    "int8": "int8",
    "int8-weights": "int8-weights",
    "int4-weights": "int4-weights",
    "palettized-8": "palettized",
    "palettized-6": "palettized",
    "palettized-4": "palettized",
    "palettized-2": "palettized",
}
"""Precision -> the kernel of the nodes that hold weights."""
BLOCK = 32
"""How many int4 weights share a scale, unless the user gives another number: coremltools' default, too."""
_SMALL = 1024
"""Elements below which a table is not worth its scales."""


def why_not_filters(node: ir.Node) -> str | None:
    """Of a convolution."""
    weight = node.inputs[1]
    return "its weights are computed" if weight is None or weight.const_value is None else None


def why_not_matrix(node: ir.Node) -> str | None:
    """Of a MatMul."""
    weight = node.inputs[1]
    if weight is None or weight.const_value is None:
        return "a product of two activations stays float"
    return None if len(weight.const_value.shape) == 2 else "only two-dimensional weights make a linear layer"


def why_not_table(node: ir.Node) -> str | None:
    """Of a Gather: an embedding is [rows, size], read by rows."""
    table, axis = node.inputs[0], node.attributes.get("axis")
    if table is None or table.const_value is None or len(table.const_value.shape) != 2:
        return "only a constant table of rows is stored in integers"
    if (axis is not None and axis.as_int() != 0) or table.const_value.size < _SMALL:
        return "its table is small, or not read by rows"
    return None
