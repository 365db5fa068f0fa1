"""Convolutions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from edgeport.passes.edit import get_int, get_ints
from edgeport.quantize.groups import KernelGroup
from edgeport.targets.qnnpack.context import Context
from edgeport.targets.qnnpack.ops.limits import limited, wants_relu
from edgeport.targets.qnnpack.registry import runs
from edgeport.targets.qnnpack.weights import packed_filters
from edgeport.targets.window import per_axis, window
from edgeport.torch_view.ops.sliding import fitted, spatial

_quantized: Any = torch.ops.quantized
_CONV = {1: _quantized.conv1d, 2: _quantized.conv2d}
_CONV_RELU = {1: _quantized.conv1d_relu, 2: _quantized.conv2d_relu}
_TRANSPOSED = {1: _quantized.conv_transpose1d, 2: _quantized.conv_transpose2d}


@runs("Conv", inputs=3, attributes=("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"))
def conv(ctx: Context, group: KernelGroup) -> Tensor:
    """Over one or two axes; pads that differ on two sides are added beforehand, with the zero point."""
    node, view = group.anchor, ctx.view
    win = window(node, *(spatial(view, v) for v in (node.inputs[0], node.outputs[0], node.inputs[1])))
    data, padding = fitted(ctx.quantized(node.inputs[0]), win, 0.0)
    geometry = (list(win.strides), list(padding), list(win.dilations))
    axes = len(win.size)
    packed = packed_filters(ctx, group, geometry, get_int(node, "group", 1), axes)
    form = (_CONV_RELU if wants_relu(group) else _CONV)[axes]
    return limited(ctx, group, form(data, packed, *ctx.qparams(group.output)))


@runs(
    "ConvTranspose",
    inputs=3,
    attributes=("auto_pad", "dilations", "group", "kernel_shape", "output_padding", "output_shape", "pads", "strides"),
)
def conv_transpose(ctx: Context, group: KernelGroup) -> Tensor:
    """Over one or two axes, in one group, with the same pads on both sides (the scheme sees to it)."""
    node = group.anchor
    axes = len(spatial(ctx.view, node.inputs[0]))
    padding = (get_ints(node, "pads") or [0] * 2 * axes)[:axes]
    extra = get_ints(node, "output_padding") or [0] * axes
    strides, dilations = (list(per_axis(node, name, axes)) for name in ("strides", "dilations"))
    packed = packed_filters(ctx, group, (strides, padding, extra, dilations), 1, axes)
    made = _TRANSPOSED[axes](ctx.quantized(node.inputs[0]), packed, *ctx.qparams(group.output))
    return limited(ctx, group, made)
