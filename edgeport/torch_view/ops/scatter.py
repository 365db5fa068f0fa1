"""Scatter operators: writes into copies of the data, the last one wins."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor

from edgeport.passes.edit import get_int, get_str
from edgeport.torch_view.context import Context
from edgeport.torch_view.ops.integers import ordered, wrapped
from edgeport.torch_view.registry import Refused, lowers
from edgeport.torch_view.sizes import places, rows, size

_REDUCTIONS = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def _written(ctx: Context, node: ir.Node, x: Tensor, axis: int, index: Tensor, updates: Tensor) -> Tensor:
    """Data with updates at the places of `index`, which has their shape, along an axis."""
    reduction = get_str(node, "reduction", "none")
    if reduction == "none":
        return torch.scatter(x, axis, index, updates)
    if reduction not in _REDUCTIONS:
        raise Refused(f"reduction={reduction!r} is unknown")
    if ctx.input_dtype(node) == "bool":
        raise Refused(f"reduction={reduction!r} of truth values is not supported", "cast to int32")
    out, form = node.outputs[0], _REDUCTIONS[reduction]
    if reduction in ("add", "mul"):
        return wrapped(ctx, out, torch.scatter_reduce(x, axis, index, updates, form))
    return ordered(ctx, out, torch.scatter_reduce(ordered(ctx, out, x), axis, index, ordered(ctx, out, updates), form))


@lowers("ScatterElements", inputs=3, attributes=("axis", "reduction"))
def scatter_elements(ctx: Context, node: ir.Node) -> None:
    """torch's scatter."""
    axis = get_int(node, "axis", 0) % ctx.rank(node.inputs[0])
    index = places(ctx, node, 1, size(node.inputs[0], axis))
    ctx.bind(node, _written(ctx, node, ctx.read(node, 0), axis, index, ctx.read(node, 2)))


@lowers("ScatterND", inputs=3, attributes=("reduction",))
def scatter_nd(ctx: Context, node: ir.Node) -> None:
    """Rows of a matrix [what the indices name, the rest of the data]."""
    shape, indices = ctx.shape(node.outputs[0]), node.inputs[1]
    depth = size(indices, -1)
    count, inner = math.prod(size(indices, a) for a in range(ctx.rank(indices) - 1)), math.prod(shape[depth:])
    if 0 in (count, inner):
        ctx.bind(node, ctx.read(node, 0))
        return
    data = torch.reshape(ctx.read(node, 0), [math.prod(shape[:depth]), inner])
    index = torch.broadcast_to(torch.reshape(rows(ctx, node, 1, shape[:depth]), [count, 1]), [count, inner])
    made = _written(ctx, node, data, 0, index, torch.reshape(ctx.read(node, 2), [count, inner]))
    ctx.bind(node, torch.reshape(made, shape))


@lowers("TensorScatter", inputs=3, attributes=("axis", "mode"))
def tensor_scatter(ctx: Context, node: ir.Node) -> None:
    """Each sample's update goes to consecutive places of `axis`, from the sample's own index on."""
    x, shape = ctx.read(node, 0), ctx.shape(node.outputs[0])
    mode, axis = get_str(node, "mode", "linear"), get_int(node, "axis", -2) % len(shape)
    if mode not in ("linear", "circular") or axis == 0:
        raise Refused(f"mode={mode!r} on axis {axis} is not supported")
    count = tuple(size(node.inputs[1], a) for a in range(len(shape)))
    steps = np.arange(count[axis]).reshape([-1 if a == axis else 1 for a in range(len(shape))])
    at = ctx.constant(steps, "steps")
    if ctx.has(node, 2):
        starts = places(ctx, node, 2, shape[axis])
        at = torch.add(torch.reshape(starts, [shape[0], *[1] * (len(shape) - 1)]), at)
    if mode == "circular":
        at = torch.remainder(at, shape[axis])
    ctx.bind(node, torch.scatter(x, axis, torch.broadcast_to(at, count), ctx.read(node, 1)))


@lowers("MaxUnpool", inputs=3, attributes=("kernel_shape", "pads", "strides"))
def max_unpool(ctx: Context, node: ir.Node) -> None:
    """Values at the places that a MaxPool has noted, in the tensor that it read; 0 elsewhere."""
    shape, x = ctx.shape(node.outputs[0]), torch.reshape(ctx.read(node, 0), [-1])
    total = math.prod(shape)
    index = torch.reshape(places(ctx, node, 1, total), [-1])
    zeros = torch.ops.aten.new_zeros(x, [total])
    ctx.bind(node, torch.reshape(torch.scatter(zeros, 0, index, x), shape))
