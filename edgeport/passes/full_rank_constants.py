"""Constant operands get as many axes as the result, for runtimes that would add a tensor that does.

x[2, 8, 16] --> Mul(s[16]) --> y    ==>    x --> Mul(s[1, 1, 16]) --> y
"""

from __future__ import annotations

import onnx_ir as ir

from edgeport.passes.edit import add_initializer, constant, nodes, rank
from edgeport.passes.registry import register

_ELEMENT_WISE = ("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "PRelu", "Where", "Mod", "Equal", "Greater",
                 "GreaterOrEqual", "Less", "LessOrEqual", "And", "Or", "Xor")  # fmt: skip


@register("full_rank_constants")
def full_rank_constants(model: ir.Model) -> bool:
    """Gives every constant operand of an element-wise operator leading axes of size 1."""
    made: dict[tuple[ir.Value, int], ir.Value] = {}
    for node in nodes(model, *_ELEMENT_WISE):
        axes = rank(node.outputs[0])
        for index, value in enumerate(node.inputs):
            array = constant(value)
            if value is None or array is None or axes is None or array.ndim >= axes:
                continue
            if (value, axes) not in made:
                whole = array.reshape((1,) * (axes - array.ndim) + array.shape)
                made[value, axes] = add_initializer(model, f"{value.name}/{axes}d", whole)
            node.replace_input_with(index, made[value, axes])
    return bool(made)
