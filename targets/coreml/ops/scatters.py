"""Scatter operators: copies of the data with updates written or combined into places named by indices.

Of updates that go to one place ONNX leaves open which one stays, and so does MIL; where the indices are constants it
is the last, as in ONNX Runtime.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_int, get_str, input_of
from edgeport.sample import Array
from edgeport.targets.bounds import constant_positions
from edgeport.targets.coreml.context import Context
from edgeport.targets.coreml.mil import Var
from edgeport.targets.coreml.ops.gathers import as_before, as_numbers, side_by_side
from edgeport.targets.coreml.ops.joins import spread, taken
from edgeport.targets.coreml.ops.positions import positions
from edgeport.targets.coreml.ops.views import first
from edgeport.targets.coreml.registry import Refused, lowers

_MODES = {"none": "update", "add": "add", "mul": "mul", "min": "min", "max": "max"}


@lowers("ScatterND", attributes=("reduction",), inputs=3)
def scatter_nd(ctx: Context, node: ir.Node) -> None:
    """`scatter_nd`; one box written by constant indices is put between what is around it."""
    indices = node.inputs[1]
    assert indices is not None
    shape = ctx.shape(first(node))
    where = positions(ctx, indices, shape[: ctx.shape(indices)[-1]])
    _write(ctx, node, 2, where, _mode(node))


@lowers("ScatterElements", attributes=("axis", "reduction"), inputs=3)
def scatter_elements(ctx: Context, node: ir.Node) -> None:
    """`scatter_along_axis`, or `scatter_nd` where the indices are constants or cover other axes in part."""
    x, indices, y = first(node), node.inputs[1], node.outputs[0]
    assert indices is not None
    shape, counts = ctx.shape(x), ctx.shape(indices)
    axis = get_int(node, "axis", 0) % len(shape)
    where = positions(ctx, indices, shape[axis])
    mode = _mode(node)
    if not isinstance(where, np.ndarray) and (*counts[:axis], shape[axis], *counts[axis + 1 :]) == shape:
        operands = {"data": as_numbers(ctx, ctx.read(x)), "updates": as_numbers(ctx, ctx.read(node.inputs[2]))}
        result = ctx.emit("scatter_along_axis", **operands, indices=where, axis=np.int32(axis), mode=mode)
        ctx.bind(y, as_before(ctx, x, result))
        return
    columns: list[Var | Array] = list(np.indices(counts, np.int32)[..., None])
    columns[axis] = where[..., None] if isinstance(where, np.ndarray) else ctx.reshape(where, (*counts, 1))
    _write(ctx, node, 2, side_by_side(ctx, columns), mode)


@lowers("TensorScatter", attributes=("axis", "mode"), inputs=3)
def tensor_scatter(ctx: Context, node: ir.Node) -> None:
    """Each sample's update goes to consecutive places of `axis`, from the sample's own index on: a cache's new rows."""
    x, updates, y = first(node), node.inputs[1], node.outputs[0]
    assert updates is not None
    shape, counts, mode = ctx.shape(x), ctx.shape(updates), get_str(node, "mode", "linear")
    axis = get_int(node, "axis", -2) % len(shape)
    if mode not in ("linear", "circular") or axis == 0:
        raise Refused(f"mode={mode!r} on axis {axis} is not supported")
    size, starts = shape[axis], input_of(node, 2)
    begin = np.zeros(shape[0], np.int64) if starts is None else ctx.constant(starts)
    row = [counts[axis] if a == axis else 1 for a in range(len(shape))]
    steps = np.arange(counts[axis], dtype=np.int32).reshape(row)
    column = (shape[0], *(1,) * (len(shape) - 1))
    if begin is not None:
        places = begin.reshape(column) + steps
        places = constant_positions(places % size if mode == "circular" else places, size)
        grid = np.indices(counts[: axis + 1], np.int32)
        grid[axis] = np.broadcast_to(places.reshape(shape[0], *row[1 : axis + 1]), counts[: axis + 1])
        _write(ctx, node, 1, np.moveaxis(grid, 0, -1), "update")
        return
    assert starts is not None
    moved = ctx.emit("add", x=ctx.reshape(ctx.read(starts), column), y=steps)
    if mode == "circular":
        moved = ctx.emit("mod", x=moved, y=np.int32(size))
    operands = {"data": as_numbers(ctx, ctx.read(x)), "updates": as_numbers(ctx, ctx.read(updates))}
    where = spread(ctx, moved, counts)
    result = ctx.emit("scatter_along_axis", **operands, indices=where, axis=np.int32(axis), mode="update")
    ctx.bind(y, as_before(ctx, x, result))


def _mode(node: ir.Node) -> str:
    reduction = get_str(node, "reduction", "none")
    if reduction not in _MODES:
        raise Refused(f"reduction={reduction!r} is unknown")
    return _MODES[reduction]


def _write(ctx: Context, node: ir.Node, index: int, where: Var | Array, mode: str) -> None:
    """Writes input `index` into the first input at coordinates of its leading axes, [..., axes]."""
    x, updates, y = first(node), node.inputs[index], node.outputs[0]
    assert updates is not None
    shape, depth = ctx.shape(x), int(where.shape[-1])
    count = math.prod(where.shape[:-1])
    rows = (count, *shape[depth:])
    if 0 in rows:
        ctx.bind(y, ctx.read(x))
        return
    if isinstance(where, np.ndarray):
        flat = where.reshape(count, depth)
        box = _box(flat) if mode == "update" else None
        if box is not None:
            data = ctx.reshape(ctx.read(updates), (*map(len, box), *shape[depth:]))
            ctx.bind(y, _put(ctx, ctx.read(x), data, [r.start for r in box]))
            return
        data = ctx.reshape(as_numbers(ctx, ctx.read(updates)), rows)
        if mode == "update":
            last = _last(flat, shape[:depth])
            if len(last) < count:
                flat, data = flat[last], ctx.emit("gather", x=data, indices=last, axis=np.int32(0))
        where = flat
    else:
        where = ctx.reshape(where, (count, depth))
        data = ctx.reshape(as_numbers(ctx, ctx.read(updates)), rows)
    result = ctx.emit("scatter_nd", data=as_numbers(ctx, ctx.read(x)), indices=where, updates=data, mode=mode)
    ctx.bind(y, as_before(ctx, x, result))


def _box(places: Array) -> list[range] | None:
    """The box of places that these coordinates run through in order, None if they don't."""
    low, high = places.min(axis=0), places.max(axis=0) + 1
    if math.prod(high - low) != len(places):
        return None
    grid = np.moveaxis(np.indices(high - low), 0, -1).reshape(len(places), -1) + low
    return [range(a, b) for a, b in zip(low, high, strict=True)] if np.array_equal(grid, places) else None


def _last(places: Array, sizes: Sequence[int]) -> Array:
    """Numbers, int32, of the rows of coordinates after which none is the same."""
    flat = np.ravel_multi_index(tuple(places.T), tuple(sizes))
    final = {int(place): number for number, place in enumerate(flat)}
    return np.asarray(sorted(final.values()), np.int32)


def _put(ctx: Context, data: Var, part: Var, begin: list[int]) -> Var:
    """`data` with the box from `begin` on replaced, by slices and joins: one axis after the other, inner ones first."""
    axis = next((a for a, b in enumerate(begin) if b or part.shape[a] != data.shape[a]), None)
    if axis is None:
        return part
    start, stop = begin[axis], begin[axis] + part.shape[axis]

    def between(a: int, b: int) -> Var:
        return taken(ctx, data, [range(a, b) if i == axis else range(size) for i, size in enumerate(data.shape)])

    middle = _put(ctx, between(start, stop), part, [0 if a == axis else b for a, b in enumerate(begin)])
    pieces = [between(0, start)] if start else []
    pieces.append(middle)
    if stop < data.shape[axis]:
        pieces.append(between(stop, data.shape[axis]))
    return ctx.emit("concat", values=tuple(pieces), axis=np.int32(axis))
