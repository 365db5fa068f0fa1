"""Slices and gathers: elements chosen by place."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir
import torch

from edgeport.passes.edit import get_int
from edgeport.torch_view.context import Context
from edgeport.torch_view.dtypes import to
from edgeport.torch_view.registry import Refused, lowers
from edgeport.torch_view.sizes import known_places, places, rows, size, sizes

aten = torch.ops.aten


@lowers("Slice", inputs=5)
def sliced(ctx: Context, node: ir.Node) -> None:
    """torch's slices, which clamp as ONNX's do; those that go backwards are turned round behind them."""
    x, rank = ctx.read(node, 0), ctx.rank(node.inputs[0])
    starts, stops = ctx.constant_ints(node, 1), ctx.constant_ints(node, 2)
    if starts is None or stops is None:
        raise Refused("starts and ends are missing")
    axes = ctx.constant_ints(node, 3) or tuple(range(len(starts)))
    steps = ctx.constant_ints(node, 4) or (1,) * len(starts)
    turned = []
    for start, stop, axis, step in zip(starts, stops, axes, steps, strict=True):
        axis %= rank
        if step > 0:
            x = aten.slice(x, axis, start, stop, step)
            continue
        length = size(node.inputs[0], axis)
        first = min(max(start + length if start < 0 else start, 0), length - 1)  # inside, unlike numpy's
        last = min(max(stop + length if stop < 0 else stop, -1), length - 1)
        chosen = range(first, last, step)
        if chosen:
            x = aten.slice(x, axis, chosen[-1], chosen[0] + 1, -step)
            turned.append(axis)
        else:
            x = aten.slice(x, axis, 0, 0, 1)
    ctx.bind(node, torch.flip(x, turned) if turned else x)


@lowers("Gather", inputs=2, attributes=("axis",))
def gather(ctx: Context, node: ir.Node) -> None:
    """A cut where the indices are one or consecutive, else elements by their numbers."""
    x, axis = ctx.read(node, 0), get_int(node, "axis", 0) % ctx.rank(node.inputs[0])
    length = size(node.inputs[0], axis)
    known = known_places(node.inputs[1], length)
    if known is not None and known.ndim == 0:
        ctx.bind(node, torch.select(x, axis, int(known)))
        return
    if known is not None and known.ndim == 1 and known.size and (np.diff(known) == 1).all():
        ctx.bind(node, torch.narrow(x, axis, int(known[0]), known.size))
        return
    numbers = places(ctx, node, 1, length)
    if ctx.rank(node.inputs[1]) == 1:
        ctx.bind(node, torch.index_select(x, axis, numbers))
        return
    found = torch.index_select(x, axis, torch.reshape(numbers, [-1]))
    ctx.bind(node, torch.reshape(found, sizes(node.outputs[0])))


@lowers("GatherElements", inputs=2, attributes=("axis",))
def gather_elements(ctx: Context, node: ir.Node) -> None:
    """torch's gather."""
    axis = get_int(node, "axis", 0) % ctx.rank(node.inputs[0])
    ctx.bind(node, torch.gather(ctx.read(node, 0), axis, places(ctx, node, 1, size(node.inputs[0], axis))))


@lowers("GatherND", inputs=2, attributes=("batch_dims",))
def gathered_nd(ctx: Context, node: ir.Node) -> None:
    """Rows of the data seen as a list of what the indices name; batch axes are further indices."""
    batch, indices = get_int(node, "batch_dims", 0), node.inputs[1]
    depth, shape = size(indices, -1), sizes(node.inputs[0])
    named = [size(node.inputs[0], a) for a in range(batch, batch + depth)]
    found = rows(ctx, node, 1, named)
    if batch:
        lead = np.arange(math.prod(size(node.inputs[0], a) for a in range(batch))) * math.prod(named)
        found = torch.add(found, ctx.constant(lead.reshape(*shape[:batch], *[1] * (ctx.rank(indices) - batch - 1))))
    inner = shape[batch + depth :]
    data = torch.reshape(ctx.read(node, 0), [math.prod(named) * math.prod(shape[:batch]), *inner])
    found = torch.index_select(data, 0, torch.reshape(found, [-1]))
    ctx.bind(node, torch.reshape(found, sizes(node.outputs[0])))


@lowers("OneHot", inputs=3, attributes=("axis",))
def one_hot(ctx: Context, node: ir.Node) -> None:
    """Comparisons with every number up to the depth; those outside of it are off everywhere."""
    rank = ctx.rank(node.outputs[0])
    axis = get_int(node, "axis", -1) % rank
    depth = size(node.outputs[0], axis)
    spread = torch.unsqueeze(to(ctx.read(node, 0), torch.int64), axis)
    wrapped = torch.where(torch.lt(spread, 0), torch.add(spread, depth), spread)
    numbers = ctx.constant(np.arange(depth).reshape([-1 if a == axis else 1 for a in range(rank)]), "numbers")
    off, on = (torch.select(ctx.read(node, 2), 0, i) for i in (0, 1))
    ctx.bind(node, torch.where(torch.eq(wrapped, numbers), on, off))


@lowers("ReverseSequence", inputs=2, attributes=("batch_axis", "time_axis"))
def reverse_sequence(ctx: Context, node: ir.Node) -> None:
    """Up to each sequence's length the last comes first."""
    shape = ctx.shape(node.outputs[0])
    rank = len(shape)
    batch, time = get_int(node, "batch_axis", 1) % rank, get_int(node, "time_axis", 0) % rank
    steps = ctx.constant(np.arange(shape[time]).reshape([-1 if a == time else 1 for a in range(rank)]), "steps")
    across = [shape[a] if a == batch else 1 for a in range(rank)]
    ends = torch.reshape(to(ctx.read(node, 1), torch.int64), across)
    index = torch.where(torch.lt(steps, ends), torch.sub(torch.sub(ends, 1), steps), steps)
    ctx.bind(node, torch.gather(ctx.read(node, 0), time, torch.broadcast_to(index, shape)))
