"""ConvTranspose: channels last in and out, bias and activation fused."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgeport.sample import Array
from edgeport.targets.tflite.attributes import int_attr, ints_attr, string_attr
from edgeport.targets.tflite.builder import Tensor
from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.convolution import emit_conv, volume_conv
from edgeport.targets.tflite.layout import channels_last, stored_shape
from edgeport.targets.tflite.ops.conv import add_bias, image_layout
from edgeport.targets.tflite.phases import by_phases, phase_weights, phases
from edgeport.targets.tflite.pieces import shaped
from edgeport.targets.tflite.registry import Refused, lowers
from edgeport.targets.tflite.weights import float_weights, planned_weights
from edgeport.targets.tflite.window import padding_code
from edgeport.targets.window import Window

_MAX_PHASES = 64  # each is a convolution of its own; beyond this the file is slower than it is useful


@lowers(
    "ConvTranspose",
    attributes=("auto_pad", "dilations", "group", "kernel_shape", "output_padding", "output_shape", "pads", "strides"),
    inputs=3,
    int8=True,
)
def conv_transpose(ctx: Context, node: ir.Node) -> None:
    """TRANSPOSE_CONV over the whole reach of the kernel, and a SLICE where ONNX pads cut it.

    Pads that TFLite's SAME computes need no SLICE. Dilated weights are written out with zeros between the
    taps; where output_padding goes beyond the kernel's reach, zeros extend it. Groups and volumes are convolutions,
    one a phase of the stride.
    """
    x, w = node.inputs[0], node.inputs[1]
    assert x is not None
    assert w is not None
    filters = ctx.constant(w)
    if filters is None:
        raise Refused("weights computed at run time are not supported", "fold them into a constant")
    groups, y = int_attr(node, "group", 1), ctx.result(node)
    geometry = _geometry(node, ctx.shape(x)[2:], ctx.shape(y)[2:], filters.shape[2:])
    if groups > 1 or ctx.rank(x) == 5:
        _phased(ctx, node, filters, groups, geometry)
        return
    layout = image_layout(ctx.rank(x))
    data, stored = ctx.read(node, x, layout), stored_shape(ctx.shape(y), layout)
    kernel = planned_weights(
        ctx, node, w, lambda a: _arrange(a, geometry, data.shape[1:3], stored[1:3]), axis=0, hybrid=False
    )
    bias = add_bias(ctx, node, data, kernel, filters.shape[1])
    _emit(ctx, node, geometry, data, kernel, bias, ctx.output(node, layout))


@dataclass(frozen=True)
class _Geometry:
    """Strides, dilations and the first kept position, each for height and width (depth first in volumes)."""

    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begin: tuple[int, ...]


def _geometry(node: ir.Node, size: tuple[int, ...], out: tuple[int, ...], taps: tuple[int, ...]) -> _Geometry:
    n = len(size)
    strides, dilations = ints_attr(node, "strides") or (1,) * n, ints_attr(node, "dilations") or (1,) * n
    mode = string_attr(node, "auto_pad", "NOTSET")
    if mode in ("NOTSET", "") and ints_attr(node, "output_shape") is None:
        begin = (ints_attr(node, "pads") or (0,) * 2 * n)[:n]
    elif mode == "VALID":
        begin = (0,) * n
    else:  # the specification derives the pads from the output's size
        extra = ints_attr(node, "output_padding") or (0,) * n
        full = [s * (i - 1) + (k - 1) * d + 1 for s, i, k, d in zip(strides, size, taps, dilations, strict=True)]
        total = [max(f + e - o, 0) for f, e, o in zip(full, extra, out, strict=True)]
        begin = tuple(t // 2 if mode == "SAME_UPPER" else t - t // 2 for t in total)
    if any(b < 0 for b in begin):
        raise Refused("negative pads are not supported", "pad with Pad instead")
    one, zero = (1,) * (2 - n), (0,) * (2 - n)
    return _Geometry(one + strides, one + dilations, zero + begin)


def _emit(
    ctx: Context, node: ir.Node, geometry: _Geometry, x: Tensor, kernel: Tensor, bias: Tensor, out: Tensor
) -> None:
    """TRANSPOSE_CONV into `out`, through a SLICE where neither VALID nor SAME is what is kept."""
    y, strides, begin = ctx.result(node), geometry.strides, geometry.begin
    kept, size = out.shape[1:3], x.shape[1:3]
    reach = tuple(s * (i - 1) + k for s, i, k in zip(strides, size, kernel.shape[1:3], strict=True))
    axes = range(2)
    whole = kept == reach and begin == (0, 0)
    same = all(kept[i] == size[i] * strides[i] <= reach[i] and begin[i] == (reach[i] - kept[i]) // 2 for i in axes)
    shape = out.shape if whole or same else (out.shape[0], *reach, out.shape[3])
    target = out if whole or same else ctx.temporary(y, "full", shape, out.dtype, out.quant)
    ctx.emit(
        "TRANSPOSE_CONV",
        [ctx.ints("shape", shape), kernel, x, bias],
        [target],
        "TransposeConvOptions",
        padding=padding_code("SAME" if same and not whole else "VALID"),
        strideH=strides[0],
        strideW=strides[1],
        fusedActivationFunction=ctx.activation(node),
    )
    if target is not out:
        ctx.emit(
            "SLICE", [target, ctx.ints("begin", (0, *begin, 0)), ctx.ints("size", out.shape)], [out], "SliceOptions"
        )


def _arrange(a: Array, geometry: _Geometry, size: tuple[int, ...], kept: tuple[int, ...]) -> Array:
    """[C, M, (kh,) kw] -> [M, kh, kw, C], with zeros between the taps and up to the last output."""
    a = a.reshape(a.shape[0], a.shape[1], *((1,) * (4 - a.ndim)), *a.shape[2:]).transpose(1, 2, 3, 0)
    reach = [(k - 1) * d + 1 for k, d in zip(a.shape[1:3], geometry.dilations, strict=True)]
    whole = [
        max(r, begin + out - stride * (n - 1))
        for r, begin, out, stride, n in zip(reach, geometry.begin, kept, geometry.strides, size, strict=True)
    ]
    spread = np.zeros((a.shape[0], *whole, a.shape[3]), a.dtype)
    spread[:, : reach[0] : geometry.dilations[0], : reach[1] : geometry.dilations[1]] = a
    return spread


def _phased(ctx: Context, node: ir.Node, filters: Array, groups: int, geometry: _Geometry) -> None:
    """One convolution a phase, whose weights are taps of the kernel."""
    x, y = node.inputs[0], ctx.result(node)
    assert x is not None
    if ctx.int8(node):
        raise Refused("groups and volumes in integers are not supported", "keep it in float")
    rank = ctx.rank(x)
    layout = channels_last(5) if rank == 5 else image_layout(rank)
    data, stored = ctx.read(node, x, layout), stored_shape(ctx.shape(y), layout)
    filters = filters if rank != 3 else filters[:, :, None]
    axes = [
        phases(*facts)
        for facts in zip(
            data.shape[1:-1],
            stored[1:-1],
            filters.shape[2:],
            geometry.strides,
            geometry.dilations,
            geometry.begin,
            strict=True,
        )
    ]
    if math.prod(geometry.strides) > _MAX_PHASES:
        raise Refused(
            f"strides {list(geometry.strides)} with groups are not supported", "use Resize and a Conv instead"
        )
    value = ctx.groups[node].bias_value
    shift = None if value is None else ctx.constant(value)
    if value is not None and shift is None:
        raise Refused("a bias computed at run time is not supported", "fold it into a constant")
    channels, outs = filters.shape[0], filters.shape[1] * groups
    flat = np.zeros(outs, np.float32) if shift is None else np.broadcast_to(shift.reshape(-1), (outs,))
    depthwise = groups > 1 and groups == channels
    merged = axes[-1].stride if groups == 1 else 1  # without groups a row's phases are channels of one convolution
    bias = ctx.builder.constant(f"{y.name}/bias", np.tile(np.asarray(flat, np.float32), merged))

    def convolve(padded: Tensor, offsets: tuple[int, ...]) -> Tensor:
        last = [offsets[-1] + step for step in range(merged)]
        weights = np.concatenate([phase_weights(filters, axes, groups, (*offsets[:-1], r)) for r in last])
        name = f"{y.name}/w{'_'.join(map(str, offsets))}"

        def stored_weights(arrange: Callable[[Array], Array], axis: int) -> Tensor:
            return float_weights(ctx, node, name, np.ascontiguousarray(arrange(weights)))

        one = (1,) * len(axes)
        win = Window(padded.shape[1:-1], tuple(a.count for a in axes), weights.shape[2:], one, one, (0,) * len(axes))
        if rank == 5:
            count, activation = outs * merged, ctx.activation(node)
            out = volume_conv(ctx, y, padded, stored_weights, lambda _: bias, win, groups, count, activation)
            return shaped(ctx, y, out, (*out.shape[:3], out.shape[3] * merged, outs))
        kernel = stored_weights(lambda a: a.transpose((1, 2, 3, 0) if depthwise else (0, 2, 3, 1)), 0)
        out = ctx.temporary(y, "phase", (padded.shape[0], *win.out, outs))
        multiplier = outs // channels if depthwise else 0
        emit_conv(ctx, [padded, kernel, bias], out, win, "VALID", multiplier, ctx.activation(node))
        return out

    ctx.bind(node, y, by_phases(ctx, y, data, stored[1:-1], axes, convolve, merged > 1), layout)
