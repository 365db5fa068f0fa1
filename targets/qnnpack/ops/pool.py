"""Pools, which keep their input's scale."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from edgeport.passes.edit import get_ints
from edgeport.quantize.groups import KernelGroup
from edgeport.targets.qnnpack.context import Context
from edgeport.targets.qnnpack.registry import runs
from edgeport.targets.window import Window, check_pool, window
from edgeport.torch_view.ops.sliding import fitted, spatial

_WINDOW = ("auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "strides")


def _window(ctx: Context, group: KernelGroup) -> Window:
    node = group.anchor
    kernel = get_ints(node, "kernel_shape") or []
    found = window(node, spatial(ctx.view, node.inputs[0]), spatial(ctx.view, node.outputs[0]), kernel)
    check_pool(node, found)
    return found


@runs("MaxPool", attributes=(*_WINDOW, "storage_order"))
def max_pool(ctx: Context, group: KernelGroup) -> Tensor:
    """The largest integer; what pads differ in is filled with the smallest there is."""
    win, x = _window(ctx, group), group.anchor.inputs[0]
    assert x is not None
    scale, zero_point = ctx.qparams(x)
    data, padding = fitted(ctx.quantized(x), win, -zero_point * scale, [k // 2 for k in win.kernel])
    if len(win.size) == 2:
        return torch.max_pool2d(data, win.kernel, win.strides, padding)
    made = torch.max_pool2d(torch.unsqueeze(data, 2), (1, *win.kernel), (1, *win.strides), (0, *padding))
    return torch.squeeze(made, 2)


@runs("AveragePool", attributes=(*_WINDOW, "count_include_pad"))
def average_pool(ctx: Context, group: KernelGroup) -> Tensor:
    """Without padding (the scheme sees to it), of whole windows."""
    win = _window(ctx, group)
    return F.avg_pool2d(ctx.quantized(group.anchor.inputs[0]), win.kernel, win.strides)
