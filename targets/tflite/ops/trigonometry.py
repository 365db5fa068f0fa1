"""Trigonometric and hyperbolic functions and erf that LiteRT has no kernel for, from kernels that it has.

LiteRT's SIN, COS, EXP and LOG are right to some 1e-7 of 1, not of their result, so that differences of them say
nothing near 0. There, each function is its own Taylor series, long enough for float32; the comparison that chooses is
written so that NaN goes through the series, since EXP turns NaN into 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgeport.targets.tflite.builder import Tensor
from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.ops.unary import operand
from edgeport.targets.tflite.registry import lowers

_SINE = [(-1) ** k / math.factorial(2 * k + 1) for k in range(6)]
_COSINE = [(-1) ** k / math.factorial(2 * k) for k in range(7)]
_SINH = [1 / math.factorial(2 * k + 1) for k in range(6)]
_ASINH = [(-1) ** k * math.comb(2 * k, k) / (4**k * (2 * k + 1)) for k in range(10)]
_ATANH = [1 / (2 * k + 1) for k in range(12)]
_ERF = [2 / math.sqrt(math.pi) * (-1) ** k / (math.factorial(k) * (2 * k + 1)) for k in range(7)]
"""Coefficients of x^(2k), without the factor x of the odd functions."""


def _quarter_turn() -> list[float]:
    """pi / 2 as a sum whose first parts have 8 bits: their products with integers below 2^16 are exact."""
    parts, rest = [], math.pi / 2
    for bits in (7, 15, 23):
        part = math.floor(rest * 2**bits) / 2**bits
        parts.append(part)
        rest -= part
    return [*parts, rest]


@lowers("Tan")
def tan(ctx: Context, node: ir.Node) -> None:
    """Sine over cosine of x less its quarter turns, or the negative inverse after an odd number of them.

    The remainder is exact up to |x| of 1e5 (Cody and Waite 1980, chapter 9); beyond, float32 hardly tells angles.
    """
    x, layout = operand(ctx, node)
    y = node.outputs[0]
    turns = ctx.step(y, "ROUND", [_times(ctx, y, x, 2 / math.pi)])
    rest = x
    for part in _quarter_turn():
        rest = ctx.step(y, "SUB", [rest, _times(ctx, y, turns, part)], "SubOptions")
    square = ctx.step(y, "MUL", [rest, rest], "MulOptions")
    sine = ctx.step(y, "MUL", [rest, _series(ctx, y, square, _SINE)], "MulOptions")
    cosine = _series(ctx, y, square, _COSINE)
    pairs = _times(ctx, y, ctx.step(y, "FLOOR", [_times(ctx, y, turns, 0.5)]), 2)
    odd = ctx.step(y, "NOT_EQUAL", [turns, pairs], "NotEqualOptions", dtype="bool")
    above = _choose(ctx, y, odd, ctx.step(y, "NEG", [cosine]), sine)
    below = _choose(ctx, y, odd, sine, cosine)
    ctx.emit("DIV", [above, below], [ctx.output(node, layout)], "DivOptions")


@lowers("Atan")
def atan(ctx: Context, node: ir.Node) -> None:
    """ATAN2(x, 1), ones of the same shape being made on the device."""
    x, layout = operand(ctx, node)
    ones = ctx.step(
        node.outputs[0], "FILL", [ctx.ints("shape", x.shape), ctx.number(1)], "FillOptions", x.shape, "float32"
    )
    ctx.emit("ATAN2", [x, ones], [ctx.output(node, layout)], "ATan2Options")


@lowers("Asin")
def asin(ctx: Context, node: ir.Node) -> None:
    """ATAN2(x, sqrt((1 - x) (1 + x)))."""
    x, layout = operand(ctx, node)
    ctx.emit("ATAN2", [x, _cosine_of_asin(ctx, node, x)], [ctx.output(node, layout)], "ATan2Options")


@lowers("Acos")
def acos(ctx: Context, node: ir.Node) -> None:
    """ATAN2(sqrt((1 - x) (1 + x)), x)."""
    x, layout = operand(ctx, node)
    ctx.emit("ATAN2", [_cosine_of_asin(ctx, node, x), x], [ctx.output(node, layout)], "ATan2Options")


def _cosine_of_asin(ctx: Context, node: ir.Node, x: Tensor) -> Tensor:
    y = node.outputs[0]
    below = ctx.step(y, "SUB", [ctx.number(1), x], "SubOptions")
    above = ctx.step(y, "ADD", [ctx.number(1), x], "AddOptions")
    return ctx.step(y, "SQRT", [ctx.step(y, "MUL", [below, above], "MulOptions")])


@lowers("Sinh")
def sinh(ctx: Context, node: ir.Node) -> None:
    """(e^(x/2) - e^(-x/2)) (e^(x/2) + e^(-x/2)) / 2, which overflows no earlier than the result; a series up to 1."""
    x, layout = operand(ctx, node)
    y = node.outputs[0]
    up, down = _half_powers(ctx, y, x)
    difference = _times(ctx, y, ctx.step(y, "SUB", [up, down], "SubOptions"), 0.5)
    large = ctx.step(y, "MUL", [difference, ctx.step(y, "ADD", [up, down], "AddOptions")], "MulOptions")
    beyond = _above(ctx, y, ctx.step(y, "ABS", [x]), 1.0)
    ctx.emit("SELECT_V2", [beyond, large, _odd(ctx, y, x, _SINH)], [ctx.output(node, layout)], "SelectV2Options")


@lowers("Cosh")
def cosh(ctx: Context, node: ir.Node) -> None:
    """Half the squares of e^(x/2) and e^(-x/2), which overflow no earlier than the result."""
    x, layout = operand(ctx, node)
    y = node.outputs[0]
    halves = [ctx.step(y, "MUL", [_times(ctx, y, h, 0.5), h], "MulOptions") for h in _half_powers(ctx, y, x)]
    ctx.emit("ADD", halves, [ctx.output(node, layout)], "AddOptions")


def _half_powers(ctx: Context, y: ir.Value, x: Tensor) -> tuple[Tensor, Tensor]:
    up, down = (ctx.step(y, "EXP", [_times(ctx, y, x, half)]) for half in (0.5, -0.5))
    return up, down


@lowers("Asinh")
def asinh(ctx: Context, node: ir.Node) -> None:
    """That of |x|, with the sign of x."""
    x, layout = operand(ctx, node)
    y = node.outputs[0]
    _signed(ctx, node, x, _asinh_of_positive(ctx, y, ctx.step(y, "ABS", [x])), ctx.output(node, layout))


@lowers("Acosh")
def acosh(ctx: Context, node: ir.Node) -> None:
    """2 asinh(sqrt((x - 1) / 2)), an identity without cancellation; NaN below 1."""
    x, layout = operand(ctx, node)
    y = node.outputs[0]
    less = ctx.step(y, "SUB", [x, ctx.number(1)], "SubOptions")
    half = _asinh_of_positive(ctx, y, ctx.step(y, "SQRT", [_times(ctx, y, less, 0.5)]))
    ctx.emit("MUL", [half, ctx.number(2)], [ctx.output(node, layout)], "MulOptions")


def _asinh_of_positive(ctx: Context, y: ir.Value, a: Tensor) -> Tensor:
    """log((a + sqrt(a^2 + 1)) / 2) + log 2, where a stands for the root once its square could overflow."""
    square = ctx.step(y, "MUL", [a, a], "MulOptions")
    root = ctx.step(y, "SQRT", [ctx.step(y, "ADD", [square, ctx.number(1)], "AddOptions")])
    root = _choose(ctx, y, _above(ctx, y, a, 1e9), a, root)
    mean = ctx.step(y, "ADD", [_times(ctx, y, a, 0.5), _times(ctx, y, root, 0.5)], "AddOptions")
    large = ctx.step(y, "ADD", [ctx.step(y, "LOG", [mean]), ctx.number(math.log(2))], "AddOptions")
    return _choose(ctx, y, _above(ctx, y, a, 0.5), large, _odd(ctx, y, a, _ASINH))


@lowers("Atanh")
def atanh(ctx: Context, node: ir.Node) -> None:
    """log((1 + |x|) / (1 - |x|)) / 2 with the sign of x."""
    x, layout = operand(ctx, node)
    y = node.outputs[0]
    a = ctx.step(y, "ABS", [x])
    above = ctx.step(y, "ADD", [ctx.number(1), a], "AddOptions")
    below = ctx.step(y, "SUB", [ctx.number(1), a], "SubOptions")
    large = _times(ctx, y, ctx.step(y, "LOG", [ctx.step(y, "DIV", [above, below], "DivOptions")]), 0.5)
    value = _choose(ctx, y, _above(ctx, y, a, 0.5), large, _odd(ctx, y, a, _ATANH))
    _signed(ctx, node, x, value, ctx.output(node, layout))


@lowers("Erf")
def erf(ctx: Context, node: ir.Node) -> None:
    """(GELU(a) + GELU(-a)) / a with a = sqrt(2) x; from |x| = 4 on the result is 1 in float32."""
    x, layout = operand(ctx, node)
    y = node.outputs[0]
    low = ctx.step(y, "MAXIMUM", [x, ctx.number(-4)], "MaximumMinimumOptions")
    a = _times(ctx, y, ctx.step(y, "MINIMUM", [low, ctx.number(4)], "MaximumMinimumOptions"), math.sqrt(2))
    minus = ctx.step(y, "GELU", [ctx.step(y, "NEG", [a])], "GeluOptions", approximate=False)
    both = ctx.step(y, "ADD", [ctx.step(y, "GELU", [a], "GeluOptions", approximate=False), minus], "AddOptions")
    large = ctx.step(y, "DIV", [both, a], "DivOptions")
    beyond = _above(ctx, y, ctx.step(y, "ABS", [x]), 0.5)
    ctx.emit("SELECT_V2", [beyond, large, _odd(ctx, y, x, _ERF)], [ctx.output(node, layout)], "SelectV2Options")


def _series(ctx: Context, y: ir.Value, square: Tensor, coefficients: Sequence[float]) -> Tensor:
    """The polynomial in `square`, by Horner's rule."""
    total = _times(ctx, y, square, coefficients[-1])
    for coefficient in reversed(coefficients[1:-1]):
        total = ctx.step(y, "ADD", [total, ctx.number(coefficient)], "AddOptions")
        total = ctx.step(y, "MUL", [total, square], "MulOptions")
    return ctx.step(y, "ADD", [total, ctx.number(coefficients[0])], "AddOptions")


def _odd(ctx: Context, y: ir.Value, x: Tensor, coefficients: Sequence[float]) -> Tensor:
    """x times the polynomial in x^2."""
    square = ctx.step(y, "MUL", [x, x], "MulOptions")
    return ctx.step(y, "MUL", [x, _series(ctx, y, square, coefficients)], "MulOptions")


def _signed(ctx: Context, node: ir.Node, x: Tensor, value: Tensor, out: Tensor) -> None:
    y = node.outputs[0]
    negative = ctx.step(y, "LESS", [x, ctx.number(0)], "LessOptions", dtype="bool")
    ctx.emit("SELECT_V2", [negative, ctx.step(y, "NEG", [value]), value], [out], "SelectV2Options")


def _times(ctx: Context, y: ir.Value, x: Tensor, factor: float) -> Tensor:
    return ctx.step(y, "MUL", [x, ctx.number(float(np.float32(factor)))], "MulOptions")


def _above(ctx: Context, y: ir.Value, x: Tensor, limit: float) -> Tensor:
    return ctx.step(y, "GREATER", [x, ctx.number(limit)], "GreaterOptions", dtype="bool")


def _choose(ctx: Context, y: ir.Value, condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return ctx.step(y, "SELECT_V2", [condition, a, b], "SelectV2Options", dtype="float32")
