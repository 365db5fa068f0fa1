"""Running sums, ranges, and triangles."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_int
from edgeport.sample import Array
from edgeport.targets.coreml.context import Context, as_stored
from edgeport.targets.coreml.mil import dtype_of
from edgeport.targets.coreml.ops.selection import select
from edgeport.targets.coreml.registry import Refused, lowers


@lowers("CumSum", attributes=("exclusive", "reverse"), inputs=2)
def cum_sum(ctx: Context, node: ir.Node) -> None:
    """`cumsum`."""
    axis = ctx.constant_ints(node, 1)
    x = ctx.read(node.inputs[0])
    if axis is None or len(axis) != 1 or not x.shape:
        raise Refused("the axis must be one constant")
    flags: dict[str, Any] = {name: bool(get_int(node, name, 0)) for name in ("exclusive", "reverse")}
    ctx.bind(node.outputs[0], ctx.emit("cumsum", x=x, axis=np.int32(axis[0] % len(x.shape)), **flags))


@lowers("Range", inputs=3)
def range_(ctx: Context, node: ir.Node) -> None:
    """start + position * delta, where the number of elements is known."""
    y = node.outputs[0]
    (count,), dtype = ctx.shape(y), ctx.mil_dtype(y)
    start, delta = ctx.read(node.inputs[0]), ctx.read(node.inputs[2])
    steps = as_stored(np.arange(count), dtype, "positions")
    ctx.bind(y, ctx.emit("add", x=ctx.emit("mul", x=steps, y=delta), y=start))


@lowers("ConstantOfShape", attributes=("value",))
def constant_of_shape(ctx: Context, node: ir.Node) -> None:
    """`fill`."""
    y = node.outputs[0]
    given = node.attributes.get("value")
    number = np.float32(0) if given is None else given.as_tensor().numpy().reshape(-1)[0]
    if ctx.constant_ints(node, 0) is None or not ctx.shape(y):
        raise Refused("its shape has no axes")
    stored = as_stored(np.asarray(number), ctx.mil_dtype(y), "value")[()]
    ctx.bind(y, ctx.emit("fill", shape=np.asarray(ctx.shape(y), np.int32), value=stored))


@lowers("Trilu", attributes=("upper",), inputs=2)
def trilu(ctx: Context, node: ir.Node) -> None:
    """`select` by a constant triangle: `band_part` multiplies, which makes NaN of infinite elements."""
    y, x = node.outputs[0], ctx.read(node.inputs[0])
    diagonal = (ctx.constant_ints(node, 1) or (0,))[0]
    full: Array = np.ones(x.shape[-2:], bool)
    kept = np.triu(full, diagonal) if get_int(node, "upper", 1) else np.tril(full, diagonal)
    zero = ctx.stored(np.zeros((), dtype_of(x)), "zero")
    ctx.bind(y, select(ctx, ctx.stored(kept, "triangle"), x, zero, ctx.shape(y)))
