"""Operators along a sequence axis."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.targets.tflite.attributes import int_attr
from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.layout_choice import full_layout
from edgeport.targets.tflite.ops.index import first
from edgeport.targets.tflite.registry import Refused, lowers


@lowers("CumSum", attributes=("exclusive", "reverse"), inputs=2)
def cum_sum(ctx: Context, node: ir.Node) -> None:
    """CUMSUM."""
    x = first(node)
    axis = ctx.constant_ints(node, 1)
    if axis is None or len(axis) != 1:
        raise Refused("its axis must be one constant")
    layout = full_layout(ctx, x)
    position = np.asarray(layout.index(axis[0] % ctx.rank(x)), np.int32)
    ctx.emit(
        "CUMSUM",
        [ctx.read(node, x, layout), ctx.builder.constant("const/axis", position)],
        [ctx.output(node, layout)],
        "CumsumOptions",
        exclusive=bool(int_attr(node, "exclusive", 0)),
        reverse=bool(int_attr(node, "reverse", 0)),
    )


@lowers("ReverseSequence", attributes=("batch_axis", "time_axis"), inputs=2)
def reverse_sequence(ctx: Context, node: ir.Node) -> None:
    """REVERSE_SEQUENCE, whose lengths may come at run time."""
    x, lengths = first(node), node.inputs[1]
    assert lengths is not None
    layout = full_layout(ctx, x)
    batch, time = (layout.index(int_attr(node, name, d)) for name, d in (("batch_axis", 1), ("time_axis", 0)))
    inputs = [ctx.read(node, x, layout), ctx.read(node, lengths)]
    ctx.emit(
        "REVERSE_SEQUENCE", inputs, [ctx.output(node, layout)], "ReverseSequenceOptions", seqDim=time, batchDim=batch
    )
