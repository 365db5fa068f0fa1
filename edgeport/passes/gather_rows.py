"""A GatherND by one coordinate is a Gather along that axis, and the axes need not change places for it.

    x --GatherND(indices [6,1])-->                           ==>  x --Gather(axis 0, indices [6])-->
    x --Transpose(1,0)--> Gather(axis 0) --Transpose(1,0)--> ==>  x --Gather(axis 1)-->

PyTorch exports `x[:, order]` as the second line with a GatherND in the middle. A Transpose moves behind the Gather of a
row of indices where another Transpose follows; `merge_transposes` makes one of both, or none.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import (
    add_initializer,
    constant,
    get_int,
    get_ints,
    insert_before,
    nodes,
    producer,
    rank,
    take_over,
    used_once,
)
from edgeport.passes.registry import register


@register("gather_rows")
def gather_rows(model: ir.Model) -> bool:
    """Rewrites each such GatherND, then moves Transposes behind Gathers."""
    changed = False
    for node in nodes(model, "GatherND"):
        changed |= _along_first(model, node)
    for node in nodes(model, "Gather"):
        changed |= _before_transpose(node)
    return changed


def _along_first(model: ir.Model, node: ir.Node) -> bool:
    indices, y = node.inputs[1], node.outputs[0]
    if indices is None or not indices.shape or indices.shape[-1] != 1 or get_int(node, "batch_dims", 0):
        return False
    data = constant(indices)
    if data is not None:
        row = add_initializer(model, f"{indices.name}/row", data[..., 0])
    else:
        last = add_initializer(model, f"{y.name}/last", np.asarray([-1], np.int64))
        row = insert_before(node, "Squeeze", [indices, last], name=f"{y.name}/row")
        row.shape, row.type = ir.Shape(indices.shape[:-1]), indices.type
    take_over(y, "Gather", [node.inputs[0], row], {"axis": 0})
    return True


def _before_transpose(node: ir.Node) -> bool:
    y, before = node.outputs[0], producer(node.inputs[0], "Transpose")
    if before is None or rank(node.inputs[1]) != 1 or not used_once(before.outputs[0]) or not used_once(y):
        return False
    perm, x = get_ints(before, "perm"), before.inputs[0]
    if perm is None or x is None or next(iter(y.uses())).node.op_type != "Transpose":
        return False
    axis = perm[get_int(node, "axis", 0) % len(perm)]
    part = insert_before(node, "Gather", [x, node.inputs[1]], {"axis": axis}, name=f"{y.name}/part")
    take_over(y, "Transpose", [part], {"perm": perm})
    return True
