"""A reduction that keeps its axes for a Reshape to drop them drops them itself.

x --> ReduceMean(axes, keepdims=1) --> Reshape(the other axes) --> y  ==>  x --> ReduceMean(axes, keepdims=0) --> y
"""

from __future__ import annotations

import onnx_ir as ir

from edgeport.passes.edit import get_int, input_of, ints, nodes, producer, static_shape, take_over, used_once
from edgeport.passes.registry import register

_REDUCTIONS = ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd")


@register("merge_reduce_reshape")
def merge_reduce_reshape(model: ir.Model) -> bool:
    """Merges each pair whose shapes are known."""
    changed = False
    for reshape in nodes(model, "Reshape"):
        y = reshape.outputs[0]
        reduction = producer(reshape.inputs[0], *_REDUCTIONS)
        if reduction is None or not used_once(reduction.outputs[0]) or not get_int(reduction, "keepdims", 1):
            continue
        axes, before = ints(input_of(reduction, 1)), static_shape(reduction.inputs[0])
        if not axes or before is None:
            continue
        reduced = {axis % len(before) for axis in axes}
        left = tuple(size for axis, size in enumerate(before) if axis not in reduced)
        if left and static_shape(y) == left:
            take_over(y, reduction.op_type, list(reduction.inputs), {"keepdims": 0})
            changed = True
    return changed
