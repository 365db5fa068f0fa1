"""Gather operators: elements picked by index."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_int
from edgeport.targets.coreml import mil
from edgeport.targets.coreml.context import Context
from edgeport.targets.coreml.mil import Var
from edgeport.targets.coreml.ops.joins import taken
from edgeport.targets.coreml.ops.positions import positions
from edgeport.targets.coreml.ops.views import first
from edgeport.targets.coreml.registry import lowers
from edgeport.targets.coreml.weights import weight


@lowers("Gather", attributes=("axis",), inputs=2)
def gather(ctx: Context, node: ir.Node) -> None:
    """`gather`; one constant index is a slice. A table is stored as the plan says."""
    x, indices, y = first(node), node.inputs[1], node.outputs[0]
    assert indices is not None
    axis = get_int(node, "axis", 0) % ctx.rank(x)
    where = positions(ctx, indices, ctx.shape(x)[axis])
    if isinstance(where, np.ndarray) and where.size == 1:
        at = int(where.reshape(-1)[0])
        kept = [range(at, at + 1) if a == axis else range(size) for a, size in enumerate(ctx.shape(x))]
        ctx.bind(y, ctx.reshape(taken(ctx, ctx.read(x), kept), ctx.shape(y)))
        return
    if not tuple(where.shape):  # MIL keeps the axis of a single index
        where = ctx.reshape(where, (1,))
    compressed = ctx.constant(x) is not None and ctx.plan.compression(x.name) is not None
    data = weight(ctx, node, 0) if compressed else as_numbers(ctx, ctx.read(x))
    part = ctx.emit("gather", x=data, indices=where, axis=np.int32(axis))
    ctx.bind(y, as_before(ctx, x, ctx.reshape(part, ctx.shape(y))))


@lowers("GatherElements", attributes=("axis",), inputs=2)
def gather_elements(ctx: Context, node: ir.Node) -> None:
    """`gather_along_axis` of as much of the other axes as the indices cover."""
    x, indices, y = first(node), node.inputs[1], node.outputs[0]
    assert indices is not None
    axis = get_int(node, "axis", 0) % ctx.rank(x)
    where = positions(ctx, indices, ctx.shape(x)[axis])
    kept = [range(ctx.shape(x if a == axis else y)[a]) for a in range(ctx.rank(x))]
    part = taken(ctx, as_numbers(ctx, ctx.read(x)), kept)
    ctx.bind(y, as_before(ctx, x, ctx.emit("gather_along_axis", x=part, indices=where, axis=np.int32(axis))))


@lowers("GatherND", attributes=("batch_dims",), inputs=2)
def gather_nd(ctx: Context, node: ir.Node) -> None:
    """`gather_nd`; batch axes become coordinates of their own."""
    x, indices, y = first(node), node.inputs[1], node.outputs[0]
    assert indices is not None
    counts, batch = ctx.shape(indices), get_int(node, "batch_dims", 0)
    where = positions(ctx, indices, ctx.shape(x)[batch : batch + counts[-1]])
    if batch:
        lead = np.moveaxis(np.indices(counts[:-1], np.int32)[:batch], 0, -1)
        where = side_by_side(ctx, [lead, where])
    numbers = as_numbers(ctx, ctx.read(x))
    ctx.bind(y, as_before(ctx, x, ctx.emit("gather_nd", x=numbers, indices=where)))


def side_by_side(ctx: Context, columns: list[Var | np.ndarray]) -> Var | np.ndarray:
    """Coordinates joined on the last axis."""
    if all(isinstance(column, np.ndarray) for column in columns):
        return np.concatenate(columns, axis=-1)
    return ctx.emit("concat", values=tuple(columns), axis=np.int32(len(columns[0].shape) - 1))


def as_numbers(ctx: Context, data: Var) -> Var:
    """Booleans as integers, which gathers and scatters take."""
    return ctx.cast(data, "int32") if mil.dtype_of(data) == "bool" else data


def as_before(ctx: Context, value: ir.Value, data: Var) -> Var:
    """What `as_numbers` made of a value, in the value's type again."""
    return ctx.cast(data, ctx.mil_dtype(value))
