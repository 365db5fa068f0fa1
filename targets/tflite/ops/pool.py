"""Pooling: NHWC in, NHWC out."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from edgeport.sample import Array
from edgeport.targets.tflite.attributes import int_attr, ints_attr, string_attr
from edgeport.targets.tflite.builder import Tensor
from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.fusion import clip_bounds
from edgeport.targets.tflite.layout import Layout
from edgeport.targets.tflite.ops.conv import as_2d, image_layout
from edgeport.targets.tflite.registry import Refused, lowers
from edgeport.targets.tflite.window import Window, pad_spatial, padding_code, window

_ATTRIBUTES = ("auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "strides")


@lowers("MaxPool", attributes=(*_ATTRIBUTES, "storage_order"), int8=True)
def max_pool(ctx: Context, node: ir.Node) -> None:
    """MAX_POOL_2D, padded explicitly where neither SAME nor VALID is the window (`storage_order` is for Indices)."""
    x, win, layout = _window(ctx, node)
    data = ctx.read(node, x, layout)
    y = node.outputs[0]
    padding = win.padding()
    if padding is None:
        data, padding = pad_spatial(ctx, y, data, win, _fill(x, data)), "VALID"
    out = ctx.carrier(y, layout, data)
    _emit(ctx, "MAX_POOL_2D", data, out, win, padding_code(padding))
    ctx.bind(node, y, out, layout)


@lowers("AveragePool", attributes=(*_ATTRIBUTES, "count_include_pad"))
def average_pool(ctx: Context, node: ir.Node) -> None:
    """AVERAGE_POOL_2D, whose SAME does not count padding.

    Any other padding is written out; where the number of counted elements then differs from the window's, the
    averages are corrected by a constant factor for each position.
    """
    x, win, layout = _window(ctx, node)
    data, y = ctx.read(node, x, layout), node.outputs[0]
    include = bool(int_attr(node, "count_include_pad", 0))
    padding = win.padding()
    if padding == "VALID" or (padding == "SAME" and not include):
        _emit(ctx, "AVERAGE_POOL_2D", data, ctx.output(node, layout), win, padding_code(padding))
        return
    padded = pad_spatial(ctx, y, data, win)
    factor = math.prod(win.kernel) / _counted(win, _padded_end(node, win) if include else None)
    even = bool(np.all(factor == 1))
    out = ctx.output(node, layout)
    target = out if even else ctx.temporary(y, "sum", out.shape)
    _emit(ctx, "AVERAGE_POOL_2D", padded, target, win, padding_code("VALID"))
    if not even:
        scale = ctx.builder.constant(f"{y.name}/count", factor.astype(np.float32)[None, :, :, None])
        ctx.emit("MUL", [target, scale], [out], "MulOptions")


@lowers("GlobalAveragePool", int8=True)
def global_average_pool(ctx: Context, node: ir.Node) -> None:
    """MEAN over the spatial axes, in whatever order they are stored."""
    _global(ctx, node, "MEAN")


@lowers("GlobalMaxPool")
def global_max_pool(ctx: Context, node: ir.Node) -> None:
    """REDUCE_MAX over the spatial axes."""
    _global(ctx, node, "REDUCE_MAX")


def _global(ctx: Context, node: ir.Node, code: str) -> None:
    x = node.inputs[0]
    assert x is not None
    layout = ctx.full_layout(x)
    axes = [position for position, axis in enumerate(layout) if axis >= 2]
    data = ctx.read(node, x, layout)
    ctx.emit(code, [data, ctx.ints("axes", axes)], [ctx.output(node, layout)], "ReducerOptions", keepDims=True)


def _window(ctx: Context, node: ir.Node) -> tuple[ir.Value, Window, Layout]:
    x, y = node.inputs[0], node.outputs[0]
    assert x is not None
    layout = image_layout(ctx.rank(x))
    kernel = ints_attr(node, "kernel_shape")
    if kernel is None:
        raise Refused("kernel_shape is missing")
    win = as_2d(window(node, ctx.shape(x)[2:], ctx.shape(y)[2:], kernel))
    if any(d != 1 for d in win.dilations):
        raise Refused("dilated pooling is not supported")
    return x, win, layout


def _emit(ctx: Context, code: str, data: Tensor, out: Tensor, win: Window, padding: int) -> None:
    ctx.emit(
        code,
        [data],
        [out],
        "Pool2DOptions",
        padding=padding,
        strideH=win.strides[0],
        strideW=win.strides[1],
        filterHeight=win.kernel[0],
        filterWidth=win.kernel[1],
    )


def _fill(x: ir.Value, data: Tensor) -> float:
    """What padding never wins a maximum: 0 where no element is negative (PAD is faster), else the smallest number."""
    producer = x.producer()
    if data.quant is not None:
        smallest = float(data.quant.dequantize(np.array(data.quant.limits[0])))
        return 0.0 if smallest >= 0 else smallest
    if producer is not None and producer.op_type in ("Relu", "Sigmoid", "Softmax"):
        return 0.0
    if producer is not None and producer.op_type == "Clip":
        bounds = clip_bounds(producer)
        if bounds is not None and bounds[0] >= 0:
            return 0.0
    return float(np.finfo(np.float32).min)


def _padded_end(node: ir.Node, win: Window) -> tuple[int, ...]:
    """Where counted padding ends after the data: what ceil_mode adds beyond the pads is never counted."""
    if string_attr(node, "auto_pad", "NOTSET").startswith("SAME"):
        return win.after
    pads = ints_attr(node, "pads") or (0,)
    after = pads[len(pads) // 2 :]
    return (0,) * (2 - len(after)) + tuple(after)


def _counted(win: Window, counted_after: tuple[int, ...] | None) -> Array:
    """[out_h, out_w]: how many elements each window counts (`counted_after` None: only data)."""
    counts = []
    for i in range(2):
        low = -win.before[i] if counted_after is not None else 0
        high = win.size[i] + (counted_after[i] if counted_after is not None else 0)
        starts = np.arange(win.out[i]) * win.strides[i] - win.before[i]
        counts.append(np.minimum(starts + win.kernel[i], high) - np.maximum(starts, low))
    return np.asarray(counts[0][:, None] * counts[1][None, :], np.float64)
