"""What has no elements is a constant, and so is what follows from it.

    x [2,0,4] --> ReduceSum(axes=[1]) --> y [2,4]     ==>      constant [2,0,4] --> ReduceSum(axes=[1]) --> y

Applies to every value and graph input whose static shape has a 0: its readers get an empty constant, and constant
folding computes what they make of it (a sum over no elements is 0, a maximum the smallest number there is). A reduction
whose list of axes is an empty constant either covers all axes, which needs no list, or none and is gone, as its
noop_with_empty_axes says.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import (
    add_initializer,
    constant,
    get_int,
    input_of,
    insert_before,
    nodes,
    static_shape,
    sweep,
    take_over,
)
from edgeport.passes.registry import register

_WITHOUT_AXES = {"ReduceL1": "Abs", "ReduceL2": "Abs", "ReduceLogSum": "Log", "ReduceSumSquare": "Mul"}
"""What a reduction over no axes still does to each element; others do nothing."""


@register("fold_empty")
def fold_empty(model: ir.Model) -> bool:
    """Replaces values without elements, then empty lists of axes."""
    changed = False
    for value in (*model.graph.inputs, *(o for node in nodes(model) for o in node.outputs)):
        changed |= _fold(model, value)
    for node in nodes(model):
        if node.op_type.startswith("Reduce"):
            changed |= _without_axes(node)
    return changed


def _fold(model: ir.Model, value: ir.Value) -> bool:
    shape = static_shape(value)
    if shape is None or 0 not in shape or value.dtype is None or constant(value) is not None:
        return False
    node = value.producer()
    if not value.uses() and not value.is_graph_output():
        return False
    if node is None and not value.uses():  # a graph input that is an output at once
        return False
    if node is not None and node.op_type == "Identity" and constant(node.inputs[0]) is not None:
        return False
    empty = add_initializer(model, f"{value.name}/empty", np.zeros(shape, value.dtype.numpy()))
    for user, index in tuple(value.uses()):
        user.replace_input_with(index, empty)
    if node is not None and value.is_graph_output():
        output = insert_before(node, "Identity", [empty], name=f"{value.name}", like=value)
        value.name = None
        value.replace_all_uses_with(output, replace_graph_outputs=True)
    sweep(node)
    return True


def _without_axes(node: ir.Node) -> bool:
    given = input_of(node, 1)
    axes = constant(given)
    if given is not None and (axes is None or axes.size):
        return False
    x, y = node.inputs[0], node.outputs[0]
    if get_int(node, "noop_with_empty_axes", 0):
        op_type = _WITHOUT_AXES.get(node.op_type, "Identity")
        take_over(y, op_type, [x, x] if op_type == "Mul" else [x])
    elif given is not None:
        node.replace_input_with(1, None)
    else:
        return False
    return True
