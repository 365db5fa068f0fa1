"""Activations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from edgeport.quantize.plan import QParams
from edgeport.targets.tflite.attributes import float_attr, int_attr, string_attr
from edgeport.targets.tflite.builder import schema
from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.fusion import clip_bounds, fused_activation
from edgeport.targets.tflite.layout import Layout, aligned, identity
from edgeport.targets.tflite.layout_choice import common_layout, full_layout
from edgeport.targets.tflite.ops.unary import operand, same, unary
from edgeport.targets.tflite.registry import Refused, lowers

_LOGISTIC_OUT = QParams("int8", np.asarray(1 / 256, np.float32), np.asarray(-128, np.int32))


@lowers("Relu", int8=True)
def relu(ctx: Context, node: ir.Node) -> None:
    """RELU."""
    if ctx.dtype(node.outputs[0]) != "float32":
        x, layout = operand(ctx, node)
        zero = ctx.number(0, x.dtype)
        ctx.emit("MAXIMUM", [x, zero], [ctx.output(node, layout)], "MaximumMinimumOptions")
    else:
        _clamp(ctx, node, "RELU", 0.0, float("inf"))


@lowers("Clip", inputs=3, int8=True)
def clip(ctx: Context, node: ir.Node) -> None:
    """RELU, RELU6 or RELU_N1_TO_1 where the bounds are theirs, else MAXIMUM and MINIMUM."""
    bounds, code = clip_bounds(node), fused_activation(node)
    if bounds == (float("-inf"), float("inf")):
        same(ctx, node)
    elif bounds is not None and ctx.dtype(node.outputs[0]) == "float32":
        _clamp(ctx, node, code, *bounds)
    else:
        _min_max(ctx, node)


def _clamp(ctx: Context, node: ir.Node, code: str, low: float, high: float) -> None:
    """A clamp; in integers a QUANTIZE, where the output's range clips at the same bounds.

    XNNPACK takes RELU and RELU6 in float only (the int8 reference kernel is 20 times slower), but it takes
    QUANTIZE, whose saturation clamps for free.
    """
    y = node.outputs[0]
    quant = ctx.quant(node, y)
    x, layout = operand(ctx, node)
    if x.quant is not None and quant is not None and _saturates_at(quant, x.quant, low, high):
        ctx.emit("QUANTIZE", [x], [ctx.output(node, layout)], "QuantizeOptions")
    elif x.quant is not None and quant is not None and code == "RELU" and quant.dtype == "int8":
        # Two requantizations with one rounding: the first saturates at 0, the second only moves the zero point.
        at_zero = replace(quant, zero_point=np.full_like(quant.zero_point, quant.limits[0]))
        positive = ctx.temporary(y, "positive", x.shape, x.dtype, at_zero)
        ctx.emit("QUANTIZE", [x], [positive], "QuantizeOptions")
        ctx.emit("QUANTIZE", [positive], [ctx.output(node, layout)], "QuantizeOptions")
    elif code != "NONE":
        ctx.emit(code, [x], [ctx.output(node, layout)])
    else:
        _min_max(ctx, node)


def _saturates_at(quant: QParams, source: QParams, low: float, high: float) -> bool:
    """Whether requantizing from `source` to `quant` clips exactly at the bounds.

    So it does at a bound beyond which `quant` has no number but the one nearest to the bound, or `source` none.
    """
    half = float(quant.scale) / 2
    smallest, largest = (float(quant.dequantize(np.array(q))) for q in quant.limits)
    source_smallest, source_largest = (float(source.dequantize(np.array(q))) for q in source.limits)
    return (smallest >= low - half or source_smallest >= low) and (largest <= high + half or source_largest <= high)


def _min_max(ctx: Context, node: ir.Node) -> None:
    x, y = node.inputs[0], node.outputs[0]
    assert x is not None
    layout = common_layout(ctx, [x], ctx.shape(x))
    data = ctx.read_float(x, layout)
    bounds = [(code, v) for code, v in zip(("MAXIMUM", "MINIMUM"), node.inputs[1:], strict=False) if v is not None]
    for code, bound in bounds:
        limit = ctx.read_float(bound, identity(ctx.rank(bound)))
        data = ctx.step(y, code, [data, limit], "MaximumMinimumOptions")
    ctx.bind_float(node, y, data, layout)


@lowers("Sigmoid", int8=True)
def sigmoid(ctx: Context, node: ir.Node) -> None:
    """LOGISTIC."""
    unary(ctx, node, "LOGISTIC")


@lowers("Tanh", int8=True)
def tanh(ctx: Context, node: ir.Node) -> None:
    """TANH."""
    unary(ctx, node, "TANH")


@lowers("LeakyRelu", attributes=("alpha",), int8=True)
def leaky_relu(ctx: Context, node: ir.Node) -> None:
    """LEAKY_RELU."""
    unary(ctx, node, "LEAKY_RELU", "LeakyReluOptions", alpha=float_attr(node, "alpha", 0.01))


@lowers("PRelu", inputs=2, int8=True)
def prelu(ctx: Context, node: ir.Node) -> None:
    """PRELU."""
    x, slope = node.inputs[0], node.inputs[1]
    assert x is not None
    assert slope is not None
    shape, slopes = ctx.shape(x), ctx.shape(slope)
    pairs = zip(reversed(slopes), reversed(shape), strict=False)
    if len(slopes) > len(shape) or any(s not in (1, d) for s, d in pairs):
        raise Refused(f"a slope of shape {list(slopes)} does not broadcast to the input's {list(shape)}")
    layout = common_layout(ctx, [x], ctx.shape(x))
    alpha = ctx.read(node, slope, aligned(layout, ctx.rank(slope), ctx.rank(x)))
    ctx.emit("PRELU", [ctx.read(node, x, layout), alpha], [ctx.output(node, layout)])


@lowers("Swish", attributes=("alpha",), int8=True)
def swish(ctx: Context, node: ir.Node) -> None:
    """x * LOGISTIC(alpha * x); with alpha other than 1 in float, because an integer LOGISTIC has no factor."""
    y, alpha = node.outputs[0], float_attr(node, "alpha", 1.0)
    x, layout = operand(ctx, node)
    if alpha == 1.0:
        gate = ctx.temporary(y, "gate", x.shape, x.dtype, None if x.quant is None else _LOGISTIC_OUT)
        ctx.emit("LOGISTIC", [x], [gate])
        ctx.emit("MUL", [x, gate], [ctx.output(node, layout)], "MulOptions")
        return
    value = node.inputs[0]
    assert value is not None
    x = ctx.read_float(value, layout)
    gate = ctx.step(y, "LOGISTIC", [ctx.step(y, "MUL", [x, ctx.number(alpha)], "MulOptions")])
    ctx.bind_float(node, y, ctx.step(y, "MUL", [x, gate], "MulOptions"), layout)


@lowers("HardSwish", int8=True)
def hard_swish(ctx: Context, node: ir.Node) -> None:
    """HARD_SWISH."""
    unary(ctx, node, "HARD_SWISH", "HardSwishOptions")


@lowers("HardSigmoid", attributes=("alpha", "beta"))
def hard_sigmoid(ctx: Context, node: ir.Node) -> None:
    """min(max(alpha * x + beta, 0), 1); with alpha 1/6 and beta 1/2 as RELU6(x + 3) / 6."""
    y = node.outputs[0]
    alpha, beta = float_attr(node, "alpha", 0.2), float_attr(node, "beta", 0.5)
    x, layout = operand(ctx, node)
    activation = schema().ActivationFunctionType
    if abs(alpha * 6 - 1) < 1e-6 and beta == 0.5:
        shifted = ctx.step(y, "ADD", [x, ctx.number(3)], "AddOptions", fusedActivationFunction=activation.RELU6)
        ctx.emit("MUL", [shifted, ctx.number(1 / 6)], [ctx.output(node, layout)], "MulOptions")
    else:
        scaled = ctx.step(y, "MUL", [x, ctx.number(alpha)], "MulOptions")
        low = ctx.step(y, "ADD", [scaled, ctx.number(beta)], "AddOptions", fusedActivationFunction=activation.RELU)
        ctx.emit("MINIMUM", [low, ctx.number(1)], [ctx.output(node, layout)], "MaximumMinimumOptions")


@lowers("Gelu", attributes=("approximate",), int8=True)
def gelu(ctx: Context, node: ir.Node) -> None:
    """GELU, exact or by tanh."""
    mode = string_attr(node, "approximate", "none")
    if mode not in ("none", "tanh"):
        raise Refused(f"approximate={mode!r} is unknown")
    unary(ctx, node, "GELU", "GeluOptions", approximate=mode == "tanh")


@lowers("Elu", attributes=("alpha",), int8=True)
def elu(ctx: Context, node: ir.Node) -> None:
    """ELU; with alpha other than 1 as RELU(x) + alpha * ELU(min(x, 0))."""
    alpha = float_attr(node, "alpha", 1.0)
    if alpha == 1.0:
        unary(ctx, node, "ELU")
    else:
        _elu_like(ctx, node, inner=1.0, outer=alpha, gain=1.0)


@lowers("Celu", attributes=("alpha",))
def celu(ctx: Context, node: ir.Node) -> None:
    """RELU(x) + alpha * ELU(min(x, 0) / alpha)."""
    alpha = float_attr(node, "alpha", 1.0)
    _elu_like(ctx, node, inner=1 / alpha, outer=alpha, gain=1.0)


@lowers("Selu", attributes=("alpha", "gamma"))
def selu(ctx: Context, node: ir.Node) -> None:
    """gamma * (RELU(x) + alpha * ELU(min(x, 0)))."""
    alpha, gamma = float_attr(node, "alpha", 1.67326319217681884765625), float_attr(node, "gamma", 1.0507010221481323)
    _elu_like(ctx, node, inner=1.0, outer=alpha * gamma, gain=gamma)


def _elu_like(ctx: Context, node: ir.Node, inner: float, outer: float, gain: float) -> None:
    """gain * RELU(x) + outer * ELU(inner * min(x, 0))."""
    y = node.outputs[0]
    x, layout = operand(ctx, node)
    positive = ctx.step(y, "RELU", [x])
    if gain != 1.0:
        positive = ctx.step(y, "MUL", [positive, ctx.number(gain)], "MulOptions")
    negative = ctx.step(y, "MINIMUM", [x, ctx.number(0)], "MaximumMinimumOptions")
    if inner != 1.0:
        negative = ctx.step(y, "MUL", [negative, ctx.number(inner)], "MulOptions")
    negative = ctx.step(y, "MUL", [ctx.step(y, "ELU", [negative]), ctx.number(outer)], "MulOptions")
    ctx.emit("ADD", [positive, negative], [ctx.output(node, layout)], "AddOptions")


def last_axis_layout(ctx: Context, value: ir.Value, axis: int) -> Layout:
    """A layout in which `axis` is stored last, the one that exists if there is one."""
    rank = ctx.rank(value)
    axis %= rank
    for layout in ctx.layouts(value):
        if len(layout) == rank and set(layout) == set(range(rank)) and layout[-1] == axis:
            return layout
    return (*(a for a in full_layout(ctx, value) if a != axis), axis)


@lowers("Softmax", attributes=("axis",), int8=True)
def softmax(ctx: Context, node: ir.Node) -> None:
    """SOFTMAX, which works on the last stored axis."""
    _softmax(ctx, node, "SOFTMAX", "SoftmaxOptions", beta=1.0)


@lowers("LogSoftmax", attributes=("axis",), int8=True)
def log_softmax(ctx: Context, node: ir.Node) -> None:
    """x - max - log(sum(exp(x - max))), in a quarter of the time of LOG_SOFTMAX, which stays where integers are."""
    if ctx.int8(node):
        _softmax(ctx, node, "LOG_SOFTMAX", "LogSoftmaxOptions")
        return
    value, y = node.inputs[0], node.outputs[0]
    assert value is not None
    layout = full_layout(ctx, value)
    x = ctx.read(node, value, layout)
    position = layout.index(int_attr(node, "axis", -1) % len(layout))
    axes, rows = ctx.ints("axes", (position,)), [1 if i == position else d for i, d in enumerate(x.shape)]
    best = ctx.step(y, "REDUCE_MAX", [x, axes], "ReducerOptions", shape=rows, keepDims=True)
    below = ctx.step(y, "SUB", [x, best], "SubOptions")
    total = ctx.step(y, "SUM", [ctx.step(y, "EXP", [below]), axes], "ReducerOptions", shape=rows, keepDims=True)
    ctx.emit("SUB", [below, ctx.step(y, "LOG", [total])], [ctx.output(node, layout)], "SubOptions")


def _softmax(ctx: Context, node: ir.Node, code: str, options_type: str, **options: float) -> None:
    x = node.inputs[0]
    assert x is not None
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else -1
    layout = last_axis_layout(ctx, x, axis)
    ctx.emit(code, [ctx.read(node, x, layout)], [ctx.output(node, layout)], options_type, **options)
