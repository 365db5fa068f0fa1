"""Angles and integers that are computed from what an app hands in: positions, time steps, coordinates.

    position_ids --> Cast(float) --> Mul(frequencies) --> Cos, Sin --> the network

Above 2048 float16 has no odd numbers, and an angle of 700 is known to a quarter only: sine and cosine of it are noise.
The way from the graph's inputs to Sin, Cos, comparisons and integers computes in float32 if all on it is plain
arithmetic. An angle that a layer computes is left alone: networks that learn one keep it small.
"""

from __future__ import annotations

import onnx_ir as ir

ARITHMETIC = frozenset(
    (
        *("Add", "Cast", "Concat", "Div", "Expand", "Flatten", "Gather", "Gemm", "Identity", "MatMul", "Mod", "Mul"),
        *("Ceil", "Floor", "Neg", "Pow", "Reciprocal", "Reshape", "Round", "Slice", "Split", "Squeeze", "Sub", "Tile"),
        *("Transpose", "Unsqueeze"),
    )
)
_DECIDING = ("Sin", "Cos", "Tan", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")


def angle_nodes(graph: ir.Graph) -> frozenset[ir.Node]:
    """What needs such numbers exactly, and the nodes that compute them."""
    known = set(graph.inputs)
    for node in graph:
        given = _computed(node)
        if node.op_type in ARITHMETIC and given and known.issuperset(given):
            known.update(node.outputs)
        known.update(out for out in node.outputs if out.dtype is not None and out.dtype.is_integer())
    found: set[ir.Node] = set()
    pending = [node for node in graph if _decides(node) and known.issuperset(_computed(node))]
    while pending:
        node = pending.pop()
        found.add(node)
        makers = (value.producer() for value in node.inputs if value is not None and _is_float(value))
        pending += [maker for maker in makers if maker is not None and maker not in found]
    return frozenset(found)


def _computed(node: ir.Node) -> list[ir.Value]:
    return [value for value in node.inputs if value is not None and value.const_value is None]


def _decides(node: ir.Node) -> bool:
    if node.op_type == "Cast":
        dtype = node.outputs[0].dtype
        return dtype is not None and dtype.is_integer() and _is_float(node.inputs[0])
    return node.op_type in _DECIDING and _is_float(node.inputs[0])


def _is_float(value: ir.Value | None) -> bool:
    return value is not None and value.dtype is not None and value.dtype.is_floating_point()
