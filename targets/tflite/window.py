"""Sliding windows as LiteRT's convolutions and pools take them: SAME, VALID, or an explicit PAD."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import onnx_ir as ir

from edgeport.targets.tflite.builder import Tensor, schema
from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.registry import Refused
from edgeport.targets.window import Window, window


def uncropped(node: ir.Node, size: Sequence[int], out: Sequence[int], kernel: Sequence[int]) -> Window:
    """The window of a Conv or pool node; PAD takes no negative amounts.

    Raises:
        Refused: pads before the data are negative, or auto_pad is unknown.
    """
    win = window(node, size, out, kernel)
    if any(b < 0 for b in win.before):
        raise Refused("negative pads are not supported", "crop with Slice instead")
    return win


def pointwise(win: Window) -> bool:
    """Whether a window looks at single elements only, so that the order of the spatial axes does not matter."""
    return all(k == s == 1 for k, s in zip(win.kernel, win.strides, strict=True)) and win.size == win.out


def padding(win: Window) -> Literal["SAME", "VALID"] | None:
    """The TFLite padding that computes exactly this window, None if none does.

    VALID reads as much as fits without padding. SAME gives ceil(size/stride) outputs and puts the odd
    element of padding after the data.
    """
    axes = range(len(win.size))
    if all(win.before[i] == 0 and win.out[i] == (win.size[i] - win.extent[i]) // win.strides[i] + 1 for i in axes):
        return "VALID"

    def same(i: int) -> bool:
        out = -(-win.size[i] // win.strides[i])
        total = max((out - 1) * win.strides[i] + win.extent[i] - win.size[i], 0)
        return win.out[i] == out and win.before[i] == total // 2

    return "SAME" if all(same(i) for i in axes) else None


def pad_spatial(ctx: Context, like: ir.Value, x: Tensor, win: Window, fill: float = 0.0) -> Tensor:
    """Pads an NHWC tensor explicitly, so that VALID windows over the result are `win`."""
    after = [max(a, 0) for a in win.after]
    pads = [(0, 0), *zip(win.before, after, strict=True), (0, 0)]
    shape = [d + sum(p) for d, p in zip(x.shape, pads, strict=True)]
    out = ctx.builder.tensor(f"{like.name}/pad", shape, x.dtype, x.quant)
    amounts = ctx.builder.constant("const/pads", np.asarray(pads, np.int32))
    if fill == 0.0:  # in integers, PAD writes the zero point, which is 0.0
        ctx.emit("PAD", [x, amounts], [out], "PadOptions")
    else:
        number = np.asarray(fill, np.float32)
        value = ctx.builder.constant("const/fill", number if x.quant is None else x.quant.quantize(number), x.quant)
        ctx.emit("PADV2", [x, amounts, value], [out], "PadV2Options")
    return out


def padding_code(name: Literal["SAME", "VALID"]) -> int:
    """The schema's code of a padding."""
    return int(getattr(schema().Padding, name))
