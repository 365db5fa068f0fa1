"""An Expand in front of an operator that broadcasts by itself goes.

    x [1,1,64] --> Expand [1,128,64] --> Add <-- b [1,128,64]    ==>    x [1,1,64] --> Add <-- b [1,128,64]

Applies per reader, where the operator's output keeps its shape without it: kernels broadcast while they compute, while
an Expand writes and reads the larger tensor (LiteRT runs it off XNNPACK).
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import nodes, static_shape
from edgeport.passes.registry import register

_ARITHMETIC = ("Add", "Sub", "Mul", "Div", "Pow", "Where")
_LOGIC = ("And", "Or", "Xor", "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual")
_BROADCASTING = frozenset((*_ARITHMETIC, *_LOGIC))


@register("remove_expands")
def remove_expands(model: ir.Model) -> bool:
    """Lets broadcasting operators read what stands before an Expand."""
    changed = False
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
