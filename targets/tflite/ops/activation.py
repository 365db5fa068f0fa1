"""Activations that are one kernel."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.quantize.plan import QParams
from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.fusion import clip_bounds, fused_activation
from edgeport.targets.tflite.ops.unary import operand, unary
from edgeport.targets.tflite.registry import Refused, lowers


@lowers("Relu", int8=True)
def relu(ctx: Context, node: ir.Node) -> None:
    """RELU."""
    _clamp(ctx, node, "RELU", 0.0, float("inf"))


@lowers("Clip", inputs=3, int8=True)
def clip(ctx: Context, node: ir.Node) -> None:
    """RELU, RELU6 or RELU_N1_TO_1 where the bounds are theirs, else MAXIMUM and MINIMUM."""
    bounds = clip_bounds(node)
    code = fused_activation(node)
    if bounds is not None and code != "NONE":
        _clamp(ctx, node, code, *bounds)
    else:
        raise Refused("bounds other than [0, inf], [0, 6] and [-1, 1] are not supported")


@lowers("Sigmoid", int8=True)
def sigmoid(ctx: Context, node: ir.Node) -> None:
    """LOGISTIC."""
    unary(ctx, node, "LOGISTIC")


def _clamp(ctx: Context, node: ir.Node, code: str, low: float, high: float) -> None:
    """A clamping kernel; in integers a QUANTIZE, where the output's range clips at the same bounds.

    XNNPACK takes RELU and RELU6 in float only (the int8 reference kernel is 20 times slower), but it takes
    QUANTIZE, whose saturation clamps for free.
    """
    x, layout = operand(ctx, node)
    out = ctx.output(node, layout)
    if x.quant is not None and out.quant is not None and _saturates_at(out.quant, x.quant, low, high):
        ctx.emit("QUANTIZE", [x], [out], "QuantizeOptions")
    else:
        ctx.emit(code, [x], [out])


def _saturates_at(quant: QParams, source: QParams, low: float, high: float) -> bool:
    """Whether requantizing from `source` to `quant` clips exactly at the bounds.

    True for a bound if it is the smallest (largest) number that `quant` can stand for, within rounding, or if
    `source` has nothing beyond it.
    """
    smallest, largest = (float(quant.dequantize(np.array(q))) for q in quant.limits)
    source_smallest, source_largest = (float(source.dequantize(np.array(q))) for q in source.limits)
    half = float(quant.scale) / 2
    low_ok = abs(smallest - low) <= half * 1e-3 or (source_smallest >= low - half and smallest <= source_smallest)
    high_ok = abs(largest - high) <= half or source_largest <= high + half
    return low_ok and high_ok
