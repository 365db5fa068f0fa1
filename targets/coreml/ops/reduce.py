"""Reductions over axes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_int
from edgeport.targets.coreml.context import Context
from edgeport.targets.coreml.mil import Var, dtype_of
from edgeport.targets.coreml.ops.division import truncated_quotient
from edgeport.targets.coreml.registry import Refused, lowers

_KINDS = {
    "ReduceL1": "reduce_l1_norm",
    "ReduceL2": "reduce_l2_norm",
    "ReduceLogSum": "reduce_log_sum",
    "ReduceMax": "reduce_max",
    "ReduceMean": "reduce_mean",
    "ReduceMin": "reduce_min",
    "ReduceProd": "reduce_prod",
    "ReduceSum": "reduce_sum",
    "ReduceSumSquare": "reduce_sum_square",
}
_LEAST_NORMAL = 2.0**-14
"""Of float16."""
_OF_FLOATS = ("ReduceL2", "ReduceLogSum", "ReduceLogSumExp")


@lowers(*_KINDS, "ReduceLogSumExp", attributes=("keepdims", "noop_with_empty_axes"), inputs=2)
def reduction(ctx: Context, node: ir.Node) -> None:
    """MIL's operation of the same name, but for ReduceLogSumExp; booleans as integers.

    A mean of integers is their sum over their number.
    """
    x, y = node.inputs[0], node.outputs[0]
    assert x is not None
    dtype, rank, keep = ctx.mil_dtype(x), ctx.rank(x), bool(get_int(node, "keepdims", 1))
    if dtype == "int32" and node.op_type in _OF_FLOATS:
        raise Refused(f"{node.op_type} of integers is not supported", "cast to float32", "unsupported-dtype")
    given = ctx.constant_ints(node, 1)
    data = ctx.read(x)
    data = ctx.cast(data, "int32") if dtype == "bool" else data
    if not given and get_int(node, "noop_with_empty_axes", 0):
        result = _of_each(ctx, node.op_type, data)
    else:
        if rank == 0:
            data, given, rank, keep = ctx.reshape(data, (1,)), (0,), 1, False
        axes = sorted({axis % rank for axis in given} if given else range(rank))
        result = _reduced(ctx, node.op_type, data, axes, keep)
    ctx.bind(y, ctx.emit("not_equal", x=result, y=np.int32(0)) if dtype == "bool" else result)


def _reduced(ctx: Context, op_type: str, x: Var, axes: list[int], keep: bool) -> Var:
    where: dict[str, Any] = {"axes": np.asarray(axes, np.int32), "keep_dims": keep}
    if op_type == "ReduceMean" and dtype_of(x) == "int32":
        total = ctx.emit("reduce_sum", x=x, **where)
        return truncated_quotient(ctx, total, np.int32(math.prod(x.shape[axis] for axis in axes)))
    if op_type == "ReduceLogSumExp":
        return _log_sum_exp(ctx, x, where)
    if op_type == "ReduceL2" and ctx.width == "float16":
        scaled, largest = over_largest(ctx, x, axes)
        norm = ctx.emit("reduce_l2_norm", x=scaled, **where)
        return ctx.emit("mul", x=norm, y=ctx.reshape(largest, norm.shape))
    return ctx.emit(_KINDS[op_type], x=x, **where)


def over_largest(ctx: Context, x: Var, axes: list[int]) -> tuple[Var, Var]:
    """x over the largest |x| along axes, and that largest.

    The Neural Engine adds in float16: squares of numbers below 2e-4 are 0, and a norm above 256 is infinite.
    """
    largest = ctx.emit("reduce_max", x=ctx.emit("abs", x=x), axes=np.asarray(axes, np.int32), keep_dims=True)
    largest = ctx.emit("maximum", x=largest, y=ctx.number(_LEAST_NORMAL))
    return ctx.emit("real_div", x=x, y=largest), largest


def _log_sum_exp(ctx: Context, x: Var, where: dict[str, Any]) -> Var:
    """max + log(sum(exp(x - max))): the Neural Engine's `reduce_log_sum_exp` overflows in the sum and gives 0.

    The maximum is held finite: where all is infinite, the difference would be NaN.
    """
    most = np.finfo(ctx.width).max
    peak = ctx.emit("reduce_max", x=x, axes=where["axes"], keep_dims=True)
    peak = ctx.emit("clip", x=peak, alpha=-most, beta=most)
    total = ctx.emit("reduce_sum", x=ctx.emit("exp", x=ctx.emit("sub", x=x, y=peak)), **where)
    logarithm = ctx.emit("log", x=total, epsilon=ctx.number(0))
    return ctx.emit("add", x=logarithm, y=ctx.reshape(peak, total.shape))


def _of_each(ctx: Context, op_type: str, x: Var) -> Var:
    """A reduction over no axes: of each element by itself."""
    if op_type in ("ReduceL1", "ReduceL2"):
        return ctx.emit("abs", x=x)
    if op_type == "ReduceSumSquare":
        return ctx.emit("mul", x=x, y=x)
    if op_type == "ReduceLogSum":
        return ctx.emit("log", x=x, epsilon=ctx.number(0))
    return ctx.emit("identity", x=x)
