"""Convolutions."""

from __future__ import annotations

import onnx_ir as ir

from edgeport.passes.edit import get_int, get_ints, get_str
from edgeport.targets.coreai.context import Context
from edgeport.targets.coreai.program import Given, Tensor
from edgeport.targets.coreai.registry import Refused, lowers
from edgeport.targets.coreai.views import box, pad, reshape, unsigned
from edgeport.targets.coreai.window import at_least_two, cover, over_axes, up_to_three
from edgeport.targets.window import per_axis


@lowers("Conv", inputs=3, attributes=("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"))
def conv(ctx: Context, node: ir.Node) -> None:
    """Convolution over one to three axes."""
    x, weight, bias = ctx.read(node, 0), ctx.read(node, 1), ctx.optional(node, 2)
    if not x.is_float:
        raise Refused(f"convolutions of {x.dtype} are not supported")
    shape = ctx.shape(node.outputs[0])
    win = up_to_three(node, x.shape[2:], shape[2:], weight.shape[2:])
    n = len(win.size)
    covered, taps = at_least_two(cover(x, win), n), at_least_two(weight, n)
    operands: list[Given] = [
        covered,
        taps,
        unsigned(over_axes(win.strides)),
        unsigned(over_axes(win.dilations)),
        unsigned(get_int(node, "group", 1)),
    ]
    spatial = over_axes(win.out)
    made = x.builder.step("conv3d" if n == 3 else "conv2d", operands, (*shape[:2], *spatial), x.dtype)
    ctx.bind(node, with_bias(reshape(made, shape), bias))


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
    """The whole transposed convolution, from which the pads are cut."""
    x, weight, bias = ctx.read(node, 0), ctx.read(node, 1), ctx.optional(node, 2)
    if not x.is_float:
        raise Refused(f"convolutions of {x.dtype} are not supported")
    shape, size, taps = ctx.shape(node.outputs[0]), x.shape[2:], weight.shape[2:]
    n = len(size)
    if not 1 <= n <= 3:
        raise Refused(f"convolutions over {n} axes are not supported; Core AI has them over up to three")
    strides, dilations, groups = per_axis(node, "strides", n), per_axis(node, "dilations", n), get_int(node, "group", 1)
    whole = tuple(s * (i - 1) + (k - 1) * d + 1 for s, i, k, d in zip(strides, size, taps, dilations, strict=True))
    operands: list[Given] = [
        at_least_two(x, n),
        at_least_two(weight, n),
        unsigned(over_axes(strides)),
        unsigned(over_axes((0,) * n, 0)),
        unsigned(over_axes(dilations)),
        unsigned(over_axes((0,) * n, 0)),
        unsigned(groups),
    ]
    kind = "conv_transpose3d" if n == 3 else "conv_transpose2d"
    made = reshape(x.builder.step(kind, operands, (*shape[:2], *over_axes(whole)), x.dtype), (*shape[:2], *whole))
    begin = _begin(node, whole, shape[2:])
    grown = [(max(-b, 0), max(b + o - w, 0)) for b, o, w in zip(begin, shape[2:], whole, strict=True)]
    made = pad(made, [(0, 0), (0, 0), *grown])
    cuts = {2 + i: (max(b, 0), max(b, 0) + o, 1) for i, (b, o) in enumerate(zip(begin, shape[2:], strict=True))}
    ctx.bind(node, with_bias(box(made, cuts), bias))


def _begin(node: ir.Node, whole: tuple[int, ...], out: tuple[int, ...]) -> tuple[int, ...]:
    """What is cut off before the data (ONNX ConvTranspose-22: from the output's size where that is given)."""
    n, mode = len(out), get_str(node, "auto_pad", "NOTSET")
    if mode in ("NOTSET", "") and get_ints(node, "output_shape") is None:
        return tuple((get_ints(node, "pads") or [0] * 2 * n)[:n])
    if mode == "VALID":
        return (0,) * n
    extra = get_ints(node, "output_padding") or [0] * n
    total = [max(w + e - o, 0) for w, e, o in zip(whole, extra, out, strict=True)]
    return tuple(t // 2 if mode == "SAME_UPPER" else t - t // 2 for t in total)


def with_bias(x: Tensor, bias: Tensor | None) -> Tensor:
    """A bias added along axis 1."""
    return x if bias is None else x + reshape(bias, (1, bias.size, *[1] * (x.rank - 2)))
