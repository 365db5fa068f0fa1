"""Which values the file can hold at all, whatever computes them."""

from __future__ import annotations

import onnx_ir as ir

from edgeport.targets.tflite.context import Context, Stored
from edgeport.targets.tflite.layout import identity
from edgeport.targets.tflite.registry import Refused

_DTYPES = ("float32", "float16", "float64", "int32", "int64", "bool", "uint8", "int8")
_MOST_AXES = 8


def check_value(ctx: Context, value: ir.Value, may_be_empty: bool) -> None:
    """Refuses a value that no tensor of the file can be.

    Raises:
        Refused: its dtype, an empty shape, or more dimensions than kernels take.
    """
    if ctx.dtype(value) not in _DTYPES:
        hint = "cast the model to float32" if ctx.dtype(value).startswith(("float", "bfloat")) else None
        raise Refused(f"{value.name!r} is {ctx.dtype(value)}", hint, "unsupported-dtype")
    if 0 in ctx.shape(value) and not may_be_empty:
        raise Refused(f"{value.name!r} is empty (shape {list(ctx.shape(value))})", code="unsupported-shape")
    if ctx.rank(value) > _MOST_AXES:
        raise Refused(
            f"{value.name!r} has {ctx.rank(value)} dimensions, at most {_MOST_AXES} work", code="unsupported-shape"
        )


def check_values(ctx: Context, node: ir.Node, int8: bool) -> None:
    """Refuses dtypes and shapes that no lowering handles, and a plan that asks for integers in vain.

    Raises:
        Refused: says which value, and why.
    """
    inputs = node.inputs[:1] if node.op_type == "Reshape" else node.inputs  # a scalar's shape is empty
    for value in (*inputs, *node.outputs):
        if value is not None and (value in inputs or value.uses() or value.is_graph_output()):
            check_value(ctx, value, may_be_empty=node.op_type == "Identity")
    if ctx.int8(node) and not int8:
        raise Refused("the plan runs it in integers, for which there is no kernel", "keep it in float")


def stand_in(ctx: Context, value: ir.Value) -> None:
    """Makes a refused node's output readable, so that its consumers can be judged too."""
    try:
        shape, dtype = ctx.shape(value), ctx.dtype(value)
    except Refused:
        shape, dtype = (), "float32"
    dtype = dtype if dtype in _DTYPES else "float32"
    ctx.remember(value, Stored(ctx.builder.tensor("stand-in", shape, dtype), identity(len(shape))))
