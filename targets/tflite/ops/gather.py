"""Gather operators: elements picked by index."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.targets.bounds import constant_positions
from edgeport.targets.tflite.attributes import int_attr
from edgeport.targets.tflite.builder import Tensor
from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.layout import ADDED
from edgeport.targets.tflite.layout_choice import full_layout
from edgeport.targets.tflite.ops.embedding import embedding, is_embedding
from edgeport.targets.tflite.ops.index import MAX_RANK, cut, first
from edgeport.targets.tflite.ops.positions import computed_positions
from edgeport.targets.tflite.registry import lowers


@lowers("Gather", attributes=("axis",), inputs=2, int8=True)
def gather(ctx: Context, node: ir.Node) -> None:
    """GATHER; one constant index is a SLICE.

    Row numbers of a constant table stay as they are: an embedding's ids are never negative, and LiteRT reports one
    that is.
    """
    if is_embedding(ctx, node):
        embedding(ctx, node)
        return
    x, indices, y = first(node), node.inputs[1], node.outputs[0]
    assert indices is not None
    axis = int_attr(node, "axis", 0) % ctx.rank(x)
    size = ctx.shape(x)[axis]
    layout = full_layout(ctx, x)
    position, extra = layout.index(axis), ctx.rank(indices)
    data = ctx.read(node, x, layout)
    constant = ctx.constant(indices)
    if constant is not None:
        constant = constant_positions(constant, size)
        if constant.size == 1 and len(data.shape) <= MAX_RANK and not data.constant:
            begin = [int(constant.reshape(-1)[0]) if i == position else 0 for i in range(len(layout))]
            renamed = tuple(ADDED if a == axis else a + extra - 1 if a > axis else a for a in layout)
            cut(ctx, node, data, y, renamed, begin)
            return
        where = ctx.builder.constant("const/index", constant.astype(np.int32))
    else:
        where = ctx.read(node, indices)
        if not (data.constant and axis == 0):
            where = computed_positions(ctx, y, indices, where, size)
    renamed_axes: list[int] = []
    for a in layout:
        renamed_axes.extend(range(axis, axis + extra) if a == axis else [a + extra - 1 if a > axis else a])
    out_layout = tuple(renamed_axes)
    out = ctx.carrier(y, out_layout, data)
    ctx.emit("GATHER", [data, where], [out], "GatherOptions", axis=position, batchDims=0)
    ctx.bind(node, y, out, out_layout)


@lowers("GatherElements", attributes=("axis",), inputs=2)
def gather_elements(ctx: Context, node: ir.Node) -> None:
    """GATHER_ND over full coordinates: those of the output, with the indices in place of `axis`."""
    x, indices, y = first(node), node.inputs[1], node.outputs[0]
    assert indices is not None
    rank, shape = ctx.rank(x), ctx.shape(indices)
    axis = int_attr(node, "axis", 0) % rank
    size, constant = ctx.shape(x)[axis], ctx.constant(indices)
    grid = np.indices(shape, np.int32)
    if constant is not None:
        grid[axis] = constant_positions(constant, size)
        where = ctx.builder.constant("const/index", np.moveaxis(grid, 0, -1))
    else:
        found = computed_positions(ctx, y, indices, ctx.read(node, indices), size)
        column = ctx.temporary(y, "column", (*shape, 1), found.dtype)
        ctx.reshape(found, column)
        columns = [ctx.builder.constant("const/grid", g[..., None].astype(found.dtype)) for g in grid]
        columns[axis] = column
        where = _joined(ctx, y, columns)
    ctx.emit("GATHER_ND", [ctx.read(node, x), where], [ctx.output(node)], "GatherNdOptions")


@lowers("GatherND", attributes=("batch_dims",), inputs=2)
def gather_nd(ctx: Context, node: ir.Node) -> None:
    """GATHER_ND; batch axes become coordinates of their own."""
    x, indices, y = first(node), node.inputs[1], node.outputs[0]
    assert indices is not None
    shape, batch = ctx.shape(indices), int_attr(node, "batch_dims", 0)
    sizes = ctx.shape(x)[batch : batch + shape[-1]]
    grid = np.moveaxis(np.indices(shape[:-1], np.int32)[:batch], 0, -1)
    constant = ctx.constant(indices)
    if constant is not None:
        full = np.concatenate([grid, constant_positions(constant, sizes).astype(np.int32)], axis=-1)
        where = ctx.builder.constant("const/index", full)
    else:
        where = computed_positions(ctx, y, indices, ctx.read(node, indices), sizes)
        if batch:
            where = _joined(ctx, y, [ctx.builder.constant("const/grid", grid.astype(where.dtype)), where])
    data = ctx.read(node, x)
    ctx.emit("GATHER_ND", [data, where], [ctx.output(node)], "GatherNdOptions")


def _joined(ctx: Context, like: ir.Value, columns: list[Tensor]) -> Tensor:
    """Coordinates side by side on the last axis."""
    last = len(columns[0].shape) - 1
    shape = (*columns[0].shape[:-1], sum(c.shape[-1] for c in columns))
    out = ctx.temporary(like, "coordinates", shape, columns[0].dtype)
    ctx.emit("CONCATENATION", columns, [out], "ConcatenationOptions", axis=last)
    return out
