"""Writes into a box of the data, which are one DYNAMIC_UPDATE_SLICE and no scatter."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgeport.sample import Array
from edgeport.targets.bounds import constant_positions
from edgeport.targets.tflite.builder import Tensor
from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.layout import completed
from edgeport.targets.tflite.layout_choice import common_layout
from edgeport.targets.tflite.ops.index import first
from edgeport.targets.tflite.ops.positions import computed_positions


def overwrite_neighbours(ctx: Context, node: ir.Node, indices: ir.Value) -> bool:
    """One DYNAMIC_UPDATE_SLICE for one row, or constant neighbouring rows, of the first axis, in whatever layout."""
    x, updates, y = first(node), node.inputs[2], node.outputs[0]
    assert updates is not None
    counts, size = ctx.shape(indices), ctx.shape(x)[0]
    constant = ctx.constant(indices)
    if len(counts) != 2 or counts[1] != 1 or (constant is None and counts[0] != 1):
        return False
    layout = completed(common_layout(ctx, [x, updates], ctx.shape(x)), ctx.rank(x))
    if constant is not None:
        rows = constant_positions(constant.reshape(-1), size)
        if not np.array_equal(rows, rows[0] + np.arange(len(rows))):
            return False
        begin = ctx.ints("begin", [int(rows[0]) if a == 0 else 0 for a in layout])
    else:
        found = computed_positions(ctx, y, indices, ctx.read(node, indices), size)
        begin = _corner(ctx, y, reshaped(ctx, y, found, (1,)), layout.index(0), len(layout))
    operands = [ctx.read(node, x, layout), ctx.read(node, updates, layout), begin]
    ctx.emit("DYNAMIC_UPDATE_SLICE", operands, [ctx.output(node, layout)])
    return True


def overwrite_from(ctx: Context, node: ir.Node, start: Tensor, axis: int) -> None:
    """DYNAMIC_UPDATE_SLICE at a place computed at run time."""
    x, updates, y = first(node), node.inputs[1], node.outputs[0]
    assert updates is not None
    begin = _corner(ctx, y, start, axis, ctx.rank(x))
    ctx.emit("DYNAMIC_UPDATE_SLICE", [ctx.read(node, x), ctx.read(node, updates), begin], [ctx.output(node)])


def _corner(ctx: Context, y: ir.Value, start: Tensor, axis: int, rank: int) -> Tensor:
    """Coordinates that are `start` on one axis, else 0."""
    if rank == 1:
        return start
    zero = ctx.builder.constant("const/zero", np.zeros(1, start.dtype))
    begin = ctx.temporary(y, "begin", (rank,), start.dtype)
    parts = [start if i == axis else zero for i in range(rank)]
    ctx.emit("CONCATENATION", parts, [begin], "ConcatenationOptions", axis=0)
    return begin


def overwrite_box(ctx: Context, node: ir.Node, updates: ir.Value, target: Array, inner: int) -> bool:
    """One DYNAMIC_UPDATE_SLICE where the updates fill a box of the data in order, as `x[:, 2:5] = u` does."""
    x = first(node)
    shape = ctx.shape(x)
    elements = (target[:, None] * inner + np.arange(inner)).reshape(-1)
    corner, opposite = (np.asarray(np.unravel_index(e, shape)) for e in (elements[0], elements[-1]))
    sizes = opposite - corner + 1
    if np.any(sizes <= 0) or math.prod(sizes) != elements.size:
        return False
    box = np.ravel_multi_index(tuple(np.indices(sizes) + corner.reshape(-1, *(1,) * len(shape))), shape)
    if not np.array_equal(box.reshape(-1), elements):
        return False
    data = ctx.read(node, updates)
    if data.shape != tuple(sizes):
        same = ctx.temporary(node.outputs[0], "box", [int(s) for s in sizes], data.dtype)
        ctx.reshape(data, same)
        data = same
    begin = ctx.ints("begin", [int(c) for c in corner])
    ctx.emit("DYNAMIC_UPDATE_SLICE", [ctx.read(node, x), data, begin], [ctx.output(node)])
    return True


def reshaped(ctx: Context, like: ir.Value, tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """The same elements in another shape."""
    if tensor.shape == tuple(shape):
        return tensor
    out = ctx.temporary(like, "rows", shape, tensor.dtype)
    ctx.reshape(tensor, out)
    return out
