"""Scatter operators: writes into the data seen as a matrix [rows, inner], or as a list of elements."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_int, get_str
from edgeport.targets.coreai.context import Context
from edgeport.targets.coreai.ops.select import positive
from edgeport.targets.coreai.program import Given, Tensor, binary
from edgeport.targets.coreai.registry import Refused, lowers
from edgeport.targets.coreai.views import broadcast, cut, moved, reshape, signed, squeeze, unsqueeze

_MODES = {"none": "update", "add": "add", "mul": "mul", "max": "max", "min": "min"}


def written(x: Tensor, rows: Tensor, updates: Tensor, reduction: str) -> Tensor:
    """Rows of a matrix [rows, inner] combined with updates [count, inner]; `rows` is int32 [count]."""
    if reduction not in _MODES:
        raise Refused(f"reduction={reduction!r} is unknown")
    if updates.size == 0 or x.size == 0:
        return x
    index = broadcast(unsqueeze(rows, 1), updates.shape)
    operands: list[Given] = [x, index, updates, signed(0)]
    return x.builder.step("scatter_along_axis", operands, x.shape, x.dtype, mode=_MODES[reduction])


@lowers("ScatterElements", inputs=3, attributes=("axis", "reduction"))
def scatter_elements(ctx: Context, node: ir.Node) -> None:
    """A row is one element, whose coordinates are those of its update but for the one along `axis`."""
    x, indices, updates = ctx.read(node, 0), ctx.read(node, 1), ctx.read(node, 2)
    axis = get_int(node, "axis", 0) % x.rank
    strides = [math.prod(x.shape[i + 1 :]) for i in range(x.rank)]
    grid = np.indices(indices.shape)
    rest = sum((grid[a] * s for a, s in enumerate(strides) if a != axis), np.zeros(indices.shape, np.int64))
    rows = positive(indices, x.shape[axis]) * strides[axis] + rest.astype(np.int32)
    flat = [reshape(t, (t.size, 1)) for t in (x, updates)]
    made = written(flat[0], reshape(rows, (rows.size,)), flat[1], get_str(node, "reduction", "none"))
    ctx.bind(node, reshape(made, x.shape))


@lowers("ScatterND", inputs=3, attributes=("reduction",))
def scatter_nd(ctx: Context, node: ir.Node) -> None:
    """A row is what the leading axes, which the indices name, leave of the data."""
    x, indices, updates = ctx.read(node, 0), ctx.read(node, 1), ctx.read(node, 2)
    depth = indices.shape[-1]
    sizes, inner = x.shape[:depth], math.prod(x.shape[depth:])
    strides = np.asarray([math.prod(sizes[i + 1 :]) for i in range(depth)], np.int32)
    count = math.prod(indices.shape[:-1])
    found = [
        positive(_column(indices, a), size) * int(stride)
        for a, (size, stride) in enumerate(zip(sizes, strides, strict=True))
    ]
    rows = found[0]
    for column in found[1:]:
        rows = rows + column
    data = reshape(x, (math.prod(sizes), inner))
    made = written(data, reshape(rows, (count,)), reshape(updates, (count, inner)), get_str(node, "reduction", "none"))
    ctx.bind(node, reshape(made, x.shape))


def _column(indices: Tensor, number: int) -> Tensor:
    if indices.data is not None:
        return indices.builder.constant(indices.data[..., number])
    return squeeze(cut(indices, -1, number, number + 1), -1)


@lowers("TensorScatter", inputs=3, attributes=("axis", "mode"))
def tensor_scatter(ctx: Context, node: ir.Node) -> None:
    """Each sample's update goes to consecutive places of `axis`, from the sample's own index on."""
    x, updates, starts = ctx.read(node, 0), ctx.read(node, 1), ctx.optional(node, 2)
    mode, axis = get_str(node, "mode", "linear"), get_int(node, "axis", -2) % x.rank
    if mode not in ("linear", "circular") or axis == 0:
        raise Refused(f"mode={mode!r} on axis {axis} is not supported")
    rows, new = moved(x, axis, 1), moved(updates, axis, 1)
    batch, size, inner = rows.shape[0], rows.shape[1], math.prod(rows.shape[2:])
    steps = np.arange(new.shape[1], dtype=np.int32)[None]
    begin = ctx.builder.constant(np.zeros(batch, np.int32)) if starts is None else positive(starts, size)
    at = unsqueeze(begin, 1) + steps
    if mode == "circular":
        at = binary("modulo", at, size)
    at = at + np.arange(batch, dtype=np.int32)[:, None] * size
    count = batch * new.shape[1]
    made = written(reshape(rows, (batch * size, inner)), reshape(at, (count,)), reshape(new, (count, inner)), "none")
    ctx.bind(node, moved(reshape(made, rows.shape), 1, axis))


@lowers("MaxUnpool", inputs=3, attributes=("kernel_shape", "pads", "strides"))
def max_unpool(ctx: Context, node: ir.Node) -> None:
    """Values at the places that a MaxPool has noted, in the tensor that it read; 0 elsewhere."""
    x, indices, shape = ctx.read(node, 0), ctx.read(node, 1), ctx.shape(node.outputs[0])
    zeros = ctx.builder.constant(np.zeros((math.prod(shape), 1), x.dtype))
    rows = reshape(positive(indices, math.prod(shape)), (indices.size,))
    ctx.bind(node, reshape(written(zeros, rows, reshape(x, (x.size, 1)), "none"), shape))
