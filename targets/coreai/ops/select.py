"""Slices, gathers and pads: elements chosen by place."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_int, get_str
from edgeport.sample import Array
from edgeport.targets.coreai.context import Context
from edgeport.targets.coreai.elements import cast, equal, raw_cast, where
from edgeport.targets.coreai.program import Tensor
from edgeport.targets.coreai.registry import Refused, lowers
from edgeport.targets.coreai.views import (
    box,
    broadcast,
    concat,
    cut,
    flip,
    gather_nd,
    moved,
    pad,
    reshape,
    squeeze,
    take,
    take_along,
    unsqueeze,
)

_PAD_MODES = ("constant", "edge", "reflect", "wrap")
_INT32 = np.iinfo(np.int32)


def places(x: Tensor) -> Tensor:
    """Indices as Core AI takes them: int32, in which every axis fits."""
    if x.data is not None:
        return x.builder.constant(np.clip(x.data, _INT32.min, _INT32.max).astype(np.int32))
    return raw_cast(x, "int32")


def positive(x: Tensor, size: int) -> Tensor:
    """int32 indices of which negative ones count from the end."""
    found = places(x)
    if found.data is not None:
        return x.builder.constant(np.where(found.data < 0, found.data + size, found.data).astype(np.int32))
    return where(found < 0, found + size, found)


@lowers("Slice", inputs=5)
def sliced(ctx: Context, node: ir.Node) -> None:
    """Cuts; those that go backwards are turned round behind them."""
    x = ctx.read(node, 0)
    starts, stops = ctx.constant_ints(node, 1), ctx.constant_ints(node, 2)
    if starts is None or stops is None:
        raise Refused("starts and ends are missing")
    axes = ctx.constant_ints(node, 3) or tuple(range(len(starts)))
    steps = ctx.constant_ints(node, 4) or (1,) * len(starts)
    cuts, turned = {}, []
    for start, stop, axis, step in zip(starts, stops, axes, steps, strict=True):
        chosen = range(x.shape[axis])[start:stop:step]
        if len(chosen) == 0:
            cuts[axis % x.rank] = (0, 0, 1)
        elif step > 0:
            cuts[axis % x.rank] = (chosen[0], chosen[-1] + 1, step)
        else:
            cuts[axis % x.rank] = (chosen[-1], chosen[0] + 1, -step)
            turned.append(axis % x.rank)
    ctx.bind(node, flip(box(x, cuts), turned))


@lowers("Gather", inputs=2, attributes=("axis",))
def gather(ctx: Context, node: ir.Node) -> None:
    """A cut where the indices are one or consecutive."""
    x, indices, axis = ctx.read(node, 0), ctx.read(node, 1), get_int(node, "axis", 0)
    axis %= x.rank
    data = indices.data
    if data is not None and data.size and data.ndim <= 1:
        _within(data, x.shape[axis])
        flat = data.reshape(-1).astype(np.int64) % x.shape[axis]
        if (np.diff(flat) == 1).all():
            part = cut(x, axis, int(flat[0]), int(flat[-1]) + 1)
            ctx.bind(node, part if data.ndim else squeeze(part, axis))
            return
    if 0 in ctx.shape(node.outputs[0]):
        ctx.bind(node, ctx.builder.constant(np.zeros(ctx.shape(node.outputs[0]), x.dtype)))
        return
    ctx.bind(node, take(x, places(indices), axis))


def _within(data: Array, size: int) -> None:
    if data.size and not -size <= data.min() <= data.max() < size:
        raise Refused(f"indices lie outside of an axis of size {size}")


@lowers("GatherElements", inputs=2, attributes=("axis",))
def gather_elements(ctx: Context, node: ir.Node) -> None:
    """Core AI wants the other axes of the same size."""
    x, indices = ctx.read(node, 0), ctx.read(node, 1)
    axis = get_int(node, "axis", 0) % x.rank
    x = box(x, {a: (0, d, 1) for a, d in enumerate(indices.shape) if a != axis})
    ctx.bind(node, take_along(x, places(indices), axis))


@lowers("GatherND", inputs=2, attributes=("batch_dims",))
def gathered_nd(ctx: Context, node: ir.Node) -> None:
    """Places in batch axes become part of the indices."""
    x, indices, batch = ctx.read(node, 0), places(ctx.read(node, 1)), get_int(node, "batch_dims", 0)
    if batch:
        lead = np.moveaxis(np.indices(x.shape[:batch], np.int32), 0, -1)
        lead = lead.reshape(*x.shape[:batch], *[1] * (indices.rank - batch - 1), batch)
        first = broadcast(ctx.builder.constant(lead), (*indices.shape[:-1], batch))
        indices = concat([first, indices], -1)
    ctx.bind(node, gather_nd(x, indices))


@lowers("OneHot", inputs=3, attributes=("axis",))
def one_hot(ctx: Context, node: ir.Node) -> None:
    """Comparisons with every number up to the depth."""
    indices, values = ctx.read(node, 0), ctx.read(node, 2)
    axis = get_int(node, "axis", -1) % len(ctx.shape(node.outputs[0]))
    depth = ctx.shape(node.outputs[0])[axis]
    spread = unsqueeze(cast(indices, "int64"), axis)
    wrapped = where(spread < 0, spread + depth, spread)
    numbers = np.arange(depth).reshape([-1 if a == axis else 1 for a in range(spread.rank)])
    off, on = (cut(values, 0, i, i + 1) for i in (0, 1))
    shape = ctx.shape(node.outputs[0])
    ctx.bind(node, where(equal(wrapped, numbers), broadcast(reshape(on, ()), shape), reshape(off, ())))


@lowers("Pad", inputs=4, attributes=("mode",))
def padded(ctx: Context, node: ir.Node) -> None:
    """Negative widths cut; what Core AI's modes do not reach is gathered."""
    x, widths = ctx.read(node, 0), ctx.constant_ints(node, 1)
    mode = get_str(node, "mode", "constant")
    if widths is None or mode not in _PAD_MODES:
        raise Refused(f"mode={mode!r} is unknown")
    axes = [a % x.rank for a in ctx.constant_ints(node, 3) or range(x.rank)]
    pairs = dict(zip(axes, zip(widths[: len(axes)], widths[len(axes) :], strict=True), strict=True))
    x = box(x, {a: (max(-b, 0), max(x.shape[a] - max(-e, 0), 0), 1) for a, (b, e) in pairs.items()})
    grown = {a: (max(b, 0), max(e, 0)) for a, (b, e) in pairs.items()}
    if mode == "constant":
        value = ctx.optional(node, 2)
        fill = x.like(0) if value is None else reshape(value, ())
        ctx.bind(node, pad(x, [grown.get(a, (0, 0)) for a in range(x.rank)], fill))
        return
    for axis, pair in grown.items():
        if any(pair):
            if x.shape[axis] == 0:
                raise Refused(f"mode={mode!r} has nothing to repeat along an axis of size 0")
            x = take(x, _repeated(x.shape[axis], pair, mode), axis)
    ctx.bind(node, x)


def _repeated(size: int, pair: tuple[int, int], mode: str) -> Array:
    """Numbers of the elements before, of and behind an axis."""
    numbers = np.arange(size)
    if mode == "edge":
        return np.pad(numbers, pair, mode="edge")
    return np.pad(numbers, pair, mode="reflect") if mode == "reflect" else np.pad(numbers, pair, mode="wrap")


@lowers("ReverseSequence", inputs=2, attributes=("batch_axis", "time_axis"))
def reverse_sequence(ctx: Context, node: ir.Node) -> None:
    """Up to each sequence's length the last comes first."""
    x, lengths = ctx.read(node, 0), places(ctx.read(node, 1))
    batch, time = get_int(node, "batch_axis", 1) % x.rank, get_int(node, "time_axis", 0) % x.rank
    rows = moved(moved(x, batch, 0), time + (1 if time < batch else 0), 1)
    steps = ctx.builder.constant(np.arange(rows.shape[1], dtype=np.int32)[None])
    ends = unsqueeze(lengths, 1)
    index = where(steps < ends, ends - 1 - steps, broadcast(steps, rows.shape[:2]))
    index = broadcast(reshape(index, (*rows.shape[:2], *[1] * (x.rank - 2))), rows.shape)
    back = take_along(rows, index, 1)
    ctx.bind(node, moved(moved(back, 1, time + (1 if time < batch else 0)), 0, batch))
