"""Reductions, running sums and orders."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_int
from edgeport.targets.coreai import elements as e
from edgeport.targets.coreai import folds
from edgeport.targets.coreai.context import Context
from edgeport.targets.coreai.folds import argsort, reduce, scan, total
from edgeport.targets.coreai.ops.elementwise import floats
from edgeport.targets.coreai.program import Tensor, binary
from edgeport.targets.coreai.registry import Refused, lowers
from edgeport.targets.coreai.views import cut, flip, pad, reshape, take_along

_Fold = Callable[[Tensor, Sequence[int]], Tensor]


def _log_sum_exp(x: Tensor, axes: Sequence[int]) -> Tensor:
    most = float(np.finfo(x.dtype).max)
    largest = e.clamp(reduce("reduce_max", x, axes), -most, most)
    return e.log(total(e.exp(x - largest), axes)) + largest


def _kind(name: str) -> _Fold:
    return lambda x, axes: reduce(name, x, axes)


_FOLDS: dict[str, _Fold] = {
    "ReduceSum": total,
    "ReduceMean": folds.mean,
    "ReduceProd": _kind("reduce_product"),
    "ReduceMax": _kind("reduce_max"),
    "ReduceMin": _kind("reduce_min"),
    "ReduceL1": lambda x, axes: total(e.absolute(x), axes),
    "ReduceL2": lambda x, axes: e.sqrt(total(x * x, axes)),
    "ReduceSumSquare": lambda x, axes: total(x * x, axes),
    "ReduceLogSum": lambda x, axes: e.log(total(x, axes)),
    "ReduceLogSumExp": _log_sum_exp,
}


@lowers(*_FOLDS, inputs=2, attributes=("keepdims", "noop_with_empty_axes"))
def reduced(ctx: Context, node: ir.Node) -> None:
    """Over some axes; of truth values as numbers."""
    x, axes = ctx.read(node, 0), ctx.constant_ints(node, 1)
    if not axes:
        axes = () if get_int(node, "noop_with_empty_axes", 0) else tuple(range(x.rank))
    if node.op_type in ("ReduceL2", "ReduceLogSum", "ReduceLogSumExp"):
        floats(node, x)
    source = x.dtype
    if source == "bool":
        x = e.raw_cast(x, "int32")
    folded = _FOLDS[node.op_type](x, axes)
    ctx.bind(node, e.raw_cast(reshape(folded, ctx.shape(node.outputs[0])), source))


@lowers("GlobalAveragePool", "GlobalMaxPool")
def global_pool(ctx: Context, node: ir.Node) -> None:
    """Over all spatial axes."""
    x = ctx.read(node, 0)
    axes = range(2, x.rank)
    ctx.bind(node, folds.mean(x, axes) if node.op_type == "GlobalAveragePool" else reduce("reduce_max", x, axes))


@lowers("ArgMax", "ArgMin", attributes=("axis", "keepdims", "select_last_index"))
def extreme_place(ctx: Context, node: ir.Node) -> None:
    """The place of the largest, of the opposite for the smallest; backwards for the last of several."""
    x = ctx.read(node, 0)
    axis = get_int(node, "axis", 0) % x.rank
    if x.shape[axis] == 0:
        raise Refused("an axis of size 0 has no largest element")
    if node.op_type == "ArgMin":
        ones = np.iinfo(x.dtype).max if x.dtype.startswith("u") else -1
        x = -x if x.is_float else binary("bitwise_xor", x, ones)
    if get_int(node, "select_last_index", 0):
        found = x.shape[axis] - 1 - folds.argmax(flip(x, [axis]), axis)
    else:
        found = folds.argmax(x, axis)
    ctx.bind(node, reshape(e.raw_cast(found, "int64"), ctx.shape(node.outputs[0])))


@lowers("TopK", inputs=2, outputs=2, attributes=("axis", "largest", "sorted"))
def top_k(ctx: Context, node: ir.Node) -> None:
    """The first of all in order, which is right for `sorted` or not."""
    x = ctx.read(node, 0)
    axis, count = get_int(node, "axis", -1) % x.rank, ctx.constant_ints(node, 1)
    if count is None or count[0] > x.shape[axis]:
        raise Refused(f"k does not fit an axis of size {x.shape[axis]}")
    order = cut(argsort(x, axis, bool(get_int(node, "largest", 1))), axis, 0, count[0])
    ctx.bind(node, take_along(x, order, axis), e.raw_cast(order, "int64"))


@lowers("CumSum", inputs=2, attributes=("exclusive", "reverse"))
def cumulative_sum(ctx: Context, node: ir.Node) -> None:
    """A scan; without the element itself it is moved by one."""
    x, axes = ctx.read(node, 0), ctx.constant_ints(node, 1)
    if axes is None:
        raise Refused("the axis is missing")
    axis, backwards = axes[0] % x.rank, bool(get_int(node, "reverse", 0))
    size = x.shape[axis]
    sums = scan(x, axis, "sum", backwards)
    if get_int(node, "exclusive", 0):
        widths = [((0, 1) if backwards else (1, 0)) if a == axis else (0, 0) for a in range(x.rank)]
        first = 1 if backwards else 0
        sums = cut(pad(sums, widths), axis, first, first + size)
    ctx.bind(node, sums)
