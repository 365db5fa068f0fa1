"""Where images are read: coordinates that a GridSample takes.

    offsets of a layer --> Reshape --> Add(pixel positions) --> Mul --> Sub --> GridSample

At pixel 200 float16 knows an eighth of a pixel, and what is read there is off by as much of a neighbour. The arithmetic
between the last layer and the coordinates computes in float32.
"""

from __future__ import annotations

import onnx_ir as ir

from edgeport.targets.angles import ARITHMETIC

_FURTHER = ("Clip", "Max", "Min", "ReduceSum", "Tanh", "Where")


def coordinate_nodes(graph: ir.Graph) -> frozenset[ir.Node]:
    """The nodes that compute coordinates from what layers give."""
    found: set[ir.Node] = set()
    pending = [node.inputs[1] for node in graph if node.op_type == "GridSample" and len(node.inputs) > 1]
    while pending:
        value = pending.pop()
        maker = None if value is None else value.producer()
        if maker is None or maker in found or maker.op_type not in (*ARITHMETIC, *_FURTHER) or _is_layer(maker):
            continue
        found.add(maker)
        pending += [v for v in maker.inputs if v is not None and v.dtype is not None and v.dtype.is_floating_point()]
    return frozenset(found)


def _is_layer(node: ir.Node) -> bool:
    """Whether a product is one by weights."""
    weights = node.inputs[1] if node.op_type in ("Gemm", "MatMul") else None
    return weights is not None and weights.const_value is not None
