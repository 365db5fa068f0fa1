"""Convolution kernels over planes and volumes, shared by Conv and ConvTranspose."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import numpy as np
import onnx_ir as ir

from edgeport.quantize.plan import QParams
from edgeport.sample import Array
from edgeport.targets.tflite.builder import Tensor
from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.pieces import joined, shaped
from edgeport.targets.tflite.strides import strided
from edgeport.targets.tflite.window import padding_code
from edgeport.targets.window import Window

Weights = Callable[[Callable[[Array], Array], int], Tensor]
"""Makes the kernel's weights: given what moves the ONNX array [M, C/g, d, h, w] and the axis where M then lies."""


def emit_conv(
    ctx: Context,
    operands: Sequence[Tensor],
    out: Tensor,
    win: Window,
    padding: Literal["SAME", "VALID"],
    multiplier: int,
    activation: int,
) -> None:
    """CONV_2D over data, kernel and bias, or DEPTHWISE_CONV_2D where `multiplier` (outputs a channel) is not 0."""
    options = {
        "padding": padding_code(padding),
        "strideH": win.strides[0],
        "strideW": win.strides[1],
        "dilationHFactor": win.dilations[0],
        "dilationWFactor": win.dilations[1],
        "fusedActivationFunction": activation,
    }
    if multiplier:
        options["depthMultiplier"] = multiplier
        ctx.emit("DEPTHWISE_CONV_2D", operands, [out], "DepthwiseConv2DOptions", **options)
    else:
        ctx.emit("CONV_2D", operands, [out], "Conv2DOptions", **options)


def volume_conv(
    ctx: Context,
    y: ir.Value,
    data: Tensor,
    weights: Weights,
    bias: Callable[[Tensor], Tensor],
    win: Window,
    groups: int,
    outs: int,
    activation: int,
    quant: QParams | None = None,
) -> Tensor:
    """A convolution over [N, D, H, W, C] that is padded already, by kernels for planes.

    Without groups the depth taps stand side by side as channels of one CONV_2D; with groups every tap is a convolution
    of its own, and they are added up. LiteRT's CONV_3D is no XNNPACK kernel and takes twice as long (LiteRT 2.3.0).

    Args:
        ctx: the lowering's state.
        y: names the inner tensors.
        data: [N, D, H, W, C] float32, or int8 without groups.
        weights: makes the weights of one kernel.
        bias: makes the bias that belongs to a kernel's weights.
        win: the window; its padding is in the data.
        groups: groups of channels.
        outs: output channels.
        activation: code of the activation.
        quant: parameters of an int8 result.

    Returns:
        [N, D', H', W', outs].
    """
    batch, channels, depth = data.shape[0], data.shape[-1], win.out[0]
    planes = [_plane(ctx, y, data, win, tap) for tap in range(win.kernel[0])]
    flat = Window(data.shape[2:4], win.out[1:], win.kernel[1:], win.strides[1:], win.dilations[1:], (0, 0))
    shape = (batch * depth, *win.out[1:], outs)
    if groups == 1:
        stacked = joined(ctx, y, planes, 3)
        kernel = weights(lambda a: a.transpose(0, 3, 4, 2, 1).reshape(a.shape[0], *a.shape[3:], -1), 0)
        out = ctx.temporary(y, "planes", shape, data.dtype, quant)
        emit_conv(ctx, [stacked, kernel, bias(kernel)], out, flat, "VALID", 0, activation)
        return shaped(ctx, y, out, (batch, depth, *win.out[1:], outs))
    depthwise = groups == channels
    total: Tensor | None = None
    for tap, plane in enumerate(planes):
        kernel = weights(partial(_tap_weights, tap=tap, depthwise=depthwise), 3 if depthwise else 0)
        out = ctx.temporary(y, "planes", shape)
        operands = [plane, kernel, bias(kernel) if tap == 0 else _no_bias(ctx, outs)]
        last = tap == len(planes) - 1
        alone = activation if len(planes) == 1 else 0
        emit_conv(ctx, operands, out, flat, "VALID", outs // channels if depthwise else 0, alone)
        if total is None:
            total = out
        else:
            total = ctx.step(y, "ADD", [total, out], "AddOptions", fusedActivationFunction=activation if last else 0)
    assert total is not None
    return shaped(ctx, y, total, (batch, depth, *win.out[1:], outs))


def _tap_weights(array: Array, tap: int, depthwise: bool) -> Array:
    """[out, in, depth, H, W] -> one depth tap as CONV_2D or DEPTHWISE_CONV_2D holds it."""
    return array[:, :, tap].transpose((1, 2, 3, 0) if depthwise else (0, 2, 3, 1))


def _no_bias(ctx: Context, outs: int) -> Tensor:
    return ctx.builder.constant("const/zeros", np.zeros(outs, np.float32))


def _plane(ctx: Context, y: ir.Value, data: Tensor, win: Window, tap: int) -> Tensor:
    """[N * D', H, W, C]: what the windows see at one depth tap."""
    batch, size, *rest = data.shape
    begin, stride, count = tap * win.dilations[0], win.strides[0], win.out[0]
    if count == size:
        return shaped(ctx, y, data, (batch * size, *rest))
    rows = shaped(ctx, y, data, (batch, size, math.prod(rest)))
    found = strided(ctx, y, rows, (0, begin, 0), (1, stride, 1), (batch, count, rows.shape[2]))
    return shaped(ctx, y, found, (batch * count, *rest))
