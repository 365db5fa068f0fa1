"""An Expand in front of an operator that broadcasts by itself goes.

    x [1,1,64] --> Expand [1,128,64] --> Add <-- b [1,128,64]    ==>    x [1,1,64] --> Add <-- b [1,128,64]

    c [1,1,1,9] --> Expand [1,1,9,9] --> Where(c, 0, -inf)    ==>    c --> Where(c, 0, -inf) --> Expand [1,1,9,9]

Applies per reader, where the operator's output keeps its shape without it: kernels broadcast while they compute, while
an Expand writes and reads the larger tensor. Behind an operator of which everything else is a single element the Expand
moves after it: masks are computed for their keys, not for every pair, and readers that broadcast are found there.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_int, insert_before, nodes, static_shape, take_over
from edgeport.passes.registry import register

_ARITHMETIC = ("Add", "Sub", "Mul", "Div", "Pow", "Where")
_LOGIC = ("And", "Or", "Xor", "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual")
_BROADCASTING = frozenset((*_ARITHMETIC, *_LOGIC))
_ELEMENTWISE = _BROADCASTING | {"Cast", "Not"}


@register("remove_expands")
def remove_expands(model: ir.Model) -> bool:
    """Lets broadcasting operators read what stands before an Expand."""
    changed = False
    while _moved_behind(model):
        changed = True
    for expand in nodes(model, "Expand"):
        y, x = expand.outputs[0], expand.inputs[0]
        before = static_shape(x)
        if x is None or before is None:
            continue
        for reader, index in tuple(y.uses()):
            if reader.domain != "" or reader.op_type not in _BROADCASTING:
                continue
            shapes = [before if i == index else static_shape(value) for i, value in enumerate(reader.inputs)]
            known = [shape for shape in shapes if shape is not None]
            after = static_shape(reader.outputs[0])
            if len(known) == len(shapes) and after is not None and np.broadcast_shapes(*known) == after:
                reader.replace_input_with(index, x)
                changed = True
    return changed


def _moved_behind(model: ir.Model) -> bool:
    """Moves each Expand behind its readers of single elements."""
    changed = False
    for expand in nodes(model, "Expand"):
        x, before = expand.inputs[0], static_shape(expand.inputs[0])
        if x is None or before is None:
            continue
        for reader, index in tuple(expand.outputs[0].uses()):
            y = reader.outputs[0]
            others = [static_shape(value) for i, value in enumerate(reader.inputs) if i != index]
            single = all(shape is not None and math.prod(shape) == 1 and len(shape) <= len(before) for shape in others)
            if reader.domain != "" or reader.op_type not in _ELEMENTWISE or not single or y.type is None:
                continue
            if static_shape(y) is None or static_shape(y) != static_shape(expand.outputs[0]):
                continue
            inputs = [x if i == index else value for i, value in enumerate(reader.inputs)]
            kept = {key: get_int(reader, key, 0) for key in ("to", "saturate") if key in reader.attributes}
            small = insert_before(reader, reader.op_type, inputs, kept, name=f"{y.name}_once")
            small.type, small.shape = y.type, x.shape
            take_over(y, "Expand", [small, expand.inputs[1]])
            changed = True
    return changed
