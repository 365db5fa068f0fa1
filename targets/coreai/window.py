"""Sliding windows over one to three axes: what convolutions and pools read, padded and cropped to exactly that.

Core AI's windows have no padding of their own and cover two or three axes; an axis of size 1 is added to one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from edgeport.passes.edit import get_ints, get_str
from edgeport.targets.coreai.program import Operand, Tensor
from edgeport.targets.coreai.registry import Refused
from edgeport.targets.coreai.views import box, pad, reshape


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
        """Padding behind the data that windows reach; negative where data is left unread."""
        reach = ((o - 1) * s + e for o, s, e in zip(self.out, self.strides, self.extent, strict=True))
        return tuple(r - n - b for r, n, b in zip(reach, self.size, self.before, strict=True))


def window(node: ir.Node, size: Sequence[int], out: Sequence[int], kernel: Sequence[int]) -> Window:
    """Reads strides, dilations, pads and auto_pad of a Conv or pool node."""
    n = len(size)
    if not 1 <= n <= 3:
        raise Refused(f"windows over {n} axes are not supported; Core AI has them over up to three")
    strides, dilations = ints(node, "strides", n), ints(node, "dilations", n)
    mode = get_str(node, "auto_pad", "NOTSET")
    if mode in ("NOTSET", ""):
        before = tuple((get_ints(node, "pads") or [0] * 2 * n)[:n])
    elif mode == "VALID":
        before = (0,) * n
    elif mode in ("SAME_UPPER", "SAME_LOWER"):
        extent = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
        total = [max((o - 1) * s + e - i, 0) for o, s, e, i in zip(out, strides, extent, size, strict=True)]
        before = tuple(t // 2 if mode == "SAME_UPPER" else (t + 1) // 2 for t in total)
    else:
        raise Refused(f"auto_pad={mode!r} is unknown")
    return Window(tuple(size), tuple(out), tuple(kernel), strides, dilations, before)


def ints(node: ir.Node, name: str, n: int) -> tuple[int, ...]:
    """An attribute with one number an axis, 1 by default."""
    return tuple(get_ints(node, name) or [1] * n)


def cover(x: Tensor, win: Window, fill: Operand = 0) -> Tensor:
    """`x` (batch, channels, spatial axes) with exactly the elements that the windows reach."""
    lead = x.rank - len(win.size)
    widths = [(max(b, 0), max(a, 0)) for b, a in zip(win.before, win.after, strict=True)]
    padded = pad(x, [(0, 0)] * lead + widths, fill)
    cuts = {
        lead + i: (max(-b, 0), padded.shape[lead + i] - max(-a, 0), 1)
        for i, (b, a) in enumerate(zip(win.before, win.after, strict=True))
    }
    return box(padded, cuts)


def at_least_two(x: Tensor, spatial: int) -> Tensor:
    """With one more spatial axis, of size 1 and first among them, where there is only one."""
    return x if spatial > 1 else reshape(x, (*x.shape[:-1], 1, x.shape[-1]))


def over_axes(values: Sequence[int], fill: int = 1) -> tuple[int, ...]:
    """Numbers of the spatial axes, with `fill` for the axis that `at_least_two` adds."""
    return tuple(values) if len(values) > 1 else (fill, *values)
