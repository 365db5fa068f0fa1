"""Reductions over axes, in whatever order the axes are stored."""

from __future__ import annotations

from typing import NamedTuple

import onnx_ir as ir

from edgeport.targets.tflite.attributes import int_attr
from edgeport.targets.tflite.builder import Tensor
from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.layout import Layout, stored_shape
from edgeport.targets.tflite.layout_choice import full_layout
from edgeport.targets.tflite.ops.elementwise import magnitude
from edgeport.targets.tflite.registry import Refused, lowers

_ATTRIBUTES = ("keepdims", "noop_with_empty_axes")


class _Reduction(NamedTuple):
    data: Tensor
    positions: Tensor
    keep: bool
    layout: Layout
    kept_shape: tuple[int, ...]
    """Stored shape of the result with the reduced axes kept as 1."""


@lowers("ReduceMean", attributes=_ATTRIBUTES, inputs=2, int8=True)
def reduce_mean(ctx: Context, node: ir.Node) -> None:
    """MEAN."""
    _plain(ctx, node, "MEAN")


@lowers("ReduceSum", attributes=_ATTRIBUTES, inputs=2, int8=True)
def reduce_sum(ctx: Context, node: ir.Node) -> None:
    """SUM."""
    _plain(ctx, node, "SUM")


@lowers("ReduceMax", attributes=_ATTRIBUTES, inputs=2, int8=True)
def reduce_max(ctx: Context, node: ir.Node) -> None:
    """REDUCE_MAX; of booleans whether any is true."""
    _plain(ctx, node, "REDUCE_ANY" if ctx.dtype(node.outputs[0]) == "bool" else "REDUCE_MAX")


@lowers("ReduceMin", attributes=_ATTRIBUTES, inputs=2, int8=True)
def reduce_min(ctx: Context, node: ir.Node) -> None:
    """REDUCE_MIN; of booleans whether all are true."""
    _plain(ctx, node, "REDUCE_ALL" if ctx.dtype(node.outputs[0]) == "bool" else "REDUCE_MIN")


@lowers("ReduceProd", attributes=_ATTRIBUTES, inputs=2)
def reduce_prod(ctx: Context, node: ir.Node) -> None:
    """REDUCE_PROD."""
    _plain(ctx, node, "REDUCE_PROD")


@lowers("ReduceL1", attributes=_ATTRIBUTES, inputs=2)
def reduce_l1(ctx: Context, node: ir.Node) -> None:
    """SUM(ABS(x))."""
    r = _reduction(ctx, node)
    absolute = magnitude(ctx, node.outputs[0], r.data)
    ctx.emit("SUM", [absolute, r.positions], [ctx.output(node, r.layout)], "ReducerOptions", keepDims=r.keep)


@lowers("ReduceSumSquare", attributes=_ATTRIBUTES, inputs=2)
def reduce_sum_square(ctx: Context, node: ir.Node) -> None:
    """SUM(x * x)."""
    r = _reduction(ctx, node)
    square = ctx.step(node.outputs[0], "MUL", [r.data, r.data], "MulOptions")
    ctx.emit("SUM", [square, r.positions], [ctx.output(node, r.layout)], "ReducerOptions", keepDims=r.keep)


@lowers("ReduceL2", attributes=_ATTRIBUTES, inputs=2)
def reduce_l2(ctx: Context, node: ir.Node) -> None:
    """SQRT(SUM(x * x))."""
    r = _float_reduction(ctx, node)
    y = node.outputs[0]
    square = ctx.step(y, "MUL", [r.data, r.data], "MulOptions")
    total = _sum(ctx, y, r, square)
    ctx.emit("SQRT", [total], [ctx.output(node, r.layout)])


@lowers("ReduceLogSum", attributes=_ATTRIBUTES, inputs=2)
def reduce_log_sum(ctx: Context, node: ir.Node) -> None:
    """LOG(SUM(x))."""
    r = _float_reduction(ctx, node)
    total = _sum(ctx, node.outputs[0], r, r.data)
    ctx.emit("LOG", [total], [ctx.output(node, r.layout)])


@lowers("ReduceLogSumExp", attributes=_ATTRIBUTES, inputs=2)
def reduce_log_sum_exp(ctx: Context, node: ir.Node) -> None:
    """LOG(SUM(EXP(x - max))) + max, which does not overflow."""
    r = _float_reduction(ctx, node)
    y = node.outputs[0]
    peak = ctx.temporary(y, "max", r.kept_shape)
    ctx.emit("REDUCE_MAX", [r.data, r.positions], [peak], "ReducerOptions", keepDims=True)
    power = ctx.step(y, "EXP", [ctx.step(y, "SUB", [r.data, peak], "SubOptions")])
    total = _sum(ctx, y, r, power)
    out = ctx.output(node, r.layout)
    if peak.shape != total.shape:
        low = ctx.temporary(y, "peak", total.shape)
        ctx.reshape(peak, low)
        peak = low
    ctx.emit("ADD", [ctx.step(y, "LOG", [total]), peak], [out], "AddOptions")


def _plain(ctx: Context, node: ir.Node, code: str) -> None:
    r = _reduction(ctx, node)
    ctx.emit(code, [r.data, r.positions], [ctx.output(node, r.layout)], "ReducerOptions", keepDims=r.keep)


def _sum(ctx: Context, y: ir.Value, r: _Reduction, data: Tensor) -> Tensor:
    total = ctx.temporary(y, "sum", stored_shape(ctx.shape(y), r.layout))
    ctx.emit("SUM", [data, r.positions], [total], "ReducerOptions", keepDims=r.keep)
    return total


def _float_reduction(ctx: Context, node: ir.Node) -> _Reduction:
    if ctx.dtype(node.outputs[0]) != "float32":
        raise Refused(f"{node.op_type} of {ctx.dtype(node.outputs[0])} is not supported", "cast to float32")
    return _reduction(ctx, node)


def _reduction(ctx: Context, node: ir.Node) -> _Reduction:
    x = node.inputs[0]
    assert x is not None
    rank, keep = ctx.rank(x), bool(int_attr(node, "keepdims", 1))
    given = ctx.constant_ints(node, 1)
    if not given and int_attr(node, "noop_with_empty_axes", 0):
        raise Refused("a reduction over no axes is not supported", "remove the node")
    if rank == 0:
        data = ctx.read(node, x)
        vector = ctx.temporary(node.outputs[0], "vector", (1,), data.dtype, data.quant)
        ctx.reshape(data, vector)
        return _Reduction(vector, ctx.ints("axes", [0]), keep=False, layout=(), kept_shape=(1,))
    axes = {a % rank for a in given} if given else set(range(rank))
    layout = full_layout(ctx, x)
    positions = [i for i, axis in enumerate(layout) if axis in axes]
    kept = [a for a in range(rank) if a not in axes]
    data = ctx.read(node, x, layout)
    return _Reduction(
        data=data,
        positions=ctx.ints("axes", positions),
        keep=keep,
        layout=layout if keep else tuple(kept.index(a) for a in layout if a not in axes),
        kept_shape=tuple(1 if i in positions else d for i, d in enumerate(data.shape)),
    )
