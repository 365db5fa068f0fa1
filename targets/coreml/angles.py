"""Angles that are computed from what an app hands in: positions, time steps, coordinates.

    position_ids --> Cast(float) --> Mul(frequencies) --> Cos, Sin --> the network

Above 2048 float16 has no odd numbers, and half of the precision that an angle of 700 has is gone: sine and cosine of
it are noise. The way from the graph's inputs to Sin and Cos computes in float32 if all on it is plain arithmetic. An
angle that a layer computes is left alone: networks that learn one keep it small.
"""

from __future__ import annotations

import onnx_ir as ir

_ARITHMETIC = frozenset(
    (
        *("Add", "Cast", "Concat", "Div", "Expand", "Flatten", "Gather", "Gemm", "Identity", "MatMul", "Mod", "Mul"),
        *("Neg", "Pow", "Reciprocal", "Reshape", "Slice", "Split", "Squeeze", "Sub", "Tile", "Transpose", "Unsqueeze"),
    )
)


def angle_nodes(graph: ir.Graph) -> frozenset[ir.Node]:
    """Sin, Cos and Tan of such angles, and the nodes that compute these."""
    known = set(graph.inputs)
    for node in graph:
        given = [value for value in node.inputs if value is not None and value.const_value is None]
        if node.op_type in _ARITHMETIC and given and known.issuperset(given):
            known.update(node.outputs)
        known.update(out for out in node.outputs if out.dtype is not None and out.dtype.is_integer())
    found: set[ir.Node] = set()
    pending = [node for node in graph if node.op_type in ("Sin", "Cos", "Tan") and node.inputs[0] in known]
    while pending:
        node = pending.pop()
        found.add(node)
        makers = (value.producer() for value in node.inputs if value is not None and _is_float(value))
        pending += [maker for maker in makers if maker is not None and maker not in found]
    return frozenset(found)


def _is_float(value: ir.Value) -> bool:
    return value.dtype is not None and value.dtype.is_floating_point()
