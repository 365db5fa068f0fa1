"""Functions without a kernel of their own, composed of kernels that exist."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.sample import Array
from edgeport.targets.tflite.attributes import float_attr, int_attr
from edgeport.targets.tflite.builder import Tensor
from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.layout import identity
from edgeport.targets.tflite.layout_choice import full_layout
from edgeport.targets.tflite.ops.index import first
from edgeport.targets.tflite.ops.unary import operand
from edgeport.targets.tflite.registry import Refused, lowers


@lowers("Reciprocal")
def reciprocal(ctx: Context, node: ir.Node) -> None:
    """1 / x."""
    x, layout = operand(ctx, node)
    ctx.emit("DIV", [ctx.number(1), x], [ctx.output(node, layout)], "DivOptions")


@lowers("Softplus")
def softplus(ctx: Context, node: ir.Node) -> None:
    """RELU(x) + LOG(1 + EXP(-|x|)), which does not overflow."""
    x, layout = operand(ctx, node)
    ctx.emit("ADD", _softplus_terms(ctx, node.outputs[0], x), [ctx.output(node, layout)], "AddOptions")


@lowers("Mish")
def mish(ctx: Context, node: ir.Node) -> None:
    """x * TANH(softplus(x))."""
    x, layout = operand(ctx, node)
    y = node.outputs[0]
    gate = ctx.step(y, "TANH", [ctx.step(y, "ADD", _softplus_terms(ctx, y, x), "AddOptions")])
    ctx.emit("MUL", [x, gate], [ctx.output(node, layout)], "MulOptions")


def _softplus_terms(ctx: Context, y: ir.Value, x: Tensor) -> tuple[Tensor, Tensor]:
    power = ctx.step(y, "EXP", [ctx.step(y, "NEG", [ctx.step(y, "ABS", [x])])])
    return ctx.step(y, "RELU", [x]), ctx.step(y, "LOG", [ctx.step(y, "ADD", [power, ctx.number(1)], "AddOptions")])


@lowers("Softsign")
def softsign(ctx: Context, node: ir.Node) -> None:
    """x / (1 + |x|)."""
    x, layout = operand(ctx, node)
    y = node.outputs[0]
    below = ctx.step(y, "ADD", [ctx.step(y, "ABS", [x]), ctx.number(1)], "AddOptions")
    ctx.emit("DIV", [x, below], [ctx.output(node, layout)], "DivOptions")


@lowers("ThresholdedRelu", attributes=("alpha",))
def thresholded_relu(ctx: Context, node: ir.Node) -> None:
    """x where x > alpha, else 0."""
    x, layout = operand(ctx, node)
    alpha = ctx.number(float_attr(node, "alpha", 1.0))
    above = ctx.step(node.outputs[0], "GREATER", [x, alpha], "GreaterOptions", dtype="bool")
    ctx.emit("SELECT_V2", [above, x, ctx.number(0)], [ctx.output(node, layout)], "SelectV2Options")


@lowers("Shrink", attributes=("bias", "lambd"))
def shrink(ctx: Context, node: ir.Node) -> None:
    """x - bias above lambd, x + bias below -lambd, 0 between."""
    x, layout = operand(ctx, node)
    if x.dtype != "float32":
        raise Refused(f"Shrink of {x.dtype} is not supported", "cast to float32")
    y = node.outputs[0]
    bias, limit = ctx.number(float_attr(node, "bias", 0.0)), float_attr(node, "lambd", 0.5)
    above = ctx.step(y, "GREATER", [x, ctx.number(limit)], "GreaterOptions", dtype="bool")
    below = ctx.step(y, "LESS", [x, ctx.number(-limit)], "LessOptions", dtype="bool")
    raised = ctx.step(y, "ADD", [x, bias], "AddOptions")
    low = ctx.step(y, "SELECT_V2", [below, raised, ctx.number(0)], "SelectV2Options", dtype="float32")
    lowered = ctx.step(y, "SUB", [x, bias], "SubOptions")
    ctx.emit("SELECT_V2", [above, lowered, low], [ctx.output(node, layout)], "SelectV2Options")


@lowers("IsNaN")
def is_nan(ctx: Context, node: ir.Node) -> None:
    """x != x."""
    x, layout = operand(ctx, node)
    ctx.emit("NOT_EQUAL", [x, x], [ctx.output(node, layout)], "NotEqualOptions")


@lowers("IsInf", attributes=("detect_negative", "detect_positive"))
def is_inf(ctx: Context, node: ir.Node) -> None:
    """Equality with infinity, of |x| where both signs count."""
    x, layout = operand(ctx, node)
    positive, negative = (int_attr(node, f"detect_{sign}", 1) for sign in ("positive", "negative"))
    if not positive and not negative:
        ctx.emit("LESS", [x, x], [ctx.output(node, layout)], "LessOptions")
        return
    if positive and negative:
        x = ctx.step(node.outputs[0], "ABS", [x])
    limit = ctx.number(float("inf") if positive else float("-inf"))
    ctx.emit("EQUAL", [x, limit], [ctx.output(node, layout)], "EqualOptions")


@lowers("Trilu", attributes=("upper",), inputs=2)
def trilu(ctx: Context, node: ir.Node) -> None:
    """SELECT_V2 with a constant triangle."""
    x, y = first(node), node.outputs[0]
    shift = ctx.constant_ints(node, 1) or (0,)
    triangle: Array = np.ones(ctx.shape(x)[-2:], bool)
    kept = np.triu(triangle, shift[0]) if int_attr(node, "upper", 1) else np.tril(triangle, shift[0])
    data = ctx.read(node, x)
    mask = ctx.builder.constant(f"{y.name}/triangle", kept)
    zeros = ctx.number(0, data.dtype)
    ctx.emit("SELECT_V2", [mask, data, zeros], [ctx.output(node, identity(ctx.rank(y)))], "SelectV2Options")


@lowers("LpNormalization", attributes=("axis", "p"))
def lp_normalization(ctx: Context, node: ir.Node) -> None:
    """x / SUM(|x|) or x / SQRT(SUM(x * x)) along an axis, 0 where the norm is 0."""
    x, y = first(node), node.outputs[0]
    layout = full_layout(ctx, x)
    data = ctx.read(node, x, layout)
    position = layout.index(int_attr(node, "axis", -1) % ctx.rank(x))
    shape = [1 if i == position else d for i, d in enumerate(data.shape)]
    second = int_attr(node, "p", 2) == 2
    terms = ctx.step(y, "MUL", [data, data], "MulOptions") if second else ctx.step(y, "ABS", [data])
    axes = ctx.ints("axes", (position,))
    norm = ctx.step(y, "SUM", [terms, axes], "ReducerOptions", shape=shape, keepDims=True)
    norm = ctx.step(y, "SQRT", [norm]) if second else norm
    zero = ctx.step(y, "EQUAL", [norm, ctx.number(0)], "EqualOptions", dtype="bool")
    below = ctx.step(y, "SELECT_V2", [zero, ctx.number(1), norm], "SelectV2Options", dtype="float32")
    ctx.emit("DIV", [data, below], [ctx.output(node, layout)], "DivOptions")
