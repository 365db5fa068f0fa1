"""MaxPool that also says where its maxima are, and MaxUnpool, which puts them back."""

from __future__ import annotations

import itertools
import math

import numpy as np
import onnx_ir as ir

from edgeport.targets.tflite.attributes import int_attr
from edgeport.targets.tflite.builder import Tensor
from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.layout import Layout
from edgeport.targets.tflite.ops.elementwise import cast
from edgeport.targets.tflite.registry import Refused, lowers
from edgeport.targets.tflite.strides import strided
from edgeport.targets.window import Window, check_unpool, places


def max_pool_with_indices(ctx: Context, node: ir.Node, padded: Tensor, win: Window, layout: Layout) -> None:
    """A running maximum over the window's taps, and beside it the place of the tap that was largest first.

    ONNX counts places in the whole input [N, C, ...]; `storage_order` 1 counts the spatial ones column by column.

    Args:
        ctx: the lowering's state.
        node: the MaxPool.
        padded: [N, ..., C] float32, padded explicitly.
        win: the window.
        layout: how its outputs are stored.
    """
    y, indices = node.outputs[0], node.outputs[1]
    if padded.dtype != "float32":
        raise Refused(f"Indices of {padded.dtype} are not supported", "cast to float32")
    best: Tensor | None = None
    place: Tensor | None = None
    by_column = bool(int_attr(node, "storage_order", 0))
    for offsets in itertools.product(*(range(k) for k in win.kernel)):
        tap = _tap(ctx, y, padded, win, offsets)
        here = ctx.builder.constant("const/places", places(win, offsets, by_column).astype(np.int32)[None, ..., None])
        if best is None or place is None:
            best, place = tap, here
            continue
        larger = ctx.step(y, "GREATER", [tap, best], "GreaterOptions", dtype="bool")
        place = ctx.step(indices, "SELECT_V2", [larger, here, place], "SelectV2Options", tap.shape, "int32")
        best = ctx.step(y, "MAXIMUM", [tap, best], "MaximumMinimumOptions")
    assert best is not None
    assert place is not None
    batch, channels = padded.shape[0], padded.shape[-1]
    planes = np.arange(batch * channels, dtype=np.int64).reshape(batch, *(1,) * len(win.size), channels)
    total = batch * channels * math.prod(win.size)
    if total >= 2**31:
        raise Refused(f"an input of {total} elements is too large for Indices", code="unsupported-shape")
    base = ctx.builder.constant(f"{indices.name}/planes", (planes * math.prod(win.size)).astype(np.int32))
    whole = ctx.step(indices, "ADD", [place, base], "AddOptions", best.shape)
    ctx.bind_float(node, y, best, layout)
    ctx.bind(node, indices, cast(ctx, indices, whole, "int64"), layout)


def _tap(ctx: Context, y: ir.Value, padded: Tensor, win: Window, offsets: tuple[int, ...]) -> Tensor:
    begin = [0, *(o * d for o, d in zip(offsets, win.dilations, strict=True)), 0]
    shape = (padded.shape[0], *win.out, padded.shape[-1])
    return strided(ctx, y, padded, begin, [1, *win.strides, 1], shape)


@lowers("MaxUnpool", attributes=("kernel_shape", "pads", "strides"), inputs=3)
def max_unpool(ctx: Context, node: ir.Node) -> None:
    """SCATTER_ND into zeros. It adds up what falls on one place, so the indices must not repeat."""
    x, indices, y = node.inputs[0], node.inputs[1], node.outputs[0]
    assert x is not None
    assert indices is not None
    shape, out_shape = ctx.shape(x), ctx.shape(y)
    check_unpool(node, shape, out_shape, indices)
    known = ctx.constant(indices)
    count, total = math.prod(shape), math.prod(out_shape)
    if known is not None:
        where = ctx.builder.constant("const/index", known.astype(np.int32).reshape(-1, 1))
    else:
        where = ctx.temporary(y, "index", (count, 1), "int32")
        ctx.reshape(cast(ctx, y, ctx.read(node, indices), "int32"), where)
    updates = ctx.temporary(y, "updates", (count,), ctx.dtype(x))
    ctx.reshape(ctx.read(node, x), updates)
    flat = ctx.temporary(y, "flat", (total,), updates.dtype)
    ctx.emit("SCATTER_ND", [where, updates, ctx.ints("shape", (total,))], [flat], "ScatterNdOptions")
    ctx.reshape(flat, ctx.output(node))
