"""Operators that cut, join or repeat along axes."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_int
from edgeport.targets.coreml.context import Context
from edgeport.targets.coreml.mil import Var
from edgeport.targets.coreml.ops.views import first
from edgeport.targets.coreml.registry import Refused, lowers


@lowers("Concat", attributes=("axis",), inputs=None)
def concat(ctx: Context, node: ir.Node) -> None:
    """`concat`; a single part is the whole."""
    y = node.outputs[0]
    parts = [ctx.read(v) for v in node.inputs if v is not None]
    axis = get_int(node, "axis", 0) % ctx.rank(y)
    ctx.bind(y, parts[0] if len(parts) == 1 else ctx.emit("concat", values=tuple(parts), axis=np.int32(axis)))


@lowers("Split", attributes=("axis", "num_outputs"), inputs=2, outputs=None)
def split(ctx: Context, node: ir.Node) -> None:
    """`split` into parts of the outputs' sizes."""
    x = first(node)
    axis = get_int(node, "axis", 0) % ctx.rank(x)
    sizes = [ctx.shape(out)[axis] for out in node.outputs]
    if sum(sizes) != ctx.shape(x)[axis] or 0 in sizes:
        raise Refused(f"its parts {sizes} do not divide {ctx.shape(x)[axis]}")
    if len(sizes) == 1:
        ctx.bind(node.outputs[0], ctx.read(x))
        return
    parts = ctx.emit("split", x=ctx.read(x), split_sizes=np.asarray(sizes, np.int32), axis=np.int32(axis))
    for value, part in zip(node.outputs, parts, strict=True):
        ctx.bind(value, part)


@lowers("Slice", inputs=5)
def slice_op(ctx: Context, node: ir.Node) -> None:
    """`slice_by_index`; negative steps take the same elements forwards and `reverse` them.

    A start that is computed is one of `slice_by_size`, whose size the output tells.
    """
    x, y = first(node), node.outputs[0]
    shape, rank = ctx.shape(x), ctx.rank(x)
    axes = ctx.constant_ints(node, 3)
    steps = ctx.constant_ints(node, 4)
    if any(ctx.constant(v) is None for v in node.inputs[1:3]):
        _slice_from(ctx, node, axes, steps)
        return
    starts, ends = ctx.constant_ints(node, 1) or (), ctx.constant_ints(node, 2) or ()
    axes = tuple(range(len(starts))) if axes is None else axes
    steps = (1,) * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise Refused("its starts, ends, axes and steps are not equally many")
    kept = [range(size) for size in shape]
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step == 0 or not -rank <= axis < rank:
            raise Refused(f"step {step} on axis {axis} of {rank} is not possible")
        kept[axis] = range(*slice(start, end, step).indices(shape[axis]))
    if tuple(map(len, kept)) != ctx.shape(y) or not all(kept):
        raise Refused(f"it gives {list(map(len, kept))}, declared is {list(ctx.shape(y))}")
    ctx.bind(y, taken(ctx, ctx.read(x), kept))


def taken(ctx: Context, data: Var, kept: list[range]) -> Var:
    """The elements of `data` at the places of one range an axis."""
    backwards = [axis for axis, places in enumerate(kept) if places.step < 0 and len(places) > 1]
    kept = [r[::-1] if axis in backwards else range(r[0], r[-1] + 1, abs(r.step)) for axis, r in enumerate(kept)]
    if any(len(places) != size for places, size in zip(kept, data.shape, strict=True)):
        data = ctx.emit(
            "slice_by_index",
            x=data,
            begin=np.asarray([places[0] for places in kept], np.int32),
            end=np.asarray([places[-1] + 1 for places in kept], np.int32),
            stride=np.asarray([places.step for places in kept], np.int32),
        )
    return ctx.emit("reverse", x=data, axes=np.asarray(backwards, np.int32)) if backwards else data


def _slice_from(ctx: Context, node: ir.Node, axes: tuple[int, ...] | None, steps: tuple[int, ...] | None) -> None:
    x, y, starts = first(node), node.outputs[0], node.inputs[1]
    assert starts is not None
    shape, rank, count = ctx.shape(x), ctx.rank(x), ctx.shape(starts)[0]
    axes = tuple(range(count)) if axes is None else tuple(axis % rank for axis in axes)
    if steps is not None and set(steps) != {1}:
        raise Refused("a slice with steps whose limits are computed is not supported", "make them constants")
    limits = np.asarray([shape[axis] for axis in axes], np.int32)
    begin = ctx.read(starts)
    below = ctx.emit("less", x=begin, y=np.int32(0))
    begin = ctx.emit("select", cond=below, a=ctx.emit("add", x=begin, y=limits), b=begin)
    parts = [np.zeros(1, np.int32)] * rank
    for number, axis in enumerate(axes):
        parts[axis] = begin if count == 1 else taken(ctx, begin, [range(number, number + 1)])
    corner = begin
    if rank > 1:
        corner = ctx.emit("concat", values=tuple(parts), axis=np.int32(0))
    size = np.asarray(ctx.shape(y), np.int32)
    ctx.bind(y, ctx.emit("slice_by_size", x=ctx.read(x), begin=corner, size=size))


@lowers("Expand", inputs=2)
def expand(ctx: Context, node: ir.Node) -> None:
    """`tile` of axes of size 1."""
    y = node.outputs[0]
    ctx.bind(y, spread(ctx, ctx.read(first(node)), ctx.shape(y)))


def spread(ctx: Context, data: Var, shape: tuple[int, ...]) -> Var:
    """`data` broadcast to a shape."""
    data = ctx.reshape(data, (*(1,) * (len(shape) - len(data.shape)), *data.shape))
    return repeated(ctx, data, [wanted // have for wanted, have in zip(shape, data.shape, strict=True)])


def repeated(ctx: Context, data: Var, counts: list[int]) -> Var:
    """`data` one after the other `counts[i]` times along axis i, as numpy's tile."""
    if all(count == 1 for count in counts):
        return data
    return ctx.emit("tile", x=data, reps=np.asarray(counts, np.int32))


@lowers("Tile", inputs=2)
def tile(ctx: Context, node: ir.Node) -> None:
    """`tile`."""
    counts = ctx.constant_ints(node, 1) or ()
    ctx.bind(node.outputs[0], repeated(ctx, ctx.read(first(node)), list(counts)))


@lowers("ReverseSequence", attributes=("batch_axis", "time_axis"), inputs=2)
def reverse_sequence(ctx: Context, node: ir.Node) -> None:
    """`reverse_sequence`, whose lengths may come at run time."""
    x, y = first(node), node.outputs[0]
    time, batch = np.int32(get_int(node, "time_axis", 0)), np.int32(get_int(node, "batch_axis", 1))
    lengths = ctx.read(node.inputs[1])
    ctx.bind(y, ctx.emit("reverse_sequence", x=ctx.read(x), lengths=lengths, seq_axis=time, batch_axis=batch))
