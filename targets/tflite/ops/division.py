"""Division, of int64 too, for which LiteRT has no kernel."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.targets.bounds import fits_int32
from edgeport.targets.tflite.builder import Tensor
from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.layout import Layout, stored_shape
from edgeport.targets.tflite.ops.elementwise import cast, operands
from edgeport.targets.tflite.registry import Refused, lowers


@lowers("Div", inputs=2)
def divide(ctx: Context, node: ir.Node) -> None:
    """DIV; of int64 where both surely fit in int32 that of int32, by any other constant a product with its inverse."""
    (x, by), layout = operands(ctx, node)
    y = node.outputs[0]
    if x.dtype != "int64":
        activation = ctx.activation(node)
        ctx.emit("DIV", [x, by], [ctx.output(node, layout)], "DivOptions", fusedActivationFunction=activation)
        return
    if all(fits_int32(value) for value in node.inputs):
        short = [cast(ctx, y, t, "int32") for t in (x, by)]
        ctx.bind(node, y, cast(ctx, y, ctx.step(y, "DIV", short, "DivOptions"), "int64"), layout)
        return
    divisor = ctx.constant(node.inputs[1])
    one = None if divisor is None or divisor.size != 1 else int(divisor.reshape(-1)[0])
    if one is None or not 0 < abs(one) < 2**31 or x.shape != stored_shape(ctx.shape(y), layout):
        raise Refused("a division of int64 by other than one constant is not supported", "cast to int32")
    _divide_by(ctx, node, x, one, layout)


def _divide_by(ctx: Context, node: ir.Node, x: Tensor, divisor: int, layout: Layout) -> None:
    """x less its remainder is a multiple of d = 2^k m: times the inverse of m modulo 2^64, and k bits to the right.

    Exact (Warren, Hacker's Delight, 2nd edition, chapter 10). What rounds down is corrected towards zero.
    """
    y, size = node.outputs[0], abs(divisor)
    k = (size & -size).bit_length() - 1
    inverse = pow(size >> k, -1, 2**64)
    remainder = ctx.step(y, "FLOOR_MOD", [x, ctx.number(size, "int64")], "FloorModOptions")
    multiple = ctx.step(y, "SUB", [x, remainder], "SubOptions")
    factor = ctx.builder.constant("const/scalar", np.asarray(inverse, np.uint64).view(np.int64))
    quotient = ctx.step(y, "MUL", [multiple, factor], "MulOptions")
    if k:
        quotient = _shifted(ctx, y, quotient, k)
    zero, one = ctx.number(0, "int64"), ctx.number(1, "int64")
    below = ctx.step(y, "LESS", [x, zero], "LessOptions", dtype="bool")
    inexact = ctx.step(y, "NOT_EQUAL", [remainder, zero], "NotEqualOptions", dtype="bool")
    down = ctx.step(y, "LOGICAL_AND", [below, inexact], "LogicalAndOptions")
    raised = ctx.step(y, "ADD", [quotient, one], "AddOptions")
    quotient = ctx.step(y, "SELECT_V2", [down, raised, quotient], "SelectV2Options", dtype="int64")
    ctx.bind(node, y, ctx.step(y, "NEG", [quotient]) if divisor < 0 else quotient, layout)


def _shifted(ctx: Context, y: ir.Value, x: Tensor, k: int) -> Tensor:
    """x / 2^k for a multiple of 2^k, from its two halves: RIGHT_SHIFT takes 32 bits."""
    halves = ctx.step(y, "BITCAST", [x], "BitcastOptions", (*x.shape, 2), "int32")
    parts = []
    for i in (0, 1):
        begin, size = ctx.ints("begin", [*(0 for _ in x.shape), i]), ctx.ints("size", [*x.shape, 1])
        column = ctx.step(y, "SLICE", [halves, begin, size], "SliceOptions", (*x.shape, 1), "int32")
        half = ctx.temporary(y, "half", x.shape, "int32")
        ctx.reshape(column, half)
        parts.append(half)
    low, high = parts
    amount = ctx.builder.constant("const/shift", np.full(x.shape, k, np.int32))
    moved = cast(ctx, y, ctx.step(y, "RIGHT_SHIFT", [low, amount], "RightShiftOptions"), "int64")
    room = ctx.number(2 ** (32 - k), "int64")
    unsigned = ctx.step(y, "FLOOR_MOD", [moved, room], "FloorModOptions")
    upper = ctx.step(y, "MUL", [cast(ctx, y, high, "int64"), room], "MulOptions")
    return ctx.step(y, "ADD", [upper, unsigned], "AddOptions")
