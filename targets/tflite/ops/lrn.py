"""LRN, the normalization across channels of AlexNet and GoogLeNet."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.targets.tflite.attributes import float_attr, int_attr
from edgeport.targets.tflite.builder import Tensor
from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.layout import channels_last
from edgeport.targets.tflite.registry import Refused, lowers
from edgeport.targets.tflite.resample import multiplied


@lowers("LRN", attributes=("alpha", "beta", "bias", "size"))
def lrn(ctx: Context, node: ir.Node) -> None:
    """x / (bias + alpha / size * sum of squares of the neighbours) ^ beta.

    The sum is a product with a band matrix. LOCAL_RESPONSE_NORMALIZATION has no XNNPACK kernel, takes thirteen times as
    long (LiteRT 2.3.0) and knows odd sizes only.
    """
    x, y = node.inputs[0], node.outputs[0]
    assert x is not None
    rank, size = ctx.rank(x), int_attr(node, "size", 1)
    if rank < 3:
        raise Refused(f"{rank} dimensions are not supported, at least 3 are", code="unsupported-shape")
    layout = channels_last(rank)
    data = ctx.read(node, x, layout)
    square = ctx.step(y, "MUL", [data, data], "MulOptions")
    channel = np.arange(data.shape[-1])
    distance = channel[None] - channel[:, None]
    near = (distance >= -((size - 1) // 2)) & (distance <= size // 2)
    total = multiplied(ctx, y, square, near * (float_attr(node, "alpha", 1e-4) / size), rank - 1)
    base = ctx.step(y, "ADD", [total, ctx.number(float_attr(node, "bias", 1.0))], "AddOptions")
    exponent = float_attr(node, "beta", 0.75)
    if exponent in (0.5, 0.75) and float_attr(node, "bias", 1.0) > 0:  # XNNPACK's RSQRT of 0 is not a number
        _divided_by_roots(ctx, y, data, base, exponent, ctx.output(node, layout))
        return
    power = base if exponent == 1.0 else ctx.step(y, "POW", [base, ctx.number(exponent)], "PowOptions")
    ctx.emit("DIV", [data, power], [ctx.output(node, layout)], "DivOptions")


def _divided_by_roots(ctx: Context, y: ir.Value, data: Tensor, base: Tensor, exponent: float, out: Tensor) -> None:
    """`data` / `base` ^ `exponent` for 1/2 and 3/4: XNNPACK has roots and no powers."""
    root = ctx.step(y, "RSQRT", [base])
    if exponent == 0.75:
        data = ctx.step(y, "MUL", [data, ctx.step(y, "SQRT", [root])], "MulOptions")
    ctx.emit("MUL", [data, root], [out], "MulOptions")
