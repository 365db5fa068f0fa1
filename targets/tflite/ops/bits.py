"""Operators on bits, in int32: of these TFLite has BITWISE_XOR and RIGHT_SHIFT only, and the rest follows from sums.

With x ^ y for exclusive or: x + y = 2 (x & y) + (x ^ y), and x | y = (x ^ y) + (x & y).
"""

from __future__ import annotations

import onnx_ir as ir

from edgeport.targets.tflite.attributes import string_attr
from edgeport.targets.tflite.builder import Tensor
from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.layout import Layout
from edgeport.targets.tflite.ops.elementwise import cast, operands
from edgeport.targets.tflite.registry import Refused, lowers
from edgeport.targets.tflite.widening import WIDE, emit_cast


@lowers("BitwiseAnd", inputs=2)
def bitwise_and(ctx: Context, node: ir.Node) -> None:
    """(x + y - (x ^ y)) / 2; of 32 bits the lowest apart, so that the sum does not overflow."""
    (x, y), layout = _wide_operands(ctx, node)
    _finish(ctx, node, _and(ctx, node.outputs[0], x, y, ctx.dtype(node.outputs[0]) == WIDE), layout)


@lowers("BitwiseOr", inputs=2)
def bitwise_or(ctx: Context, node: ir.Node) -> None:
    """(x ^ y) + (x & y)."""
    (x, y), layout = _wide_operands(ctx, node)
    out = node.outputs[0]
    common = _and(ctx, out, x, y, ctx.dtype(out) == WIDE)
    _finish(
        ctx, node, _step(ctx, out, "ADD", ctx.step(out, "BITWISE_XOR", [x, y], "BitwiseXorOptions"), common), layout
    )


@lowers("BitwiseXor", inputs=2)
def bitwise_xor(ctx: Context, node: ir.Node) -> None:
    """BITWISE_XOR."""
    (x, y), layout = _wide_operands(ctx, node)
    _finish(ctx, node, ctx.step(node.outputs[0], "BITWISE_XOR", [x, y], "BitwiseXorOptions"), layout)


@lowers("BitwiseNot")
def bitwise_not(ctx: Context, node: ir.Node) -> None:
    """-1 - x, of which CAST keeps the low bits."""
    (x,), layout = _wide_operands(ctx, node)
    _finish(ctx, node, _step(ctx, node.outputs[0], "SUB", ctx.number(-1, WIDE), x), layout)


@lowers("BitShift", attributes=("direction",), inputs=2)
def bit_shift(ctx: Context, node: ir.Node) -> None:
    """RIGHT_SHIFT, or the product with a power of two."""
    (x, by), layout = _wide_operands(ctx, node)
    y, direction = node.outputs[0], string_attr(node, "direction", "")
    if direction == "RIGHT":
        shifted = ctx.step(y, "RIGHT_SHIFT", [x, by], "RightShiftOptions")
    elif direction == "LEFT":
        factor = ctx.step(y, "POW", [ctx.number(2, WIDE), by], "PowOptions")
        shifted = _step(ctx, y, "MUL", x, factor)
    else:
        raise Refused(f"direction={direction!r} is unknown")
    _finish(ctx, node, shifted, layout)


def _and(ctx: Context, y: ir.Value, a: Tensor, b: Tensor, full: bool) -> Tensor:
    if not full:
        total = _step(ctx, y, "ADD", a, b)
        return _half(ctx, y, _step(ctx, y, "SUB", total, ctx.step(y, "BITWISE_XOR", [a, b], "BitwiseXorOptions")))
    high_a, high_b = _half(ctx, y, a), _half(ctx, y, b)
    high = _and(ctx, y, high_a, high_b, full=False)
    low = _step(ctx, y, "MUL", _low_bit(ctx, y, a, high_a), _low_bit(ctx, y, b, high_b))
    return _step(ctx, y, "ADD", _step(ctx, y, "ADD", high, high), low)


def _low_bit(ctx: Context, y: ir.Value, x: Tensor, half: Tensor) -> Tensor:
    return _step(ctx, y, "SUB", x, _step(ctx, y, "ADD", half, half))


def _half(ctx: Context, y: ir.Value, x: Tensor) -> Tensor:
    return ctx.step(y, "RIGHT_SHIFT", [x, ctx.number(1, WIDE)], "RightShiftOptions")


def _step(ctx: Context, y: ir.Value, code: str, a: Tensor, b: Tensor) -> Tensor:
    return ctx.step(y, code, [a, b], f"{code.capitalize()}Options")


def _wide_operands(ctx: Context, node: ir.Node) -> tuple[list[Tensor], Layout]:
    inputs, layout = operands(ctx, node)
    if ctx.dtype(node.outputs[0]) == "int64":
        raise Refused("bits of int64 are not supported", "cast to int32 if the values fit", "unsupported-dtype")
    return [t if t.dtype == WIDE else cast(ctx, node.outputs[0], t, WIDE) for t in inputs], layout


def _finish(ctx: Context, node: ir.Node, result: Tensor, layout: Layout) -> None:
    """The output in its own type."""
    y = node.outputs[0]
    if ctx.dtype(y) == WIDE:
        ctx.bind(node, y, result, layout)
    else:
        emit_cast(ctx.builder, result, ctx.output(node, layout))
