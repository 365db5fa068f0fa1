"""Element-wise operators, with numpy broadcasting over operands that may be stored in different layouts."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from edgeport.targets.tflite.attributes import int_attr
from edgeport.targets.tflite.builder import Tensor, schema
from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.layout import Layout, aligned
from edgeport.targets.tflite.ops.unary import operand, same, unary
from edgeport.targets.tflite.registry import Refused, lowers

Handler = Callable[[Context, ir.Node], None]


def operands(ctx: Context, node: ir.Node) -> tuple[list[Tensor], Layout]:
    """All inputs in one layout of the output, ready to broadcast."""
    values = [v for v in node.inputs if v is not None]
    y = ctx.result(node)
    shape = ctx.shape(y)
    layout = ctx.common_layout(values, shape)
    return [ctx.read(node, v, aligned(layout, ctx.rank(v), len(shape))) for v in values], layout


def _binary(code: str, options_type: str | None) -> Handler:
    def handler(ctx: Context, node: ir.Node) -> None:
        inputs, layout = operands(ctx, node)
        ctx.emit(code, inputs, [ctx.output(node, layout)], options_type)

    return handler


def _arithmetic(code: str, options_type: str) -> Handler:
    def handler(ctx: Context, node: ir.Node) -> None:
        inputs, layout = operands(ctx, node)
        activation = ctx.activation(node)
        ctx.emit(code, inputs, [ctx.output(node, layout)], options_type, fusedActivationFunction=activation)

    return handler


def _chain(code: str, options_type: str) -> Handler:
    def handler(ctx: Context, node: ir.Node) -> None:
        inputs, layout = operands(ctx, node)
        if len(inputs) == 1:
            same(ctx, node)
            return
        total = inputs[0]
        for term in inputs[1:-1]:
            total = ctx.step(node.outputs[0], code, [total, term], options_type)
        ctx.emit(code, [total, inputs[-1]], [ctx.output(node, layout)], options_type)

    return handler


def _unary(code: str, options_type: str | None = None) -> Handler:
    def handler(ctx: Context, node: ir.Node) -> None:
        unary(ctx, node, code, options_type)

    return handler


for _op in ("Add", "Sub", "Mul"):
    lowers(_op, inputs=2, int8=True)(_arithmetic(_op.upper(), f"{_op}Options"))
lowers("Div", inputs=2)(_arithmetic("DIV", "DivOptions"))
lowers("Max", inputs=None)(_chain("MAXIMUM", "MaximumMinimumOptions"))
lowers("Min", inputs=None)(_chain("MINIMUM", "MaximumMinimumOptions"))
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
lowers("Where", inputs=3)(_binary("SELECT_V2", "SelectV2Options"))
for _op, _code in (
    ("Abs", "ABS"),
    ("Ceil", "CEIL"),
    ("Cos", "COS"),
    ("Exp", "EXP"),
    ("Floor", "FLOOR"),
    ("Log", "LOG"),
    ("Neg", "NEG"),
    ("Not", "LOGICAL_NOT"),
    ("Round", "ROUND"),
    ("Sign", "SIGN"),
    ("Sin", "SIN"),
    ("Sqrt", "SQRT"),
):
    lowers(_op)(_unary(_code))


@lowers("Mean", inputs=None)
def mean(ctx: Context, node: ir.Node) -> None:
    """ADD of all operands, divided by their number."""
    inputs, layout = operands(ctx, node)
    total = inputs[0]
    for term in inputs[1:]:
        total = ctx.step(node.outputs[0], "ADD", [total, term], "AddOptions")
    ctx.emit("MUL", [total, ctx.number(1 / len(inputs))], [ctx.output(node, layout)], "MulOptions")


@lowers("Pow", inputs=2)
def power(ctx: Context, node: ir.Node) -> None:
    """SQUARE, SQRT or POW."""
    y, exponent = node.outputs[0], node.inputs[1]
    assert exponent is not None
    constant = ctx.constant(exponent)
    single = float(constant.reshape(-1)[0]) if constant is not None and constant.size == 1 else None
    is_float = ctx.dtype(y) == "float32"
    if is_float and single in (2.0, 0.5) and ctx.shape(node.inputs[0] or y) == ctx.shape(y):
        x, layout = operand(ctx, node)
        ctx.emit("SQUARE" if single == 2.0 else "SQRT", [x], [ctx.output(node, layout)])
        return
    (base, by), layout = operands(ctx, node)
    if by.dtype != base.dtype:
        by = cast(ctx, y, by, base.dtype)
    ctx.emit("POW", [base, by], [ctx.output(node, layout)], "PowOptions")


@lowers("Mod", attributes=("fmod",), inputs=2)
def mod(ctx: Context, node: ir.Node) -> None:
    """FLOOR_MOD; the sign follows the divisor, as in numpy."""
    if int_attr(node, "fmod", 0):
        raise Refused("fmod=1 is not supported", "TFLite's remainder takes the sign of the divisor")
    inputs, layout = operands(ctx, node)
    ctx.emit("FLOOR_MOD", inputs, [ctx.output(node, layout)], "FloorModOptions")


@lowers("Cast", attributes=("to", "saturate"))
def cast_op(ctx: Context, node: ir.Node) -> None:
    """CAST (`saturate` concerns float8 only, which is refused as a dtype)."""
    x, layout = operand(ctx, node)
    out = ctx.output(node, layout)
    _emit_cast(ctx, x, out)


def cast(ctx: Context, like: ir.Value, x: Tensor, dtype: str) -> Tensor:
    """`x` converted to another dtype."""
    out = ctx.temporary(like, "cast", x.shape, dtype)
    _emit_cast(ctx, x, out)
    return out


def _emit_cast(ctx: Context, x: Tensor, out: Tensor) -> None:
    types = schema().TensorType
    codes = (int(getattr(types, t.dtype.upper())) for t in (x, out))
    ctx.emit("CAST", [x], [out], "CastOptions", **dict(zip(("inDataType", "outDataType"), codes, strict=True)))
