"""Convolutions."""

from __future__ import annotations

import onnx_ir as ir

from edgeport.passes.edit import get_int
from edgeport.targets.coreai.context import Context
from edgeport.targets.coreai.program import Tensor
from edgeport.targets.coreai.registry import Refused, lowers
from edgeport.targets.coreai.views import reshape, unsigned
from edgeport.targets.coreai.window import at_least_two, cover, over_axes, window


@lowers("Conv", inputs=3, attributes=("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"))
def conv(ctx: Context, node: ir.Node) -> None:
    """Convolution over one to three axes."""
    x, weight, bias = ctx.read(node, 0), ctx.read(node, 1), ctx.optional(node, 2)
    if not x.is_float:
        raise Refused(f"convolutions of {x.dtype} are not supported")
    shape = ctx.shape(node.outputs[0])
    win = window(node, x.shape[2:], shape[2:], weight.shape[2:])
    n = len(win.size)
    covered, taps = at_least_two(cover(x, win), n), at_least_two(weight, n)
    operands = [
        covered,
        taps,
        unsigned(over_axes(win.strides)),
        unsigned(over_axes(win.dilations)),
        unsigned(get_int(node, "group", 1)),
    ]
    spatial = over_axes(win.out)
    made = x.builder.step("conv3d" if n == 3 else "conv2d", operands, (*shape[:2], *spatial), x.dtype)
    ctx.bind(node, with_bias(reshape(made, shape), bias))


def with_bias(x: Tensor, bias: Tensor | None) -> Tensor:
    """A bias added along axis 1."""
    return x if bias is None else x + reshape(bias, (1, -1 if bias.size == 0 else bias.size, *[1] * (x.rank - 2)))
