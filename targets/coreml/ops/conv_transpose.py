"""Transposed convolutions over one to three spatial axes."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_int, get_ints, get_str
from edgeport.targets.coreml.context import Context
from edgeport.targets.coreml.ops.conv import with_computed_bias
from edgeport.targets.coreml.registry import Refused, lowers
from edgeport.targets.coreml.weights import bias_of, weight


@lowers(
    "ConvTranspose",
    attributes=("auto_pad", "dilations", "group", "kernel_shape", "output_padding", "output_shape", "pads", "strides"),
    inputs=3,
)
def conv_transpose(ctx: Context, node: ir.Node) -> None:
    """One `conv_transpose` whose padding cuts the ends off.

    Where output_padding goes beyond the reach of the last window, zeros after the input make it reach that far. (MIL's
    own `output_shape` does not say at which end it adds.)
    """
    x, w, y = node.inputs[0], node.inputs[1], node.outputs[0]
    assert x is not None
    assert w is not None
    shape, filters, out = ctx.shape(x), ctx.shape(w), ctx.shape(y)
    n = len(shape) - 2
    if n not in (1, 2, 3):
        raise Refused(f"{n} spatial dimensions are not supported; 1 to 3 are", code="unsupported-shape")
    if ctx.constant(w) is None and not ctx.at_least("iOS17"):
        raise Refused("weights computed at run time need iOS 17", "take a --profile with a newer system")
    strides, dilations = get_ints(node, "strides") or [1] * n, get_ints(node, "dilations") or [1] * n
    extent = [(k - 1) * d + 1 for k, d in zip(filters[2:], dilations, strict=True)]
    reach = [s * (size - 1) + e for s, size, e in zip(strides, shape[2:], extent, strict=True)]
    begin = _cut_before(node, reach, out[2:])
    end = [r - b - o for r, b, o in zip(reach, begin, out[2:], strict=True)]
    more = [-(min(cut, 0) // s) for cut, s in zip(end, strides, strict=True)]
    end = [cut + extra * s for cut, extra, s in zip(end, more, strides, strict=True)]
    data = ctx.read(x)
    if any(more):
        pads = np.asarray([p for extra in more for p in (0, extra)], np.int32)
        data = ctx.emit("pad", x=data, pad=pads, mode="constant", constant_val=ctx.number(0))
    groups = get_int(node, "group", 1)
    bias = bias_of(ctx, node, filters[1] * groups)
    cuts = np.asarray([c for pair in zip(begin, end, strict=True) for c in pair], np.int32)
    result = ctx.emit(
        "conv_transpose",
        x=data,
        weight=weight(ctx, node, 1),
        strides=np.asarray(strides, np.int32),
        dilations=np.asarray(dilations, np.int32),
        groups=np.int32(groups),
        **({} if bias is None else {"bias": bias}),
        **({"pad_type": "custom", "pad": cuts} if cuts.any() else {"pad_type": "valid"}),
    )
    ctx.bind(y, with_computed_bias(ctx, node, result, bias))


def _cut_before(node: ir.Node, reach: list[int], out: tuple[int, ...]) -> list[int]:
    """How much of each axis is cut off before what is kept."""
    n, mode = len(out), get_str(node, "auto_pad", "NOTSET")
    if mode in ("NOTSET", "") and get_ints(node, "output_shape") is None:
        begin = (get_ints(node, "pads") or [0] * 2 * n)[:n]
    elif mode == "VALID":
        begin = [0] * n
    else:  # the specification derives the pads from the output's size
        extra = get_ints(node, "output_padding") or [0] * n
        total = [max(r + e - o, 0) for r, e, o in zip(reach, extra, out, strict=True)]
        begin = [t // 2 if mode == "SAME_UPPER" else t - t // 2 for t in total]
    if any(b < 0 for b in begin):
        raise Refused("negative pads are not supported", "pad with Pad instead")
    return begin
