"""Element-wise operators, with numpy broadcasting over operands that may be stored in different layouts."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir

from edgeport.targets.tflite.attributes import int_attr
from edgeport.targets.tflite.builder import Tensor
from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.layout import Layout, aligned, identity
from edgeport.targets.tflite.layout_choice import common_layout
from edgeport.targets.tflite.ops.unary import operand, same, unary
from edgeport.targets.tflite.registry import lowers
from edgeport.targets.tflite.widening import emit_cast

Handler = Callable[[Context, ir.Node], None]


def operands(ctx: Context, node: ir.Node) -> tuple[list[Tensor], Layout]:
    """All inputs in one layout of the output, ready to broadcast."""
    values = [v for v in node.inputs if v is not None]
    y = ctx.result(node)
    shape = ctx.shape(y)
    layout = common_layout(ctx, values, shape)
    return [ctx.read(node, v, aligned(layout, ctx.rank(v), len(shape))) for v in values], layout


def _binary(code: str, options_type: str | None) -> Handler:
    def handler(ctx: Context, node: ir.Node) -> None:
        inputs, layout = operands(ctx, node)
        ctx.emit(code, inputs, [ctx.output(node, layout)], options_type)

    return handler


def _arithmetic(code: str, options_type: str) -> Handler:
    def handler(ctx: Context, node: ir.Node) -> None:
        inputs, layout = operands(ctx, node)
        options: dict[str, Any] = {"fusedActivationFunction": ctx.activation(node)}
        if code in ("ADD", "SUB") and inputs[0].dtype == "int16":
            options["potScaleInt16"] = False  # by default the kernels want scales that are powers of two
        ctx.emit(code, inputs, [ctx.output(node, layout)], options_type, **options)

    return handler


def _chain(code: str, options_type: str) -> Handler:
    def handler(ctx: Context, node: ir.Node) -> None:
        inputs, layout = operands(ctx, node)
        if len(inputs) == 1:
            same(ctx, node)
            return
        quant = ctx.quant(node, node.outputs[0])
        if (
            quant is not None
        ):  # integer kernels compare what is stored: all in the output's scale, whose ends clip alike
            inputs = [ctx.rescaled(node.outputs[0], term, quant) for term in inputs]
        total = inputs[0]
        for term in inputs[1:-1]:
            partial = ctx.temporary(
                node.outputs[0], code.lower(), np.broadcast_shapes(total.shape, term.shape), total.dtype, quant
            )
            ctx.emit(code, [total, term], [partial], options_type)
            total = partial
        ctx.emit(code, [total, inputs[-1]], [ctx.output(node, layout)], options_type)

    return handler


def _unary(code: str, options_type: str | None = None) -> Handler:
    def handler(ctx: Context, node: ir.Node) -> None:
        unary(ctx, node, code, options_type)

    return handler


for _op in ("Add", "Sub", "Mul"):
    lowers(_op, inputs=2, int8=True)(_arithmetic(_op.upper(), f"{_op}Options"))
lowers("Max", inputs=None, int8=True)(_chain("MAXIMUM", "MaximumMinimumOptions"))
lowers("Min", inputs=None, int8=True)(_chain("MINIMUM", "MaximumMinimumOptions"))
lowers("Sum", inputs=None)(_chain("ADD", "AddOptions"))
for _op, _code, _options in (
    ("Equal", "EQUAL", "EqualOptions"),
    ("Greater", "GREATER", "GreaterOptions"),
    ("GreaterOrEqual", "GREATER_EQUAL", "GreaterEqualOptions"),
    ("Less", "LESS", "LessOptions"),
    ("LessOrEqual", "LESS_EQUAL", "LessEqualOptions"),
    ("And", "LOGICAL_AND", "LogicalAndOptions"),
    ("Or", "LOGICAL_OR", "LogicalOrOptions"),
    ("Xor", "NOT_EQUAL", "NotEqualOptions"),
):
    lowers(_op, inputs=2)(_binary(_code, _options))
lowers("Where", inputs=3, int8=True)(_binary("SELECT_V2", "SelectV2Options"))
for _op, _code in (
    ("Ceil", "CEIL"),
    ("Cos", "COS"),
    ("Exp", "EXP"),
    ("Floor", "FLOOR"),
    ("Log", "LOG"),
    ("Neg", "NEG"),
    ("Round", "ROUND"),
    ("Sin", "SIN"),
    ("Sqrt", "SQRT"),
):
    lowers(_op, int8=_op in ("Exp", "Log", "Sqrt"))(_unary(_code))


@lowers("Not")
def logical_not(ctx: Context, node: ir.Node) -> None:
    """x == false, which takes an eightieth of LOGICAL_NOT's time (LiteRT 2.3.0)."""
    x, layout = operand(ctx, node)
    ctx.emit("EQUAL", [x, ctx.number(0, "bool")], [ctx.output(node, layout)], "EqualOptions")


@lowers("Abs", int8=True)
def absolute(ctx: Context, node: ir.Node) -> None:
    """ABS; of int64 the greater of x and -x."""
    x, layout = operand(ctx, node)
    if x.dtype != "int64":
        ctx.emit("ABS", [x], [ctx.output(node, layout)])
    else:
        ctx.bind(node, node.outputs[0], magnitude(ctx, node.outputs[0], x), layout)


@lowers("Sign")
def sign(ctx: Context, node: ir.Node) -> None:
    """SIGN; of int64 as (x > 0) - (x < 0)."""
    x, layout = operand(ctx, node)
    if x.dtype != "int64":
        ctx.emit("SIGN", [x], [ctx.output(node, layout)])
        return
    y, zero = node.outputs[0], ctx.number(0, x.dtype)
    signs = (ctx.step(y, code, [x, zero], f"{code.capitalize()}Options", dtype="bool") for code in ("GREATER", "LESS"))
    positive, negative = (cast(ctx, y, s, x.dtype) for s in signs)
    ctx.emit("SUB", [positive, negative], [ctx.output(node, layout)], "SubOptions")


@lowers("Mean", inputs=None)
def mean(ctx: Context, node: ir.Node) -> None:
    """ADD of all operands, divided by their number."""
    inputs, layout = operands(ctx, node)
    total = inputs[0]
    for term in inputs[1:]:
        total = ctx.step(node.outputs[0], "ADD", [total, term], "AddOptions")
    ctx.emit("MUL", [total, ctx.number(1 / len(inputs))], [ctx.output(node, layout)], "MulOptions")


_POWERS = {2.0: "SQUARE", 0.5: "SQRT", -0.5: "RSQRT"}


@lowers("Pow", inputs=2, int8=True)
def power(ctx: Context, node: ir.Node) -> None:
    """SQUARE, SQRT, RSQRT or POW."""
    y, exponent = node.outputs[0], node.inputs[1]
    assert exponent is not None
    constant = ctx.constant(exponent)
    single = float(constant.reshape(-1)[0]) if constant is not None and constant.size == 1 else math.nan
    is_float = ctx.dtype(y) == "float32"
    if is_float and single in _POWERS and ctx.shape(node.inputs[0] or y) == ctx.shape(y):
        x, layout = operand(ctx, node)
        if single == -0.5 and x.quant is None:  # XNNPACK's RSQRT of 0 is NaN, not infinite
            ctx.emit("DIV", [ctx.number(1), ctx.step(y, "SQRT", [x])], [ctx.output(node, layout)], "DivOptions")
        else:
            ctx.emit(_POWERS[single], [x], [ctx.output(node, layout)])
        return
    (base, by), layout = operands(ctx, node)
    if by.dtype == "float32" and base.dtype != "float32":
        _power_of_integer(ctx, node, base, by, layout)
        return
    if by.dtype != base.dtype:
        by = cast(ctx, y, by, base.dtype)
    ctx.emit("POW", [base, by], [ctx.output(node, layout)], "PowOptions")


def _power_of_integer(ctx: Context, node: ir.Node, base: Tensor, by: Tensor, layout: Layout) -> None:
    """An integer to a float power: exact where the power is an integer that is not negative, else cut off."""
    y, dtype = node.outputs[0], base.dtype
    whole = cast(ctx, y, ctx.step(y, "MAXIMUM", [by, ctx.number(0)], "MaximumMinimumOptions"), dtype)
    exact = ctx.step(y, "POW", [base, whole], "PowOptions")
    rough = cast(ctx, y, ctx.step(y, "POW", [cast(ctx, y, base, "float32"), by], "PowOptions"), dtype)
    is_whole = ctx.step(y, "EQUAL", [cast(ctx, y, whole, "float32"), by], "EqualOptions", dtype="bool")
    ctx.emit("SELECT_V2", [is_whole, exact, rough], [ctx.output(node, layout)], "SelectV2Options")


@lowers("Mod", attributes=("fmod",), inputs=2)
def mod(ctx: Context, node: ir.Node) -> None:
    """FLOOR_MOD, whose sign follows the divisor as in numpy; with fmod=1 that of magnitudes, signed as the dividend."""
    (x, by), layout = operands(ctx, node)
    y = node.outputs[0]
    if not int_attr(node, "fmod", 0):
        ctx.emit("FLOOR_MOD", [x, by], [ctx.output(node, layout)], "FloorModOptions")
        return
    rest = ctx.step(y, "FLOOR_MOD", [magnitude(ctx, y, x), magnitude(ctx, y, by)], "FloorModOptions")
    negative = ctx.step(y, "LESS", [x, ctx.number(0, x.dtype)], "LessOptions", dtype="bool")
    out = ctx.output(node, layout)
    ctx.emit("SELECT_V2", [negative, ctx.step(y, "NEG", [rest]), rest], [out], "SelectV2Options")


def magnitude(ctx: Context, like: ir.Value, x: Tensor) -> Tensor:
    """ABS, which TFLite lacks for int64."""
    if x.dtype != "int64":
        return ctx.step(like, "ABS", [x])
    return ctx.step(like, "MAXIMUM", [x, ctx.step(like, "NEG", [x])], "MaximumMinimumOptions")


@lowers("Cast", attributes=("to", "saturate"))
def cast_op(ctx: Context, node: ir.Node) -> None:
    """CAST (`saturate` concerns float8 only, which is refused as a dtype).

    Elements move before they become float16 or float64, for which there is no TRANSPOSE.
    """
    value, y = node.inputs[0], node.outputs[0]
    assert value is not None
    layout = (
        identity(ctx.rank(y))
        if ctx.dtype(y) in ("float16", "float64")
        else common_layout(ctx, [value], ctx.shape(value))
    )
    emit_cast(ctx.builder, ctx.read(node, value, layout), ctx.output(node, layout))


def cast(ctx: Context, like: ir.Value, x: Tensor, dtype: str) -> Tensor:
    """`x` converted to another dtype."""
    out = ctx.temporary(like, "cast", x.shape, dtype)
    emit_cast(ctx.builder, x, out)
    return out
