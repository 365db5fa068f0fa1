"""MaxPool that also says where its maxima are, and MaxUnpool, which puts them back."""

from __future__ import annotations

import itertools
import math

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_int
from edgeport.targets.coreml.context import Context
from edgeport.targets.coreml.mil import Var
from edgeport.targets.coreml.registry import Refused, lowers
from edgeport.targets.coreml.taps import strided
from edgeport.targets.window import Window, check_unpool, places


def max_pool_with_indices(ctx: Context, node: ir.Node, data: Var, win: Window) -> None:
    """A running maximum over the window's taps, and beside it the place of the tap that was largest first.

    ONNX counts places in the whole input [N, C, ...]; `storage_order` 1 counts the spatial ones column by column.

    Args:
        ctx: the lowering's state.
        node: the MaxPool.
        data: floats [N, C, ...] with the window's padding.
        win: the window.
    """
    y, indices = node.outputs[0], node.outputs[1]
    batch, channels = data.shape[:2]
    total = batch * channels * math.prod(win.size)
    if total >= 2**31:
        raise Refused(f"an input of {total} elements is too large for Indices", code="unsupported-shape")
    best: Var | None = None
    place: Var | None = None
    by_column = bool(get_int(node, "storage_order", 0))
    for offsets in itertools.product(*(range(k) for k in win.kernel)):
        tap = data
        for axis, offset in enumerate(offsets):
            tap = strided(ctx, tap, axis + 2, offset * win.dilations[axis], win.strides[axis], win.out[axis])
        here = places(win, offsets, by_column).astype(np.int32)[None, None]
        if best is None:
            best, place = tap, np.broadcast_to(here, tuple(tap.shape)).astype(np.int32)
            continue
        larger = ctx.emit("greater", x=tap, y=best)
        place = ctx.emit("select", cond=larger, a=here, b=place)
        best = ctx.emit("maximum", x=tap, y=best)
    assert best is not None
    planes = np.arange(batch * channels, dtype=np.int64).reshape(batch, channels, *(1,) * len(win.size))
    base = (planes * math.prod(win.size)).astype(np.int32)
    ctx.bind(y, ctx.cast(best, ctx.mil_dtype(y)))
    ctx.bind(indices, ctx.emit("add", x=place, y=base))


@lowers("MaxUnpool", attributes=("kernel_shape", "pads", "strides"), inputs=3)
def max_unpool(ctx: Context, node: ir.Node) -> None:
    """`scatter` into zeros. What becomes of indices that repeat is not said, so they must not."""
    x, indices, y = node.inputs[0], node.inputs[1], node.outputs[0]
    assert x is not None
    assert indices is not None
    shape, out_shape = ctx.shape(x), ctx.shape(y)
    check_unpool(node, shape, out_shape, indices)
    flat = ctx.emit(
        "scatter",
        data=ctx.floating(np.zeros(math.prod(out_shape))),
        indices=ctx.reshape(ctx.read(indices), (math.prod(shape),)),
        updates=ctx.reshape(ctx.read(x), (math.prod(shape),)),
        axis=np.int32(0),
        mode="update",
    )
    ctx.bind(y, ctx.reshape(flat, out_shape))
