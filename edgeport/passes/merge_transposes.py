"""Transposes in a row become one; one that only moves dimensions of size 1 becomes a Reshape.

    x --> Transpose(p) --> Transpose(q) --> y         ==>     x --> Transpose(p[q]) --> y
    x[1, 8, 1, 4] --> Transpose(0, 2, 1, 3) --> y     ==>     x --> Reshape([1, 1, 8, 4]) --> y

Applies to every pair, also when the first has other readers (it stays for them). The second form needs a static shape.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import add_initializer, get_ints, nodes, producer, rank, static_shape, take_over
from edgeport.passes.registry import register


@register("merge_transposes")
def merge_transposes(model: ir.Model) -> bool:
    """Merges every chain, and frees what moves nothing."""
    changed = False
    for node in nodes(model, "Transpose"):
        x, y = node.inputs[0], node.outputs[0]
        first, outer = producer(x, "Transpose"), _order(node)
        if outer is None:
            continue
        if first is not None and (inner := _order(first)) is not None:
            x, outer = first.inputs[0], [inner[i] for i in outer]
            y = take_over(y, "Transpose", [x], {"perm": outer})
            changed = True
        dims = static_shape(x)
        if dims is None or outer == sorted(outer):
            continue
        moved = [axis for axis in outer if dims[axis] != 1]
        if moved == sorted(moved):
            target = np.asarray([dims[axis] for axis in outer], np.int64)
            take_over(y, "Reshape", [x, add_initializer(model, f"{y.name}/shape", target)])
            changed = True
    return changed


def _order(node: ir.Node) -> list[int] | None:
    order, dims = get_ints(node, "perm"), rank(node.inputs[0])
    return list(reversed(range(dims))) if order is None and dims is not None else order
