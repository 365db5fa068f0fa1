"""Element-wise operators on numbers and truth values."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_int, get_str
from edgeport.targets.coreai import elements as e
from edgeport.targets.coreai.context import Context
from edgeport.targets.coreai.program import Tensor, binary
from edgeport.targets.coreai.registry import Refused, lowers
from edgeport.targets.coreai.views import broadcast, take

Handler = Callable[[Context, ir.Node], None]


def floats(node: ir.Node, *tensors: Tensor) -> None:
    """Refuses anything but floating-point numbers."""
    for tensor in tensors:
        if not tensor.is_float:
            raise Refused(f"{node.op_type} of {tensor.dtype} is not supported", "cast to float32")


def function(form: Callable[[Tensor], Tensor]) -> Handler:
    """The lowering of a function of one floating-point operand."""

    def handler(ctx: Context, node: ir.Node) -> None:
        x = ctx.read(node, 0)
        floats(node, x)
        ctx.bind(node, form(x))

    return handler


def _native(kind: str) -> Handler:
    return function(lambda x: e.unary(kind, x))


for _op in ("Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Cos", "Cosh", "Sin", "Sinh", "Tan"):
    lowers(_op)(_native(_op.lower()))
for _op in ("Erf", "Exp", "Log", "Sqrt", "Tanh", "Sigmoid"):
    lowers(_op)(_native(_op.lower()))
lowers("Round")(_native("round_"))
lowers("Floor")(function(e.floor))
lowers("Ceil")(function(e.ceil))
lowers("Reciprocal")(function(lambda x: 1.0 / x))
lowers("Softplus")(function(e.softplus))
lowers("Softsign")(function(lambda x: x / (e.absolute(x) + 1)))
lowers("IsNaN")(function(e.is_nan))


@lowers("Abs")
def absolute(ctx: Context, node: ir.Node) -> None:
    """Unsigned numbers are their own."""
    x = ctx.read(node, 0)
    ctx.bind(node, x if x.dtype.startswith("u") else e.absolute(x))


@lowers("Neg")
def negative(ctx: Context, node: ir.Node) -> None:
    """Times -1."""
    ctx.bind(node, -ctx.read(node, 0))


@lowers("Sign")
def sign(ctx: Context, node: ir.Node) -> None:
    """Two comparisons."""
    ctx.bind(node, e.sign(ctx.read(node, 0)))


@lowers("Identity")
def identity(ctx: Context, node: ir.Node) -> None:
    """Nothing at all."""
    ctx.bind(node, ctx.read(node, 0))


@lowers("Not")
def logical_not(ctx: Context, node: ir.Node) -> None:
    """Negation."""
    ctx.bind(node, e.logical_not(ctx.read(node, 0)))


@lowers("BitwiseNot")
def bitwise_not(ctx: Context, node: ir.Node) -> None:
    """Exclusive or with ones everywhere."""
    x = ctx.read(node, 0)
    ones = np.iinfo(x.dtype).max if x.dtype.startswith("u") else -1
    ctx.bind(node, binary("bitwise_xor", x, ones))


@lowers("IsInf", attributes=("detect_negative", "detect_positive"))
def is_inf(ctx: Context, node: ir.Node) -> None:
    """Comparisons with the infinities that are asked for."""
    x = ctx.read(node, 0)
    floats(node, x)
    negative, positive = (get_int(node, f"detect_{side}", 1) for side in ("negative", "positive"))
    if negative and positive:
        found = e.equal(e.absolute(x), np.inf)
    elif negative or positive:
        found = e.equal(x, np.inf if positive else -np.inf)
    else:
        found = x.builder.constant(np.zeros(x.shape, bool))
    ctx.bind(node, found)


def _two(kind: str, dtype: str | None = None) -> Handler:
    def handler(ctx: Context, node: ir.Node) -> None:
        ctx.bind(node, binary(kind, ctx.read(node, 0), ctx.read(node, 1), dtype))

    return handler


for _op in ("Add", "Sub", "Mul", "And", "Or", "Xor"):
    lowers(_op, inputs=2)(_two(_op.lower()))
for _op in ("And", "Or", "Xor"):
    lowers(f"Bitwise{_op}", inputs=2)(_two(f"bitwise_{_op.lower()}"))
lowers("Div", inputs=2)(_two("divide"))
for _op in ("Equal", "Greater"):
    lowers(_op, inputs=2)(_two(_op.lower(), "bool"))


@lowers("Less", inputs=2)
def less(ctx: Context, node: ir.Node) -> None:
    """Greater the other way round."""
    ctx.bind(node, ctx.read(node, 0) < ctx.read(node, 1))


@lowers("GreaterOrEqual", inputs=2)
def greater_or_equal(ctx: Context, node: ir.Node) -> None:
    """Either of both, so that what is not a number is neither."""
    x, y = ctx.read(node, 0), ctx.read(node, 1)
    ctx.bind(node, e.either(x > y, e.equal(x, y)))


@lowers("LessOrEqual", inputs=2)
def less_or_equal(ctx: Context, node: ir.Node) -> None:
    """Either of both, so that what is not a number is neither."""
    x, y = ctx.read(node, 0), ctx.read(node, 1)
    ctx.bind(node, e.either(x < y, e.equal(x, y)))


def _several(kind: str) -> Handler:
    def handler(ctx: Context, node: ir.Node) -> None:
        operands = [ctx.read(node, i) for i in range(len(node.inputs))]
        total = functools.reduce(lambda x, y: binary(kind, x, y), operands)
        if node.op_type == "Mean":
            total = total / len(operands)
        ctx.bind(node, total)

    return handler


for _op, _kind in {"Max": "maximum", "Min": "minimum", "Sum": "add", "Mean": "add"}.items():
    lowers(_op, inputs=None)(_several(_kind))


@lowers("Pow", inputs=2)
def power(ctx: Context, node: ir.Node) -> None:
    """In the base's type, or in float where the exponent alone is."""
    x, y = ctx.read(node, 0), ctx.read(node, 1)
    if y.data is not None and y.size == 1 and y.data.reshape(()) == 2:
        ctx.bind(node, broadcast(x * x, ctx.shape(node.outputs[0])))
        return
    between = y.dtype if y.is_float and not x.is_float else x.dtype
    base, exponent = e.cast(x, between), e.cast(y, between)
    if between.startswith("int"):
        ctx.bind(node, _signed_power(base, exponent))
    else:
        ctx.bind(node, e.cast(binary("pow", base, exponent), x.dtype))


def _signed_power(x: Tensor, y: Tensor) -> Tensor:
    """With an exponent below 0 the result of 1 and -1 is one of them, and that of others has no whole part."""
    odd = binary("bitwise_and", y, 1)
    inverse = e.where(e.equal(x, 1), x, e.where(e.equal(x, -1), 1 - odd * 2, 0))
    return e.where(y < 0, inverse, binary("pow", x, e.maximum(y, 0)))


@lowers("Mod", inputs=2, attributes=("fmod",))
def modulo(ctx: Context, node: ir.Node) -> None:
    """The remainder has the sign of the dividend; of the divisor where `fmod` is not set."""
    x, y = ctx.read(node, 0), ctx.read(node, 1)
    rest = binary("modulo", x, y)
    if not get_int(node, "fmod", 0) and not x.dtype.startswith("u"):
        other = e.logical_not(e.equal(rest < 0, binary("mul", rest.like(1), y) < 0))
        rest = e.where(e.both(e.logical_not(e.equal(rest, 0)), other), rest + y, rest)
    ctx.bind(node, rest)


@lowers("BitShift", inputs=2, attributes=("direction",))
def bit_shift(ctx: Context, node: ir.Node) -> None:
    """Times or divided by a power of two; all bits are gone from the width on."""
    x, y = ctx.read(node, 0), ctx.read(node, 1)
    direction, bits = get_str(node, "direction", ""), np.iinfo(x.dtype).bits
    if direction not in ("LEFT", "RIGHT"):
        raise Refused(f"direction={direction!r} is unknown")
    powers = ctx.builder.constant(np.asarray([1 << n for n in range(bits)], x.dtype))
    factor = take(powers, e.raw_cast(e.minimum(y, bits - 1), "int32"), 0)
    shifted = x * factor if direction == "LEFT" else x / factor
    ctx.bind(node, e.where(y < bits, shifted, 0))


@lowers("Cast", attributes=("to", "saturate"))
def cast(ctx: Context, node: ir.Node) -> None:
    """`saturate` is for 8-bit floats, which Core AI's runtime here does not take."""
    ctx.bind(node, e.cast(ctx.read(node, 0), ctx.own_dtype(node.outputs[0])))


@lowers("Where", inputs=3)
def where(ctx: Context, node: ir.Node) -> None:
    """A choice."""
    ctx.bind(node, e.where(ctx.read(node, 0), ctx.read(node, 1), ctx.read(node, 2)))
