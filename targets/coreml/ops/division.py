"""Quotients, remainders and powers, of integers as ONNX has them: quotients are cut towards zero."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_int
from edgeport.sample import Array
from edgeport.targets.bounds import never_negative
from edgeport.targets.coreml.context import Context
from edgeport.targets.coreml.mil import Var
from edgeport.targets.coreml.registry import Refused, lowers
from edgeport.targets.coreml.wraparound import remainder, wrapped

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
    """a / b of int32 cut towards zero: the quotient of magnitudes with the sign of both."""
    down = ctx.emit("mul", x=ctx.emit("sign", x=a), y=_quotient_of_size(ctx, a, b))
    return down if isinstance(b, np.int32) else ctx.emit("mul", x=down, y=ctx.emit("sign", x=b))


def _quotient_of_size(ctx: Context, a: Var, b: Var | np.int32) -> Var:
    below = b if isinstance(b, np.int32) else ctx.emit("abs", x=b)
    return ctx.emit("floor_div", x=ctx.emit("abs", x=a), y=below)


@lowers("Mod", attributes=("fmod",), inputs=2)
def mod(ctx: Context, node: ir.Node) -> None:
    """With fmod=1 `mod` of magnitudes with the sign of the dividend, else what `floor_div` leaves."""
    y, (a, b) = node.outputs[0], (ctx.read(value) for value in node.inputs)
    natural = all(value is not None and _is_natural(ctx, value) for value in node.inputs)
    whole, cut = ctx.mil_dtype(y) == "int32", bool(get_int(node, "fmod", 0))
    if not whole and not cut:
        raise Refused("fmod=0 is for integers", "set fmod=1")
    if whole and natural:
        ctx.bind(y, ctx.emit("mod", x=a, y=b))
    elif not cut:
        ctx.bind(y, remainder(ctx, a, b))
    else:
        size, divisor = ctx.emit("abs", x=a), ctx.constant(node.inputs[1])
        if divisor is not None and not whole and (np.abs(divisor) == 1).all():  # which some systems take for integers'
            rest = ctx.emit("sub", x=size, y=ctx.emit("floor", x=size))
        else:
            rest = ctx.emit("mod", x=size, y=ctx.emit("abs", x=b))
        ctx.bind(y, ctx.emit("mul", x=rest, y=ctx.emit("sign", x=a)))


@lowers("Pow", inputs=2)
def power(ctx: Context, node: ir.Node) -> None:
    """`pow`; the usual constant exponents as products, `sqrt` or `rsqrt`, which are exact for negative bases too."""
    y, (x, by) = node.outputs[0], node.inputs
    assert by is not None
    whole = ctx.mil_dtype(y) == "int32"
    exponent = _single(ctx.constant(by))
    base = ctx.read(x)
    if exponent is not None and tuple(base.shape) == ctx.shape(y):
        simple = _product(ctx, base, exponent)
        if simple is None and not whole:
            simple = _root(ctx, base, exponent)
        if simple is not None:
            ctx.bind(y, simple)
            return
    if not whole:
        ctx.bind(y, _power(ctx, base, ctx.cast(ctx.read(by), ctx.width), ctx.number(1)))
    elif ctx.mil_dtype(by) == "int32":
        ctx.bind(y, _power_of_integers(ctx, base, ctx.read(by), never_negative(by)))
    else:
        ctx.width = "float32"
        ctx.bind(y, _power_of_integer(ctx, base, ctx.read(by)))


def _power(ctx: Context, x: Var, by: Var, one: Any) -> Var:
    """`pow`, and 1 for an exponent of 0: Core ML gives 0 there."""
    raised = ctx.emit("pow", x=x, y=by)
    if by.val is not None and np.all(by.val != 0):
        return raised
    zero = ctx.emit("equal", x=by, y=one - one)
    return ctx.emit("select", cond=zero, a=one, b=raised)


def _single(exponent: Array | None) -> float | None:
    return float(exponent.reshape(-1)[0]) if exponent is not None and exponent.size == 1 else None


def _product(ctx: Context, x: Var, exponent: float) -> Var | None:
    """A small whole power by squaring."""
    if exponent not in range(1, 9):
        return None
    if exponent == 1:
        return ctx.emit("identity", x=x)
    half = x if exponent < 4 else _product(ctx, x, exponent // 2)
    square = ctx.emit("mul", x=half, y=half)
    return ctx.emit("mul", x=square, y=x) if exponent % 2 else square


def _root(ctx: Context, x: Var, exponent: float) -> Var | None:
    if exponent == 0.5:
        return ctx.emit("sqrt", x=x)
    if exponent == -0.5:
        return ctx.emit("rsqrt", x=x, epsilon=ctx.number(0))
    return ctx.emit("real_div", x=ctx.number(1), y=x) if exponent == -1 else None


def _power_of_integers(ctx: Context, x: Var, by: Var, natural: bool) -> Var:
    """`pow`, which means nothing in int32 for a negative exponent: there 0, except of 1 and -1."""
    if natural:
        return _power(ctx, x, by, np.int32(1))
    below = ctx.emit("less", x=by, y=_ZERO)
    large = ctx.emit("not_equal", x=ctx.emit("abs", x=x), y=np.int32(1))
    vanishes = ctx.emit("logical_and", x=below, y=large)
    positive = _power(ctx, x, ctx.emit("abs", x=by), np.int32(1))
    kept = ctx.emit("sub", x=np.int32(1), y=ctx.cast(vanishes, "int32"))
    return ctx.emit("mul", x=positive, y=kept)


def _power_of_integer(ctx: Context, x: Var, by: Var) -> Var:
    """An integer to a float power: exact where the power is an integer that is not negative, else cut off."""
    natural = ctx.cast(ctx.emit("maximum", x=by, y=ctx.number(0)), "int32")
    exact = _power(ctx, x, natural, np.int32(1))
    rough = ctx.cast(ctx.emit("pow", x=ctx.cast(x, "float32"), y=by), "int32")
    same = ctx.emit("equal", x=ctx.cast(natural, "float32"), y=by)
    return ctx.emit("select", cond=same, a=exact, b=rough)
