"""Max pools over three axes, which the runtime has over two."""

from __future__ import annotations

import math

import onnx_ir as ir
import torch

from edgeport.passes.edit import get_ints
from edgeport.targets.executorch.registry import VIEW, Refused, lowers
from edgeport.targets.window import check_pool, window
from edgeport.torch_view.context import Context
from edgeport.torch_view.ops.sliding import fitted, spatial

_ATTRIBUTES = ("auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "strides", "storage_order")


@lowers("MaxPool", outputs=2, attributes=_ATTRIBUTES)
def max_pool(ctx: Context, node: ir.Node) -> None:
    """The largest over the last two axes, then over the first; its place is not asked of three."""
    if ctx.rank(node.inputs[0]) != 5 or ctx.input_dtype(node) != "float32" or ctx.wanted(node, 1):
        VIEW["MaxPool"].handler(ctx, node)
        return
    kernel = get_ints(node, "kernel_shape")
    if kernel is None:
        raise Refused("kernel_shape is missing")
    win = window(node, spatial(ctx, node.inputs[0]), spatial(ctx, node.outputs[0]), kernel)
    check_pool(node, win)
    x, y = ctx.read(node, 0), node.outputs[0]
    data, padding = fitted(x, win, -math.inf, [e // 2 for e in win.extent])
    batch, channels = ctx.shape(y)[:2]
    sizes = zip(win.size, win.before, win.after, strict=True)
    depth, height, width = win.size if data is x else tuple(s + b + max(a, 0) for s, b, a in sizes)
    planes = torch.reshape(data, (batch * channels, depth, height, width))
    flat = torch.max_pool2d(planes, win.kernel[1:], win.strides[1:], padding[1:], win.dilations[1:])
    along = torch.reshape(flat, (batch * channels, 1, depth, win.out[1] * win.out[2]))
    parameters = (win.kernel[0], 1), (win.strides[0], 1), (padding[0], 0), (win.dilations[0], 1)
    ctx.bind(node, torch.reshape(torch.max_pool2d(along, *parameters), ctx.shape(y)))
