"""Sliding-window arithmetic shared by convolutions and pools: padding, SAME/VALID, explicit PAD."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx_ir as ir

from edgeport.targets.tflite.attributes import ints_attr, string_attr
from edgeport.targets.tflite.builder import Tensor, schema
from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.registry import Refused


@dataclass(frozen=True)
class Window:
    """One window over `n` spatial axes, all tuples of length n.

    Attributes:
        size: spatial input sizes.
        out: spatial output sizes.
        kernel: taps.
        strides: steps.
        dilations: distance between taps.
        before: padding before the data.
    """

    size: tuple[int, ...]
    out: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]

    @property
    def extent(self) -> tuple[int, ...]:
        """Taps plus the gaps between them."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True))

    @property
    def after(self) -> tuple[int, ...]:
        """Padding after the data that windows reach; negative where data is left unread."""
        reach = ((o - 1) * s + e for o, s, e in zip(self.out, self.strides, self.extent, strict=True))
        return tuple(r - n - b for r, n, b in zip(reach, self.size, self.before, strict=True))

    @property
    def pointwise(self) -> bool:
        """Whether it looks at single elements only, so that the order of the spatial axes does not matter."""
        return all(k == s == 1 for k, s in zip(self.kernel, self.strides, strict=True)) and self.size == self.out

    def padding(self) -> Literal["SAME", "VALID"] | None:
        """The TFLite padding that computes exactly this window, None if none does.

        VALID reads as much as fits without padding. SAME gives ceil(size/stride) outputs and puts the odd
        element of padding after the data.
        """
        axes = range(len(self.size))
        if all(
            self.before[i] == 0 and self.out[i] == (self.size[i] - self.extent[i]) // self.strides[i] + 1 for i in axes
        ):
            return "VALID"

        def same(i: int) -> bool:
            out = -(-self.size[i] // self.strides[i])
            total = max((out - 1) * self.strides[i] + self.extent[i] - self.size[i], 0)
            return self.out[i] == out and self.before[i] == total // 2

        return "SAME" if all(same(i) for i in axes) else None


def window(node: ir.Node, size: Sequence[int], out: Sequence[int], kernel: Sequence[int]) -> Window:
    """Reads strides, dilations, pads and auto_pad of a Conv or pool node."""
    n = len(size)
    strides = ints_attr(node, "strides") or (1,) * n
    dilations = ints_attr(node, "dilations") or (1,) * n
    mode = string_attr(node, "auto_pad", "NOTSET")
    if mode in ("NOTSET", ""):
        before = (ints_attr(node, "pads") or (0,) * 2 * n)[:n]
    elif mode == "VALID":
        before = (0,) * n
    elif mode in ("SAME_UPPER", "SAME_LOWER"):
        extent = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
        total = [max((o - 1) * s + e - i, 0) for o, s, e, i in zip(out, strides, extent, size, strict=True)]
        before = tuple(t // 2 if mode == "SAME_UPPER" else (t + 1) // 2 for t in total)
    else:
        raise Refused(f"auto_pad={mode!r} is unknown")
    if any(b < 0 for b in before):
        raise Refused("negative pads are not supported", "crop with Slice instead")
    return Window(tuple(size), tuple(out), tuple(kernel), strides, dilations, before)


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
