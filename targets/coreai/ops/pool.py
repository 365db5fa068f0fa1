"""Pools."""

from __future__ import annotations

import itertools
import math

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_int, get_ints
from edgeport.targets.coreai.context import Context
from edgeport.targets.coreai.elements import where
from edgeport.targets.coreai.ops.elementwise import floats
from edgeport.targets.coreai.program import Tensor
from edgeport.targets.coreai.registry import Refused, lowers
from edgeport.targets.coreai.views import box, reshape, unsigned
from edgeport.targets.coreai.window import at_least_two, cover, over_axes, up_to_three
from edgeport.targets.window import Window, check_pool, declared_after, places

_ATTRIBUTES = ("auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "strides")


def _window(ctx: Context, node: ir.Node, x: Tensor) -> Window:
    kernel = get_ints(node, "kernel_shape")
    if kernel is None:
        raise Refused("kernel_shape is missing")
    win = up_to_three(node, x.shape[2:], ctx.shape(node.outputs[0])[2:], kernel)
    check_pool(node, win)
    return win


def _pooled(kind: str, x: Tensor, win: Window, fill: float | int) -> Tensor:
    n = len(win.size)
    parameters = [unsigned(over_axes(v)) for v in (win.kernel, win.strides, win.dilations)]
    if kind == "maxpool":
        parameters.append(np.asarray(False))
    shape = (*x.shape[:2], *over_axes(win.out))
    covered = at_least_two(cover(x, win, fill), n)
    made = x.builder.step(f"{kind}{max(n, 2)}d", [covered, *parameters], shape, x.dtype)
    return reshape(made, (*x.shape[:2], *win.out))


@lowers("MaxPool", outputs=2, attributes=(*_ATTRIBUTES, "storage_order"))
def max_pool(ctx: Context, node: ir.Node) -> None:
    """The largest, and where it stands where that is asked for."""
    x = ctx.read(node, 0)
    win = _window(ctx, node, x)
    fill = -math.inf if x.is_float else int(np.iinfo(x.dtype).min)
    wanted = len(node.outputs) > 1 and bool(node.outputs[1].uses() or node.outputs[1].is_graph_output())
    ctx.bind(node, _pooled("maxpool", x, win, fill), _first_places(ctx, node, x, win, fill) if wanted else None)


def _first_places(ctx: Context, node: ir.Node, x: Tensor, win: Window, fill: float | int) -> Tensor:
    """Place of each maximum in the whole input; `storage_order` 1 counts the spatial ones column by column."""
    covered, by_column = cover(x, win, fill), bool(get_int(node, "storage_order", 0))
    planes = np.arange(math.prod(x.shape[:2]), dtype=np.int64).reshape(*x.shape[:2], *[1] * len(win.size))
    planes = planes * math.prod(win.size)
    best = place = None
    for offsets in itertools.product(*(range(k) for k in win.kernel)):
        starts = [o * d for o, d in zip(offsets, win.dilations, strict=True)]
        cuts = {
            2 + i: (start, start + (out - 1) * step + 1, step)
            for i, (start, out, step) in enumerate(zip(starts, win.out, win.strides, strict=True))
        }
        tap, here = box(covered, cuts), ctx.builder.constant(planes + places(win, offsets, by_column))
        if best is None or place is None:
            best, place = tap, here
            continue
        larger = tap > best
        best, place = where(larger, tap, best), where(larger, here, place)
    assert place is not None
    return place


@lowers("AveragePool", attributes=(*_ATTRIBUTES, "count_include_pad"))
def average_pool(ctx: Context, node: ir.Node) -> None:
    """Sums divided by how many elements each window has."""
    x = ctx.read(node, 0)
    floats(node, x)
    win = _window(ctx, node, x)
    counts = win.counted(declared_after(node, win) if get_int(node, "count_include_pad", 0) else None)
    if (counts == 0).any():
        raise Refused("a window lies in the padding altogether")
    ctx.bind(node, _pooled("sumpool", x, win, 0) * (1 / counts).astype(x.dtype)[None, None])
