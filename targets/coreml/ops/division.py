"""Quotients, remainders and powers, of integers as ONNX has them: quotients are cut towards zero."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_int
from edgeport.targets.bounds import never_negative
from edgeport.targets.coreml.context import Context
from edgeport.targets.coreml.mil import Var, dtype_of
from edgeport.targets.coreml.registry import lowers
from edgeport.targets.coreml.wraparound import wrapped

_ZERO = np.int32(0)


@lowers("Div", inputs=2)
def divide(ctx: Context, node: ir.Node) -> None:
    """`real_div`; of integers `truncated_quotient`."""
    y, (a, b) = node.outputs[0], (ctx.read(value) for value in node.inputs)
    if ctx.mil_dtype(y) != "int32":
        ctx.bind(y, ctx.emit("real_div", x=a, y=b))
    elif all(value is not None and _is_natural(ctx, value) for value in node.inputs):
        ctx.bind(y, ctx.emit("floor_div", x=a, y=b))
    else:
        ctx.bind(y, wrapped(ctx, truncated_quotient(ctx, a, b), ctx.dtype(y)))


def _is_natural(ctx: Context, value: ir.Value) -> bool:
    return ctx.dtype(value).startswith("uint") or never_negative(value)


def truncated_quotient(ctx: Context, a: Var, b: Var | np.int32) -> Var:
    """a / b of int32 cut towards zero: `floor_div`, one more where that is negative and leaves a remainder."""
    down = ctx.emit("floor_div", x=a, y=b)
    inexact = ctx.emit("not_equal", x=ctx.emit("mod", x=a, y=b), y=_ZERO)
    short = ctx.emit("logical_and", x=ctx.emit("less", x=down, y=_ZERO), y=inexact)
    return ctx.emit("add", x=down, y=ctx.cast(short, "int32"))


@lowers("Mod", attributes=("fmod",), inputs=2)
def mod(ctx: Context, node: ir.Node) -> None:
    """`mod`, whose sign follows the divisor; with fmod=1 that of magnitudes, with the sign of the dividend."""
    y, (a, b) = node.outputs[0], (ctx.read(value) for value in node.inputs)
    natural = all(value is not None and _is_natural(ctx, value) for value in node.inputs)
    if not get_int(node, "fmod", 0) or natural:
        ctx.bind(y, ctx.emit("mod", x=a, y=b))
        return
    rest = ctx.emit("mod", x=ctx.emit("abs", x=a), y=ctx.emit("abs", x=b))
    ctx.bind(y, ctx.emit("mul", x=rest, y=ctx.emit("sign", x=a)))


@lowers("Pow", inputs=2)
def power(ctx: Context, node: ir.Node) -> None:
    """`pow`; the usual constant exponents as products, `sqrt` or `rsqrt`, which are exact for negative bases too."""
    y, (x, by) = node.outputs[0], node.inputs
    assert by is not None
    whole = ctx.mil_dtype(y) == "int32"
    exponent = _single(ctx.constant(by))
    base = ctx.read(x)
    if exponent is not None and tuple(base.shape) == ctx.shape(y) and (not whole or exponent in (1, 2, 3, 4)):
        simple = _simple(ctx, base, exponent)
        if simple is not None:
            ctx.bind(y, simple)
            return
    if not whole:
        ctx.bind(y, ctx.emit("pow", x=base, y=ctx.cast(ctx.read(by), ctx.width)))
    elif ctx.mil_dtype(by) == "int32":
        ctx.bind(y, _power_of_integers(ctx, base, ctx.read(by), never_negative(by)))
    else:
        ctx.width = "float32"
        ctx.bind(y, _power_of_integer(ctx, base, ctx.read(by)))


def _single(exponent: np.ndarray | None) -> float | None:
    return float(exponent.reshape(-1)[0]) if exponent is not None and exponent.size == 1 else None


def _simple(ctx: Context, x: Var, exponent: float) -> Var | None:
    if exponent == 1:
        return ctx.emit("identity", x=x)
    if exponent in (2, 3, 4):
        square = ctx.emit("mul", x=x, y=x)
        return square if exponent == 2 else ctx.emit("mul", x=square, y=x if exponent == 3 else square)
    if exponent == 0.5:
        return ctx.emit("sqrt", x=x)
    if exponent == -0.5:
        return ctx.emit("rsqrt", x=x, epsilon=ctx.number(0))
    return ctx.emit("real_div", x=ctx.number(1), y=x) if exponent == -1 else None


def _power_of_integers(ctx: Context, x: Var, by: Var, natural: bool) -> Var:
    """`pow`, which means nothing in int32 for a negative exponent: there 0, except of 1 and -1."""
    if natural:
        return ctx.emit("pow", x=x, y=by)
    below = ctx.emit("less", x=by, y=_ZERO)
    large = ctx.emit("not_equal", x=ctx.emit("abs", x=x), y=np.int32(1))
    vanishes = ctx.emit("logical_and", x=below, y=large)
    positive = ctx.emit("pow", x=x, y=ctx.emit("abs", x=by))
    kept = ctx.emit("sub", x=np.int32(1), y=ctx.cast(vanishes, "int32"))
    return ctx.emit("mul", x=positive, y=kept)


def _power_of_integer(ctx: Context, x: Var, by: Var) -> Var:
    """An integer to a float power: exact where the power is an integer that is not negative, else cut off."""
    natural = ctx.cast(ctx.emit("maximum", x=by, y=ctx.number(0)), "int32")
    exact = ctx.emit("pow", x=x, y=natural)
    rough = ctx.cast(ctx.emit("pow", x=ctx.cast(x, "float32"), y=by), "int32")
    same = ctx.emit("equal", x=ctx.cast(natural, "float32"), y=by)
    assert dtype_of(exact) == dtype_of(rough)
    return ctx.emit("select", cond=same, a=exact, b=rough)
