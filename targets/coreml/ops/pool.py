"""Pools over one to three spatial axes.

MIL's pools have no dilation, and their ceil_mode takes symmetric padding only: windows are written as explicit padding
after the data instead. Maxima and means are separable, so that dilated windows run one axis at a time:

    x --> pad --> slice a tap, slice a tap, ... --> maximum / add --> next axis
"""

from __future__ import annotations

import functools
import math

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_int, get_ints
from edgeport.targets.coreml.context import Context
from edgeport.targets.coreml.mil import Var
from edgeport.targets.coreml.ops.pool_indices import max_pool_with_indices
from edgeport.targets.coreml.registry import Refused, lowers
from edgeport.targets.coreml.taps import padded, strided
from edgeport.targets.coreml.window import facts, uncropped
from edgeport.targets.window import Window, check_pool, declared_after

_ATTRIBUTES = ("auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "strides")


@lowers("MaxPool", attributes=(*_ATTRIBUTES, "storage_order"), outputs=2)
def max_pool(ctx: Context, node: ir.Node) -> None:
    """`max_pool`, whose padding never wins; bytes are pooled as floats."""
    x, y = node.inputs[0], node.outputs[0]
    assert x is not None
    win = _window(ctx, node, x)
    data = ctx.cast(ctx.read(x), ctx.width)
    if len(node.outputs) > 1 and (node.outputs[1].uses() or node.outputs[1].is_graph_output()):
        lowest = float(np.finfo(ctx.width).min)
        max_pool_with_indices(ctx, node, padded(ctx, data, win, lowest), win)
        return
    if all(d == 1 for d in win.dilations):
        out = ctx.emit("max_pool", x=data, kernel_sizes=np.asarray(win.kernel, np.int32), **facts(win))
    else:
        out = _by_taps(ctx, "maximum", padded(ctx, data, win, float(np.finfo(ctx.width).min)), win)
    ctx.bind(y, ctx.cast(out, ctx.mil_dtype(y)))


@lowers("AveragePool", attributes=(*_ATTRIBUTES, "count_include_pad"))
def average_pool(ctx: Context, node: ir.Node) -> None:
    """`avg_pool`, corrected by a constant factor where it counts other elements than ONNX does."""
    x, y = node.inputs[0], node.outputs[0]
    assert x is not None
    win = _window(ctx, node, x)
    include = bool(get_int(node, "count_include_pad", 0))
    data, taps = ctx.read(x), math.prod(win.kernel)
    counted = win.counted(declared_after(node, win) if include else None)
    if all(d == 1 for d in win.dilations):
        exclude = not include and bool((counted != taps).any())
        out = ctx.emit(
            "avg_pool",
            x=data,
            kernel_sizes=np.asarray(win.kernel, np.int32),
            exclude_padding_from_average=np.bool_(exclude),
            **facts(win),
        )
        factor = np.ones(()) if exclude else taps / counted
    else:
        out = _by_taps(ctx, "add", padded(ctx, data, win, 0.0), win)
        factor = 1 / counted
    if (factor != 1).any():
        factor = np.full(1, factor.flat[0]) if np.ptp(factor) == 0 else factor[None, None]
        out = ctx.emit("mul", x=out, y=ctx.floating(factor))
    ctx.bind(y, out)


@lowers("GlobalAveragePool")
def global_average_pool(ctx: Context, node: ir.Node) -> None:
    """`reduce_mean` over the spatial axes."""
    _global(ctx, node, "reduce_mean")


@lowers("GlobalMaxPool")
def global_max_pool(ctx: Context, node: ir.Node) -> None:
    """`reduce_max` over the spatial axes."""
    _global(ctx, node, "reduce_max")


def _global(ctx: Context, node: ir.Node, kind: str) -> None:
    x = node.inputs[0]
    assert x is not None
    axes = np.arange(2, ctx.rank(x), dtype=np.int32)
    data = ctx.read(x)
    ctx.bind(node.outputs[0], ctx.emit(kind, x=data, axes=axes, keep_dims=True) if axes.size else data)


def _window(ctx: Context, node: ir.Node, x: ir.Value) -> Window:
    kernel, size = get_ints(node, "kernel_shape"), ctx.shape(x)[2:]
    if kernel is None:
        raise Refused("kernel_shape is missing")
    if len(size) not in (1, 2, 3):
        raise Refused(f"{len(size)} spatial dimensions are not supported; 1 to 3 are", code="unsupported-shape")
    win = uncropped(node, size, ctx.shape(node.outputs[0])[2:], kernel)
    check_pool(node, win)
    if not get_int(node, "count_include_pad", 0) and not win.counted().all():
        raise Refused("windows that lie on padding alone are not supported", "give smaller pads")
    return win


def _by_taps(ctx: Context, kind: str, data: Var, win: Window) -> Var:
    """Windows over explicitly padded data: taps of one axis combined, then those of the next."""
    for axis, taps in enumerate(win.kernel):
        step = win.dilations[axis]
        parts = [strided(ctx, data, axis + 2, tap * step, win.strides[axis], win.out[axis]) for tap in range(taps)]
        data = functools.reduce(lambda a, b: ctx.emit(kind, x=a, y=b), parts)
    return data
