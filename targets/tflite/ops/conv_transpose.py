"""ConvTranspose -> TRANSPOSE_CONV: NHWC in, NHWC out, bias and activation fused."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgeport.sample import Array
from edgeport.targets.tflite.attributes import int_attr, ints_attr, string_attr
from edgeport.targets.tflite.builder import Tensor
from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.ops.conv import add_bias, image_layout
from edgeport.targets.tflite.registry import Refused, lowers
from edgeport.targets.tflite.window import padding_code

_MAX_GROUPS = 64  # each group is a kernel of its own; beyond this the file is slower than it is useful


@lowers(
    "ConvTranspose",
    attributes=("auto_pad", "dilations", "group", "kernel_shape", "output_padding", "output_shape", "pads", "strides"),
    inputs=3,
    int8=True,
)
def conv_transpose(ctx: Context, node: ir.Node) -> None:
    """TRANSPOSE_CONV over the whole reach of the kernel, and a SLICE where ONNX pads cut it.

    Pads that TFLite's SAME computes need no SLICE. Dilated weights are written out with zeros between the
    taps. Groups become one kernel each.
    """
    x, w = node.inputs[0], node.inputs[1]
    assert x is not None
    assert w is not None
    filters = ctx.constant(w)
    if filters is None:
        raise Refused("weights computed at run time are not supported", "fold them into a constant")
    layout, groups = image_layout(ctx.rank(x)), int_attr(node, "group", 1)
    y = ctx.result(node)
    geometry = _geometry(node, ctx.shape(x)[2:], ctx.shape(y)[2:], filters.shape[2:])
    if groups == 1:
        data = ctx.read(node, x, layout)
        kernel = ctx.weights(node, w, lambda a: _arrange(a, geometry.dilations), axis=0, hybrid=False)
        bias = add_bias(ctx, node, data, kernel, filters.shape[1])
        _emit(ctx, node, geometry, data, kernel, bias, ctx.output(node, layout))
        return
    if groups > _MAX_GROUPS:
        raise Refused(f"{groups} groups are not supported, at most {_MAX_GROUPS} are", "use Resize and a Conv instead")
    if ctx.int8(node):
        raise Refused("groups in integers are not supported", "keep it in float")
    _grouped(ctx, node, filters, groups, geometry)


@dataclass(frozen=True)
class _Geometry:
    """Strides, dilations and the first kept position, each for height and width."""

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
    if not same and any(begin[i] + kept[i] > reach[i] for i in axes):
        raise Refused("output_padding beyond the kernel's reach is not supported", "use a larger kernel or pads")
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


def _arrange(a: Array, dilations: tuple[int, ...]) -> Array:
    """[C, M, (kh,) kw] -> [M, kh, kw, C], zeros between the taps."""
    a = a.reshape(a.shape[0], a.shape[1], *((1,) * (4 - a.ndim)), *a.shape[2:]).transpose(1, 2, 3, 0)
    if dilations == (1, 1):
        return a
    reach = [(k - 1) * d + 1 for k, d in zip(a.shape[1:3], dilations, strict=True)]
    spread = np.zeros((a.shape[0], *reach, a.shape[3]), a.dtype)
    spread[:, :: dilations[0], :: dilations[1]] = a
    return spread


def _grouped(ctx: Context, node: ir.Node, filters: Array, groups: int, geometry: _Geometry) -> None:
    x, y = node.inputs[0], ctx.result(node)
    assert x is not None
    layout = image_layout(ctx.rank(x))
    data = ctx.read(node, x, layout)
    channels, outs = filters.shape[0] // groups, filters.shape[1]
    value = ctx.groups[node].bias_value
    bias = np.zeros(outs * groups, np.float32) if value is None else ctx.constant(value)
    if bias is None:
        raise Refused("a bias computed at run time is not supported", "fold it into a constant")
    out = ctx.output(node, layout)
    parts = []
    for g in range(groups):
        begin, shape = ctx.ints("begin", (0, 0, 0, g * channels)), (*data.shape[:3], channels)
        part = ctx.temporary(y, f"in{g}", shape)
        ctx.emit("SLICE", [data, begin, ctx.ints("size", shape)], [part], "SliceOptions")
        weight = _arrange(filters[g * channels : (g + 1) * channels], geometry.dilations)
        kernel = ctx.float_weights(node, f"{y.name}/w{g}", np.ascontiguousarray(weight))
        offset = ctx.builder.constant(f"{y.name}/b{g}", bias.reshape(-1)[g * outs : (g + 1) * outs])
        result = ctx.temporary(y, f"out{g}", (*out.shape[:3], outs))
        _emit(ctx, node, geometry, part, kernel, offset, result)
        parts.append(result)
    ctx.emit("CONCATENATION", parts, [out], "ConcatenationOptions", axis=3)
