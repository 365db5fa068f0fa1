"""Convolutions: NHWC in, NHWC out, bias and activation fused."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from edgeport.quantize.plan import bias_qparams
from edgeport.sample import Array
from edgeport.targets.tflite.attributes import int_attr
from edgeport.targets.tflite.builder import Tensor
from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.convolution import emit_conv, volume_conv
from edgeport.targets.tflite.layout import ADDED, Layout, channels_last, is_full
from edgeport.targets.tflite.registry import Refused, lowers
from edgeport.targets.tflite.row_blocks import blocks_of_rows, outputs_together, rows_of_blocks, spread_weights
from edgeport.targets.tflite.weights import float_weights, planned_weights
from edgeport.targets.tflite.window import pad_spatial, padding, pointwise, uncropped
from edgeport.targets.window import Window

_LEAST_REUSE, _LEAST_SUM = 64, 32
_CONV_ATTRIBUTES = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")
NHWC: Layout = (0, 2, 3, 1)
_N1LC: Layout = (0, ADDED, 2, 1)


def image_layout(rank: int) -> Layout:
    """The 4-D layout in which kernels see images (rank 4) and sequences (rank 3)."""
    if rank == 4:
        return NHWC
    if rank == 3:
        return _N1LC
    raise Refused(f"{rank - 2} spatial dimensions are not supported here; 1 and 2 are")


def as_2d(win: Window) -> Window:
    """A 1-D window as a 2-D one of height 1."""
    if len(win.size) == 2:
        return win
    height, zero = (1,), (0,)
    return Window(
        size=height + win.size,
        out=height + win.out,
        kernel=height + win.kernel,
        strides=height + win.strides,
        dilations=height + win.dilations,
        before=zero + win.before,
    )


@lowers("Conv", attributes=_CONV_ATTRIBUTES, inputs=3, int8=True)
def conv(ctx: Context, node: ir.Node) -> None:
    """CONV_2D, or DEPTHWISE_CONV_2D where every group has one input channel; volumes plane by plane."""
    x, w = node.inputs[0], node.inputs[1]
    assert x is not None
    assert w is not None
    filters, computed = ctx.shape(w), ctx.constant(w) is None
    if computed and (len(filters) != 4 or ctx.int8(node)):
        raise Refused("weights computed at run time are supported for images in float only", "make them a constant")
    groups, channels, outs = int_attr(node, "group", 1), ctx.shape(x)[1], filters[0]
    y = ctx.result(node)
    if ctx.rank(x) == 5:
        conv_3d(ctx, node, uncropped(node, ctx.shape(x)[2:], ctx.shape(y)[2:], filters[2:]))
        return
    layout = image_layout(ctx.rank(x))
    win = as_2d(uncropped(node, ctx.shape(x)[2:], ctx.shape(y)[2:], filters[2:]))
    if groups == 1 and pointwise(win):
        layout = next((have for have in ctx.layouts(x) if is_full(have, 4) and have[-1] == 1), layout)
    data = ctx.read(node, x, layout)
    together = outputs_together(win, channels, outs) if groups == 1 and _in_float(ctx, node) and not computed else 1
    if together > 1:
        _by_blocks(ctx, node, data, layout, win, together)
        return
    mode = padding(win)
    if mode is None:
        data, mode = pad_spatial(ctx, y, data, win), "VALID"
    depthwise = groups > 1 and groups == channels

    def arrange(a: Array) -> Array:
        a = a.reshape(a.shape[0], a.shape[1], *((1,) * (4 - a.ndim)), *a.shape[2:])
        return a.transpose(1, 2, 3, 0) if depthwise else a.transpose(0, 2, 3, 1)

    if computed:
        kernel = ctx.read_float(w, (1, 2, 3, 0) if depthwise else NHWC)
    else:
        kernel = planned_weights(
            ctx, node, w, arrange, axis=3 if depthwise else 0, hybrid=groups == 1 and _repays(ctx.shape(w))
        )
    bias = add_bias(ctx, node, data, kernel, outs)
    out = ctx.output(node, layout)
    emit_conv(ctx, [data, kernel, bias], out, win, mode, outs // channels if depthwise else 0, ctx.activation(node))


def _in_float(ctx: Context, node: ir.Node) -> bool:
    return ctx.plan.kernel(node.name) in ("float32", "fp16-weights")


def _by_blocks(ctx: Context, node: ir.Node, data: Tensor, layout: Layout, win: Window, together: int) -> None:
    """A float convolution over NHWC, several outputs of a row at a time."""
    y, w = ctx.result(node), node.inputs[1]
    weights = ctx.constant(w)
    assert w is not None
    assert weights is not None
    weights = weights.reshape(*weights.shape[:2], *win.kernel).transpose(0, 2, 3, 1)
    outs = len(weights)
    kernel = float_weights(ctx, node, f"{w.name}|w", spread_weights(weights, together, win.strides[1]))
    name, flat = _bias_values(ctx, node, outs)
    bias = ctx.builder.constant(name, np.tile(np.asarray(flat, np.float32), together))
    blocks, over = blocks_of_rows(ctx, y, data, win, together)
    out = ctx.temporary(y, "blocks", (data.shape[0], *over.out, together * outs))
    emit_conv(ctx, [blocks, kernel, bias], out, over, "VALID", 0, ctx.activation(node))
    ctx.bind(node, y, rows_of_blocks(ctx, y, out, win, outs), layout)


def _repays(filters: tuple[int, ...]) -> bool:
    """Whether integer products are faster by more than the rounding of their float input takes (LiteRT 2.3.0, x86).

    That takes time for every input element, and every one of them enters `outputs` products in each tap.
    """
    outputs, taps = filters[0], math.prod(filters[2:])
    return outputs * taps >= _LEAST_REUSE and filters[1] * taps >= _LEAST_SUM


def conv_3d(ctx: Context, node: ir.Node, win: Window) -> None:
    """The depth taps side by side as channels of one CONV_2D, or one convolution each and their sum (groups).

    LiteRT's CONV_3D is no XNNPACK kernel and takes twice as long (LiteRT 2.3.0).
    """
    x, w, y = node.inputs[0], node.inputs[1], ctx.result(node)
    assert x is not None
    assert w is not None
    layout = channels_last(5)
    data = ctx.read(node, x, layout)
    if any(win.before) or any(a > 0 for a in win.after):
        data = pad_spatial(ctx, y, data, win)
    groups, outs = int_attr(node, "group", 1), ctx.shape(w)[0]

    def weights(arrange: Callable[[Array], Array], axis: int) -> Tensor:
        return planned_weights(ctx, node, w, arrange, axis=axis, hybrid=groups == 1 and _repays(ctx.shape(w)))

    def bias(kernel: Tensor) -> Tensor:
        return add_bias(ctx, node, data, kernel, outs)

    quant = ctx.quant(node, y)
    if quant is not None and groups > 1:
        raise Refused("a grouped convolution over volumes has no integer kernel", "keep it in float")
    result = volume_conv(ctx, y, data, weights, bias, win, groups, outs, ctx.activation(node), quant)
    ctx.bind(node, y, result, layout)


def add_bias(ctx: Context, node: ir.Node, data: Tensor, kernel: Tensor, channels: int) -> Tensor:
    """The bias of a kernel group (zeros if it has none): float, or int32 with the scale that the kernel needs."""
    name, flat = _bias_values(ctx, node, channels)
    if data.quant is None or kernel.quant is None:
        return ctx.builder.constant(name, np.ascontiguousarray(flat, np.float32))
    quant = bias_qparams(data.quant, kernel.quant)
    return ctx.builder.constant(name, quant.quantize(np.ascontiguousarray(flat)), quant)


def _bias_values(ctx: Context, node: ir.Node, channels: int) -> tuple[str, Array]:
    """A name for the bias of a kernel group and its values [channels], zeros if it has none."""
    value = ctx.groups[node].bias_value
    if value is None:
        return f"{ctx.result(node).name}/zeros", np.zeros(channels, np.float32)
    bias = ctx.constant(value)
    if bias is None:
        raise Refused("a bias computed at run time is not supported", "fold it into a constant")
    return f"{value.name}|b", ctx.plan.bias(node.name, np.broadcast_to(bias.reshape(-1), (channels,)))
