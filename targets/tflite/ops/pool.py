"""Pooling: channels last in, channels last out, over one to three spatial axes.

Kernels pool two axes, without dilation. Further axes and dilated ones are pooled one at a time (maxima and means are
separable), each seen as the height of an image whose rows are the elements behind it:

    depth       [N * D, H, W, C] -> pool (kh, kw) -> [N, D, H * W, C] -> pool (kd, 1)
    dilation d  [.., L, M, C] -> [.., L / d, d * M, C] -> pool (k, 1), stride 1 -> [.., L, M, C]
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgeport.targets.tflite.attributes import int_attr, ints_attr
from edgeport.targets.tflite.builder import Tensor
from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.fusion import clip_bounds
from edgeport.targets.tflite.layout import Layout, channels_last
from edgeport.targets.tflite.layout_choice import full_layout
from edgeport.targets.tflite.ops.conv import as_2d, image_layout
from edgeport.targets.tflite.ops.elementwise import cast
from edgeport.targets.tflite.ops.pool_indices import max_pool_with_indices
from edgeport.targets.tflite.pieces import joined, shaped, sliced
from edgeport.targets.tflite.registry import Refused, lowers
from edgeport.targets.tflite.strides import strided
from edgeport.targets.tflite.window import pad_spatial, padding, padding_code, uncropped
from edgeport.targets.window import Window, check_pool, declared_after

_REPEATED = 3
"""Elements of padding on a side up to which the outermost element is repeated."""
_ATTRIBUTES = ("auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "strides")


@lowers("MaxPool", attributes=(*_ATTRIBUTES, "storage_order"), outputs=2, int8=True)
def max_pool(ctx: Context, node: ir.Node) -> None:
    """MAX_POOL_2D, padded explicitly where neither SAME nor VALID is the window; bytes are pooled as floats."""
    x, win, layout = _window(ctx, node)
    y = node.outputs[0]
    if len(node.outputs) > 1 and (node.outputs[1].uses() or node.outputs[1].is_graph_output()):
        data = ctx.read_float(x, layout)
        max_pool_with_indices(ctx, node, pad_spatial(ctx, y, data, win, _fill(x, data)), win, layout)
        return
    data = ctx.read(node, x, layout)
    kind = data.dtype
    plain_bytes = data.quant is None and kind in ("int8", "uint8")
    if plain_bytes:
        data = cast(ctx, y, data, "float32")
    mode = padding(win)
    if not _planar(win):
        out = _pooled(ctx, y, "MAX_POOL_2D", _padded_for_max(ctx, y, x, data, win), win)
    else:
        if mode is None:
            data, mode = _padded_for_max(ctx, y, x, data, win), "VALID"
        shape = (data.shape[0], *win.out, data.shape[3])
        out = ctx.temporary(y, "max", shape, "float32") if plain_bytes else ctx.carrier(y, layout, data)
        _emit(ctx, "MAX_POOL_2D", data, out, win, padding_code(mode))
    ctx.bind(node, y, cast(ctx, y, out, kind) if plain_bytes else out, layout)


@lowers("AveragePool", attributes=(*_ATTRIBUTES, "count_include_pad"), int8=True)
def average_pool(ctx: Context, node: ir.Node) -> None:
    """AVERAGE_POOL_2D, whose SAME does not count padding.

    Any other padding is written out; where the number of counted elements then differs from the window's, the
    averages are corrected by a constant factor for each position.
    """
    x, win, layout = _window(ctx, node)
    data, y = ctx.read(node, x, layout), node.outputs[0]
    include = bool(int_attr(node, "count_include_pad", 0))
    mode = padding(win) if _planar(win) else None
    if mode == "VALID" or (mode == "SAME" and not include):
        _emit(ctx, "AVERAGE_POOL_2D", data, ctx.output(node, layout), win, padding_code(mode))
        return
    if data.quant is not None:
        raise Refused("averages over padding or further axes have no integer kernel", "keep it in float")
    padded = pad_spatial(ctx, y, data, win)
    factor = math.prod(win.kernel) / win.counted(declared_after(node, win) if include else None)
    even = bool(np.all(factor == 1))
    if _planar(win):
        shape = (data.shape[0], *win.out, data.shape[-1])
        mean = ctx.output(node, layout) if even else ctx.temporary(y, "sum", shape)
        _emit(ctx, "AVERAGE_POOL_2D", padded, mean, win, padding_code("VALID"))
    else:
        mean = _pooled(ctx, y, "AVERAGE_POOL_2D", padded, win)
        if even:
            ctx.bind(node, y, mean, layout)
    if not even:
        scale = ctx.builder.constant(f"{y.name}/count", factor.astype(np.float32)[None, ..., None])
        ctx.emit("MUL", [mean, scale], [ctx.output(node, layout)], "MulOptions")


@lowers("GlobalAveragePool", int8=True)
def global_average_pool(ctx: Context, node: ir.Node) -> None:
    """MEAN over the spatial axes, in whatever order they are stored."""
    _global(ctx, node, "MEAN")


@lowers("GlobalMaxPool", int8=True)
def global_max_pool(ctx: Context, node: ir.Node) -> None:
    """REDUCE_MAX over the spatial axes."""
    _global(ctx, node, "REDUCE_MAX")


def _global(ctx: Context, node: ir.Node, code: str) -> None:
    x = node.inputs[0]
    assert x is not None
    layout = full_layout(ctx, x)
    axes = [position for position, axis in enumerate(layout) if axis >= 2]
    data = ctx.read(node, x, layout)
    ctx.emit(code, [data, ctx.ints("axes", axes)], [ctx.output(node, layout)], "ReducerOptions", keepDims=True)


def _window(ctx: Context, node: ir.Node) -> tuple[ir.Value, Window, Layout]:
    x, y = node.inputs[0], node.outputs[0]
    assert x is not None
    rank = ctx.rank(x)
    kernel = ints_attr(node, "kernel_shape")
    if kernel is None:
        raise Refused("kernel_shape is missing")
    win = uncropped(node, ctx.shape(x)[2:], ctx.shape(y)[2:], kernel)
    check_pool(node, win)
    return (x, win, channels_last(5)) if rank == 5 else (x, as_2d(win), image_layout(rank))


def _planar(win: Window) -> bool:
    """Whether one kernel pools it."""
    return len(win.size) == 2 and all(d == 1 for d in win.dilations)


def _pooled(ctx: Context, y: ir.Value, code: str, data: Tensor, win: Window) -> Tensor:
    """The windows over explicitly padded data [N, ..., C], one or two axes at a time."""
    axes = list(range(len(win.size)))
    if all(win.dilations[i] == 1 for i in axes[-2:]):
        planes = shaped(ctx, y, data, (math.prod(data.shape[:-3]), *data.shape[-3:]))
        tail = slice(len(axes) - 2, None)
        out = _pooled_plane(ctx, y, code, planes, win.kernel[tail], win.strides[tail])
        data = shaped(ctx, y, out, (*data.shape[:-3], *out.shape[1:]))
        axes = axes[:-2]
    for i in axes:
        if win.kernel[i] > 1 or win.strides[i] > 1:
            data = _pooled_axis(ctx, y, code, data, win, i)
    return data


def _pooled_axis(ctx: Context, y: ir.Value, code: str, data: Tensor, win: Window, axis: int) -> Tensor:
    position, dilation, stride = axis + 1, win.dilations[axis], win.strides[axis]
    before, behind = data.shape[:position], data.shape[position + 1 :]
    length, rows = data.shape[position], math.prod(behind[:-1])
    if dilation == 1:
        view = shaped(ctx, y, data, (math.prod(before), length, rows, behind[-1]))
        out = _pooled_plane(ctx, y, code, view, (win.kernel[axis], 1), (stride, 1))
        return shaped(ctx, y, out, (*before, win.out[axis], *behind))
    whole = -(-length // dilation) * dilation
    if whole > length:  # what is added is read by no window that is kept
        pads = [(0, whole - length if i == position else 0) for i in range(len(data.shape))]
        data = _padded(ctx, y, data, pads)
    view = shaped(ctx, y, data, (math.prod(before), whole // dilation, dilation * rows, behind[-1]))
    out = _pooled_plane(ctx, y, code, view, (win.kernel[axis], 1), (1, 1))
    flat = shaped(ctx, y, out, (math.prod(before), out.shape[1] * dilation, math.prod(behind)))
    count = win.out[axis]
    kept = strided(ctx, y, flat, (0, 0, 0), (1, stride, 1), (flat.shape[0], count, flat.shape[2]))
    return shaped(ctx, y, kept, (*before, count, *behind))


def _pooled_plane(
    ctx: Context, y: ir.Value, code: str, data: Tensor, kernel: Sequence[int], strides: Sequence[int]
) -> Tensor:
    """VALID windows over [N, H, W, C]."""
    sizes = [(n - k) // s + 1 for n, k, s in zip(data.shape[1:3], kernel, strides, strict=True)]
    out = ctx.temporary(y, "pooled", (data.shape[0], *sizes, data.shape[3]), data.dtype, data.quant)
    win = Window(data.shape[1:3], tuple(sizes), tuple(kernel), tuple(strides), (1, 1), (0, 0))
    _emit(ctx, code, data, out, win, padding_code("VALID"))
    return out


def _padded(ctx: Context, y: ir.Value, data: Tensor, pads: Sequence[tuple[int, int]]) -> Tensor:
    shape = [d + sum(p) for d, p in zip(data.shape, pads, strict=True)]
    out = ctx.temporary(y, "pad", shape, data.dtype, data.quant)
    ctx.emit("PAD", [data, ctx.builder.constant("const/pads", np.asarray(pads, np.int32))], [out], "PadOptions")
    return out


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


def _padded_for_max(ctx: Context, y: ir.Value, x: ir.Value, data: Tensor, win: Window) -> Tensor:
    """Explicit padding that never wins a maximum.

    A window that reaches beyond the data by less than its own length holds the outermost element, so repeating that
    changes nothing. SLICE and CONCATENATION run on XNNPACK, in integers more than twice as fast as PADV2, which does
    not (LiteRT 2.3.0).
    """
    pads = [*zip(win.before, (max(a, 0) for a in win.after), strict=True)]
    held = all(max(pair) < k and d == 1 for pair, k, d in zip(pads, win.kernel, win.dilations, strict=True))
    if not held or max(map(max, pads)) > _REPEATED:
        return pad_spatial(ctx, y, data, win, _fill(x, data))
    for position, (before, after) in enumerate(pads, 1):
        whole, end = data, data.shape[position] - 1
        first = [sliced(ctx, y, whole, position, 0, 1)] * before if before else []
        last = [sliced(ctx, y, whole, position, end, 1)] * after if after else []
        data = joined(ctx, y, [*first, whole, *last], position)
    return data


def _fill(x: ir.Value, data: Tensor) -> float:
    """What padding never wins a maximum: 0 where no element is negative (PAD is faster), else the smallest number."""
    producer = x.producer()
    if producer is not None and producer.op_type in ("Relu", "Sigmoid", "Softmax"):
        return 0.0
    if producer is not None and producer.op_type == "Clip":
        bounds = clip_bounds(producer)
        if bounds is not None and bounds[0] >= 0:
            return 0.0
    if data.quant is not None:
        smallest = float(data.quant.dequantize(np.array(data.quant.limits[0])))
        return 0.0 if smallest >= 0 else smallest
    return float(np.finfo(np.float32).min)
