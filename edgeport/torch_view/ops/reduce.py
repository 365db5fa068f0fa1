"""Reductions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor

from edgeport.passes.edit import get_int
from edgeport.torch_view.context import Context
from edgeport.torch_view.ops.elementwise import floats
from edgeport.torch_view.ops.integers import ordered, wrapped
from edgeport.torch_view.registry import Refused, lowers
from edgeport.torch_view.sizes import size

_Fold = Callable[[Tensor, tuple[int, ...], bool, torch.dtype], Tensor]


def _sum(x: Tensor, axes: tuple[int, ...], keep: bool, dtype: torch.dtype) -> Tensor:
    return torch.sum(x, axes, keep, dtype=dtype) if axes else x


def _mean(x: Tensor, axes: tuple[int, ...], keep: bool, dtype: torch.dtype) -> Tensor:
    return torch.mean(x, axes, keep) if axes else x


def _product(x: Tensor, axes: tuple[int, ...], keep: bool, dtype: torch.dtype) -> Tensor:
    for axis in sorted(axes, reverse=True):
        x = torch.prod(x, axis, keep, dtype=dtype)
    return x


def _log_sum_exp(x: Tensor, axes: tuple[int, ...], keep: bool, dtype: torch.dtype) -> Tensor:
    return torch.logsumexp(x, axes, keep) if axes else x


_FOLDS: dict[str, _Fold] = {
    "ReduceSum": _sum,
    "ReduceMean": _mean,
    "ReduceProd": _product,
    "ReduceMax": lambda x, axes, keep, dtype: torch.amax(x, axes, keep) if axes else x,
    "ReduceMin": lambda x, axes, keep, dtype: torch.amin(x, axes, keep) if axes else x,
    "ReduceL1": lambda x, axes, keep, dtype: _sum(torch.abs(x), axes, keep, dtype),
    "ReduceL2": lambda x, axes, keep, dtype: torch.sqrt(_sum(torch.mul(x, x), axes, keep, dtype)),
    "ReduceSumSquare": lambda x, axes, keep, dtype: _sum(torch.mul(x, x), axes, keep, dtype),
    "ReduceLogSum": lambda x, axes, keep, dtype: torch.log(_sum(x, axes, keep, dtype)),
    "ReduceLogSumExp": _log_sum_exp,
}
_FLOATS_ONLY = ("ReduceMean", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp")


@lowers(*_FOLDS, inputs=2, attributes=("keepdims", "noop_with_empty_axes"))
def reduced(ctx: Context, node: ir.Node) -> None:
    """Over some axes; over none, only the function of each element is left."""
    value, out, kind = node.inputs[0], node.outputs[0], node.op_type
    rank = ctx.rank(value)
    axes = ctx.constant_ints(node, 1)
    if not axes:
        axes = () if get_int(node, "noop_with_empty_axes", 0) else tuple(range(rank))
    axes = tuple(sorted({axis % rank for axis in axes})) if rank else ()
    if kind in _FLOATS_ONLY:
        floats(ctx, node)
    assert value is not None
    x, keep, dtype = ctx.read(node, 0), bool(get_int(node, "keepdims", 1)), ctx.held(out)
    if kind not in ("ReduceMax", "ReduceMin"):
        ctx.bind(node, wrapped(ctx, out, _FOLDS[kind](x, axes, keep, dtype)))
    elif value.shape is not None and 0 in value.shape:  # a size that is not known is that of a batch
        ctx.bind(node, _extreme_of_nothing(ctx, node))
    else:
        ctx.bind(node, ordered(ctx, out, _FOLDS[kind](ordered(ctx, value, x), axes, keep, dtype)))


def _extreme_of_nothing(ctx: Context, node: ir.Node) -> Tensor:
    """What any number would replace."""
    out = node.outputs[0]
    dtype, most = np.dtype(ctx.dtype(out)), node.op_type == "ReduceMin"
    if dtype.kind == "f":
        number = np.inf if most else -np.inf
    elif dtype.kind == "b":
        number = most
    else:
        number = np.iinfo(dtype).max if most else np.iinfo(dtype).min
    return ctx.constant(np.full(ctx.shape(out), number, dtype))


@lowers("GlobalAveragePool", "GlobalMaxPool")
def global_pool(ctx: Context, node: ir.Node) -> None:
    """Over all spatial axes."""
    floats(ctx, node)
    axes = tuple(range(2, ctx.rank(node.inputs[0])))
    if not axes:
        raise Refused("there is no spatial axis")
    x = ctx.read(node, 0)
    ctx.bind(node, torch.mean(x, axes, True) if node.op_type == "GlobalAveragePool" else torch.amax(x, axes, True))


@lowers("ArgMax", "ArgMin", attributes=("axis", "keepdims", "select_last_index"))
def extreme_place(ctx: Context, node: ir.Node) -> None:
    """The place of the first of the largest or smallest; backwards for the last of several."""
    value = node.inputs[0]
    assert value is not None
    axis = get_int(node, "axis", 0)
    length = size(value, axis)
    if length == 0:
        raise Refused("an axis of size 0 has no largest element")
    keep = bool(get_int(node, "keepdims", 1))
    form = torch.argmax if node.op_type == "ArgMax" else torch.argmin
    x = ordered(ctx, value, ctx.read(node, 0))
    if get_int(node, "select_last_index", 0):
        ctx.bind(node, torch.rsub(form(torch.flip(x, (axis,)), axis, keep), length - 1))
    else:
        ctx.bind(node, form(x, axis, keep))
