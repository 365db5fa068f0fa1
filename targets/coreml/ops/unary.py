"""Element-wise operators of one operand."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_int
from edgeport.targets.coreml.context import Context
from edgeport.targets.coreml.mil import Var
from edgeport.targets.coreml.registry import lowers
from edgeport.targets.coreml.wraparound import wrapped

_SAME = {
    "Abs": "abs",
    "Acos": "acos",
    "Asin": "asin",
    "Atan": "atan",
    "Atanh": "atanh",
    "Ceil": "ceil",
    "Cos": "cos",
    "Cosh": "cosh",
    "Erf": "erf",
    "Exp": "exp",
    "Floor": "floor",
    "Not": "logical_not",
    "Round": "round",
    "Sigmoid": "sigmoid",
    "Sign": "sign",
    "Sin": "sin",
    "Sinh": "sinh",
    "Softsign": "softsign",
    "Sqrt": "sqrt",
    "Tan": "tan",
    "Tanh": "tanh",
}
"""MIL operations of one operand that compute just what the ONNX operator does."""


@lowers(*_SAME)
def unary(ctx: Context, node: ir.Node) -> None:
    """One operation, element by element."""
    y = node.outputs[0]
    result = ctx.emit(_SAME[node.op_type], x=ctx.read(node.inputs[0]))
    ctx.bind(y, wrapped(ctx, result, ctx.dtype(y)) if ctx.dtype(y) in ("int8", "int16") else result)


@lowers("Relu")
def relu(ctx: Context, node: ir.Node) -> None:
    """`relu`; of integers `maximum`."""
    y, x = node.outputs[0], ctx.read(node.inputs[0])
    ctx.bind(y, ctx.emit("maximum", x=x, y=np.int32(0)) if ctx.mil_dtype(y) == "int32" else ctx.emit("relu", x=x))


@lowers("Neg")
def negative(ctx: Context, node: ir.Node) -> None:
    """x * -1."""
    y = node.outputs[0]
    minus = np.int32(-1) if ctx.mil_dtype(y) == "int32" else ctx.number(-1)
    ctx.bind(y, wrapped(ctx, ctx.emit("mul", x=ctx.read(node.inputs[0]), y=minus), ctx.dtype(y)))


@lowers("Reciprocal")
def reciprocal(ctx: Context, node: ir.Node) -> None:
    """1 / x: MIL's `inverse` adds an epsilon."""
    ctx.bind(node.outputs[0], ctx.emit("real_div", x=ctx.number(1), y=ctx.read(node.inputs[0])))


@lowers("Log")
def log(ctx: Context, node: ir.Node) -> None:
    """`log` without the epsilon that it would add."""
    ctx.bind(node.outputs[0], ctx.emit("log", x=ctx.read(node.inputs[0]), epsilon=ctx.number(0)))


@lowers("IsNaN")
def is_nan(ctx: Context, node: ir.Node) -> None:
    """x != x."""
    x = ctx.read(node.inputs[0])
    ctx.bind(node.outputs[0], ctx.emit("not_equal", x=x, y=x))


@lowers("IsInf", attributes=("detect_negative", "detect_positive"))
def is_inf(ctx: Context, node: ir.Node) -> None:
    """Equality with infinity, of |x| where both signs count; in float32, as large numbers are infinite in float16."""
    ctx.width = "float32"
    x = ctx.read(node.inputs[0])
    positive, negative = (get_int(node, f"detect_{sign}", 1) for sign in ("positive", "negative"))
    if positive and negative:
        x = ctx.emit("abs", x=x)
    if positive or negative:
        found = ctx.emit("equal", x=x, y=ctx.number(math.inf if positive else -math.inf))
    else:
        found = ctx.emit("less", x=x, y=x)
    ctx.bind(node.outputs[0], found)


@lowers("Asinh")
def asinh(ctx: Context, node: ir.Node) -> None:
    """That of |x| with the sign of x, in float32: squares leave float16 early."""
    ctx.width = "float32"
    x = ctx.read(node.inputs[0])
    size = _asinh_of_positive(ctx, ctx.emit("abs", x=x))
    ctx.bind(node.outputs[0], ctx.emit("mul", x=size, y=ctx.emit("sign", x=x)))


@lowers("Acosh")
def acosh(ctx: Context, node: ir.Node) -> None:
    """2 asinh(sqrt((x - 1) / 2)), an identity without cancellation; NaN below 1. In float32."""
    ctx.width = "float32"
    less = ctx.emit("sub", x=ctx.read(node.inputs[0]), y=ctx.number(1))
    root = ctx.emit("sqrt", x=ctx.emit("mul", x=less, y=ctx.number(0.5)))
    ctx.bind(node.outputs[0], ctx.emit("mul", x=_asinh_of_positive(ctx, root), y=ctx.number(2)))


def _asinh_of_positive(ctx: Context, a: Var) -> Var:
    """log((a + r) / 2) + log 2 with r = sqrt(a^2 + 1); atanh(a / r) near 0, where the logarithm would cancel.

    a stands for r where they are equal in float32, so that no square overflows.
    """
    small = ctx.emit("minimum", x=a, y=ctx.number(1e4))
    root = ctx.emit("sqrt", x=ctx.emit("add", x=ctx.emit("mul", x=small, y=small), y=ctx.number(1)))
    near = ctx.emit("atanh", x=ctx.emit("real_div", x=small, y=root))
    upper = ctx.emit("maximum", x=a, y=root)
    half, other = (ctx.emit("mul", x=part, y=ctx.number(0.5)) for part in (a, upper))
    mean = ctx.emit("add", x=half, y=other)
    far = ctx.emit("add", x=ctx.emit("log", x=mean, epsilon=ctx.number(0)), y=ctx.number(math.log(2)))
    return ctx.emit("select", cond=ctx.emit("less", x=a, y=ctx.number(0.5)), a=near, b=far)
