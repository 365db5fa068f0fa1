"""Convolutions."""

from __future__ import annotations

import onnx_ir as ir
import torch
from torch import Tensor

from edgeport.passes.edit import get_int, get_ints, get_str
from edgeport.targets.window import per_axis, window
from edgeport.torch_view.context import Context
from edgeport.torch_view.ops.elementwise import floats
from edgeport.torch_view.ops.sliding import fitted, spatial
from edgeport.torch_view.registry import Refused, lowers

_FORMS = {1: torch.conv1d, 2: torch.conv2d, 3: torch.conv3d}
_TRANSPOSED = {1: torch.conv_transpose1d, 2: torch.conv_transpose2d, 3: torch.conv_transpose3d}


@lowers("Conv", inputs=3, attributes=("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"))
def conv(ctx: Context, node: ir.Node) -> None:
    """Convolution over one to three axes."""
    floats(ctx, node)
    x, weight, bias = ctx.read(node, 0), ctx.read(node, 1), ctx.optional(node, 2)
    win = window(node, spatial(ctx, node.inputs[0]), spatial(ctx, node.outputs[0]), spatial(ctx, node.inputs[1]))
    data, padding = fitted(x, win, 0.0)
    form = _FORMS[len(win.size)]
    ctx.bind(node, form(data, weight, bias, win.strides, padding, win.dilations, get_int(node, "group", 1)))


@lowers(
    "ConvTranspose",
    inputs=3,
    attributes=(
        "auto_pad",
        "dilations",
        "group",
        "kernel_shape",
        "output_padding",
        "output_shape",
        "pads",
        "strides",
    ),
)
def conv_transpose(ctx: Context, node: ir.Node) -> None:
    """torch's own where pads are alike on both sides; else the whole transposed convolution, cut to size."""
    floats(ctx, node)
    x, weight, bias = ctx.read(node, 0), ctx.read(node, 1), ctx.optional(node, 2)
    size, out, taps = (spatial(ctx, v) for v in (node.inputs[0], node.outputs[0], node.inputs[1]))
    n, groups = len(size), get_int(node, "group", 1)
    strides, dilations = per_axis(node, "strides", n), per_axis(node, "dilations", n)
    whole = tuple(s * (i - 1) + (k - 1) * d + 1 for s, i, k, d in zip(strides, size, taps, dilations, strict=True))
    begin = _begin(node, whole, out)
    extra = tuple(o - (w - 2 * b) for o, w, b in zip(out, whole, begin, strict=True))
    own = all(b >= 0 and 0 <= e < max(s, d) for b, e, s, d in zip(begin, extra, strides, dilations, strict=True))
    form = _TRANSPOSED[n]
    if own:
        ctx.bind(node, form(x, weight, bias, strides, begin, extra, groups, dilations))
        return
    made = form(x, weight, None, strides, (0,) * n, (0,) * n, groups, dilations)
    widths = [width for i in reversed(range(n)) for width in (-begin[i], begin[i] + out[i] - whole[i])]
    made = torch.constant_pad_nd(made, widths, 0.0)
    ctx.bind(node, made if bias is None else torch.add(made, along_channels(bias, n + 2)))


def _begin(node: ir.Node, whole: tuple[int, ...], out: tuple[int, ...]) -> tuple[int, ...]:
    """What is cut off before the data (ONNX ConvTranspose-22: from the output's size where that is given)."""
    n, mode = len(out), get_str(node, "auto_pad", "NOTSET")
    if mode in ("NOTSET", "") and get_ints(node, "output_shape") is None:
        return tuple((get_ints(node, "pads") or [0] * 2 * n)[:n])
    if mode == "VALID":
        return (0,) * n
    if mode not in ("NOTSET", "", "SAME_UPPER", "SAME_LOWER"):
        raise Refused(f"auto_pad={mode!r} is unknown")
    extra = get_ints(node, "output_padding") or [0] * n
    total = [max(w + e - o, 0) for w, e, o in zip(whole, extra, out, strict=True)]
    return tuple(t // 2 if mode == "SAME_UPPER" else t - t // 2 for t in total)


def along_channels(x: Tensor, rank: int) -> Tensor:
    """A vector along axis 1."""
    return torch.reshape(x, (1, -1, *[1] * (rank - 2)))
