"""Pools."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
import torch
import torch.nn.functional as F
from torch import Tensor

from edgeport.passes.edit import get_int, get_ints
from edgeport.targets.window import Window, check_pool, declared_after, window
from edgeport.torch_view.context import Context
from edgeport.torch_view.ops.elementwise import floats
from edgeport.torch_view.ops.sliding import fitted, padded, spatial
from edgeport.torch_view.registry import Refused, lowers

_ATTRIBUTES = ("auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "strides")
_LARGEST = {1: torch.max_pool1d, 2: torch.max_pool2d, 3: torch.max_pool3d}
_MEAN = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_SUM = {1: torch.conv1d, 2: torch.conv2d, 3: torch.conv3d}


def _window(ctx: Context, node: ir.Node) -> Window:
    kernel = get_ints(node, "kernel_shape")
    if kernel is None:
        raise Refused("kernel_shape is missing")
    win = window(node, spatial(ctx, node.inputs[0]), spatial(ctx, node.outputs[0]), kernel)
    check_pool(node, win)
    return win


@lowers("MaxPool", outputs=2, attributes=(*_ATTRIBUTES, "storage_order"))
def max_pool(ctx: Context, node: ir.Node) -> None:
    """The largest, and where it stands where that is asked for."""
    win, x, dtype = _window(ctx, node), ctx.read(node, 0), np.dtype(ctx.input_dtype(node))
    fill = -math.inf if dtype.kind == "f" else int(np.iinfo(dtype).min)
    data, padding = fitted(x, win, fill, [e // 2 for e in win.extent])
    if ctx.wanted(node, 1):
        ctx.bind(node, *_with_places(ctx, node, win, data, padding, own=data is x))
    elif len(win.size) == 1 and dtype.kind != "f":  # torch has integers over two or three axes only
        parameters = (1, *win.kernel), (1, *win.strides), (0, *padding), (1, *win.dilations)
        ctx.bind(node, torch.squeeze(torch.max_pool2d(torch.unsqueeze(data, 2), *parameters), 2))
    else:
        ctx.bind(node, _LARGEST[len(win.size)](data, win.kernel, win.strides, padding, win.dilations))


def _with_places(
    ctx: Context, node: ir.Node, win: Window, data: Tensor, padding: Sequence[int], own: bool
) -> tuple[Tensor, Tensor]:
    """The largest, and its place in the whole input; `storage_order` 1 counts the spatial ones column by column.

    Args:
        ctx: the working state.
        node: the node.
        win: its window.
        data: what the window slides over.
        padding: what torch adds to it.
        own: whether that is the node's data, which has not been padded beforehand.
    """
    n, out = len(win.size), ctx.shape(node.outputs[0])
    if n == 1:  # torch tells the places of pools over two or three axes only
        found = torch.ops.aten.max_pool2d_with_indices(
            torch.unsqueeze(data, 2), (1, *win.kernel), (1, *win.strides), (0, *padding), (1, *win.dilations)
        )
        largest, place = torch.squeeze(found[0], 2), torch.squeeze(found[1], 2)
    else:
        form = torch.ops.aten.max_pool2d_with_indices if n == 2 else torch.ops.aten.max_pool3d_with_indices
        found = form(data, win.kernel, win.strides, padding, win.dilations)
        largest, place = found[0], found[1]
    if not own or get_int(node, "storage_order", 0):
        shift = (0,) * n if own else win.before
        grown = (
            win.size if own else [s + b + max(a, 0) for s, b, a in zip(win.size, win.before, win.after, strict=True)]
        )
        place = _renumbered(place, grown, shift, win.size, bool(get_int(node, "storage_order", 0)))
    planes = np.arange(math.prod(out[:2]), dtype=np.int64).reshape(*out[:2], *[1] * n) * math.prod(win.size)
    return largest, torch.add(place, ctx.constant(planes, "planes"))


def _renumbered(
    place: Tensor, grown: Sequence[int], shift: Sequence[int], size: Sequence[int], by_column: bool
) -> Tensor:
    """Places in a padded plane as places in the plane itself."""
    total: Tensor | None = None
    for i in range(len(size)):
        along = torch.div(place, math.prod(grown[i + 1 :]), rounding_mode="floor")
        along = torch.sub(torch.remainder(along, grown[i]), shift[i])
        term = torch.mul(along, math.prod(size[:i] if by_column else size[i + 1 :]))
        total = term if total is None else torch.add(total, term)
    assert total is not None
    return total


@lowers("AveragePool", attributes=(*_ATTRIBUTES, "count_include_pad"))
def average_pool(ctx: Context, node: ir.Node) -> None:
    """torch's own where pads are alike on both sides; else sums divided by how many elements each window has."""
    floats(ctx, node)
    win, x, inclusive = _window(ctx, node), ctx.read(node, 0), bool(get_int(node, "count_include_pad", 0))
    n, declared = len(win.size), declared_after(node, win)
    data, padding = fitted(x, win, 0.0, [k // 2 for k in win.kernel])
    plain = data is x and all(d == 1 for d in win.dilations)
    if plain and (not any(padding) or not inclusive or declared == win.before):
        ctx.bind(node, _MEAN[n](data, win.kernel, win.strides, padding, False, inclusive))
        return
    counts = win.counted(declared if inclusive else None)
    if (counts == 0).any():
        raise Refused("a window lies in the padding altogether")
    shape, dtype = ctx.shape(node.outputs[0]), np.dtype(ctx.input_dtype(node))
    around = padded(x, win, 0.0)
    grown = [s + b + max(a, 0) for s, b, a in zip(win.size, win.before, win.after, strict=True)]
    planes = torch.reshape(around, (math.prod(shape[:2]), 1, *grown))
    ones = ctx.constant(np.ones((1, 1, *win.kernel), dtype), "ones")
    sums = _SUM[n](planes, ones, None, win.strides, (0,) * n, win.dilations)
    ctx.bind(node, torch.mul(torch.reshape(sums, shape), ctx.constant((1 / counts).astype(dtype), "shares")))
