"""The arithmetic of sliding windows that convolutions and pools of every target share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_ints, get_str, producer
from edgeport.sample import Array
from edgeport.targets.lowering import Refused
from edgeport.targets.values import constant_of


@dataclass(frozen=True)
class Window:
    """One window over `n` spatial axes, all tuples of length n.

    Attributes:
        size: spatial input sizes.
        out: spatial output sizes.
        kernel: taps.
        strides: steps.
        dilations: distance between taps.
        before: padding before the data; negative where data is cropped.
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
        """Padding after the data that windows reach, what `ceil_mode` adds included; negative: data left unread."""
        reach = ((o - 1) * s + e for o, s, e in zip(self.out, self.strides, self.extent, strict=True))
        return tuple(r - n - b for r, n, b in zip(reach, self.size, self.before, strict=True))

    def counted(self, beyond: Sequence[int] | None = None) -> Array:
        """[*out] float64: how many taps of each window lie on the data.

        Args:
            beyond: counts the padding, too: all of it before the data, and that much after it.
        """
        total = np.ones(())
        for i, size in enumerate(self.size):
            low, high = (0, size) if beyond is None else (-self.before[i], size + beyond[i])
            starts = np.arange(self.out[i]) * self.strides[i] - self.before[i]
            places = starts[:, None] + np.arange(self.kernel[i]) * self.dilations[i]
            total = total[..., None] * ((places >= low) & (places < high)).sum(1)
        return np.asarray(total)


def window(node: ir.Node, size: Sequence[int], out: Sequence[int], kernel: Sequence[int]) -> Window:
    """Reads strides, dilations, pads and auto_pad of a Conv or pool node; `ceil_mode` is in the output's sizes.

    Raises:
        Refused: auto_pad is unknown.
    """
    n = len(size)
    strides, dilations = per_axis(node, "strides", n), per_axis(node, "dilations", n)
    mode = get_str(node, "auto_pad", "NOTSET")
    if mode in ("NOTSET", ""):
        before = tuple(get_ints(node, "pads") or (0,) * 2 * n)[:n]
    elif mode == "VALID":
        before = (0,) * n
    elif mode in ("SAME_UPPER", "SAME_LOWER"):
        extent = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
        total = [max((o - 1) * s + e - i, 0) for o, s, e, i in zip(out, strides, extent, size, strict=True)]
        before = tuple(t // 2 if mode == "SAME_UPPER" else (t + 1) // 2 for t in total)
    else:
        raise Refused(f"auto_pad={mode!r} is unknown")
    return Window(tuple(size), tuple(out), tuple(kernel), strides, dilations, before)


def per_axis(node: ir.Node, name: str, n: int) -> tuple[int, ...]:
    """An attribute with a number for each of `n` spatial axes, 1 by default."""
    return tuple(get_ints(node, name) or (1,) * n)


def declared_after(node: ir.Node, win: Window) -> tuple[int, ...]:
    """Padding after the data that the node declares: what `ceil_mode` adds beyond it never counts as an element.

    A window may have more axes than the node, which then stand first.
    """
    mode = get_str(node, "auto_pad", "NOTSET")
    if mode.startswith("SAME"):
        return tuple(max(a, 0) for a in win.after)
    pads = () if mode == "VALID" else tuple(get_ints(node, "pads") or ())
    after = pads[len(pads) // 2 :]
    return (0,) * (len(win.size) - len(after)) + after


def places(win: Window, offsets: Sequence[int], by_column: bool) -> Array:
    """[*out] int64: where one tap of each window lies in the data's plane; anything on padding, which never wins.

    Args:
        win: the window.
        offsets: number of the tap along each axis.
        by_column: counts the elements of the plane with the first axis fastest (ONNX MaxPool, `storage_order` 1).
    """
    total = np.zeros(win.out, np.int64)
    for i, size in enumerate(win.size):
        at = np.arange(win.out[i]) * win.strides[i] - win.before[i] + offsets[i] * win.dilations[i]
        step = math.prod(win.size[:i] if by_column else win.size[i + 1 :])
        total = total + (np.clip(at, 0, size - 1) * step).reshape([-1 if k == i else 1 for k in range(len(win.size))])
    return total


def check_unpool(node: ir.Node, shape: Sequence[int], out_shape: Sequence[int], indices: ir.Value) -> None:
    """Refuses a MaxUnpool whose result depends on which of several writes to one place comes last.

    Args:
        node: the node.
        shape: [N, C, ...] of its data.
        out_shape: of its output.
        indices: its second input.

    Raises:
        Refused: the output is of another size than the window gives, or indices repeat, may repeat, or lie outside.
    """
    n = len(shape) - 2
    kernel, strides = per_axis(node, "kernel_shape", n), per_axis(node, "strides", n)
    pads = get_ints(node, "pads") or (0,) * 2 * n
    sizes = ((shape[2 + i] - 1) * strides[i] + kernel[i] - pads[i] - pads[n + i] for i in range(n))
    if tuple(out_shape) != (*shape[:2], *sizes):
        raise Refused("output_shape other than the kernel's own is not supported", "leave it out and use Pad")
    known, total = constant_of(indices), math.prod(out_shape)
    if known is not None and (np.unique(known).size < known.size or known.min() < 0 or known.max() >= total):
        raise Refused("its indices repeat or lie outside of the output")
    if known is None and not _never_repeat(indices):
        raise Refused(
            "indices that may repeat are not supported", "take them from a MaxPool whose windows do not overlap"
        )


def _never_repeat(indices: ir.Value) -> bool:
    """Whether indices come from a MaxPool no two windows of which share an element."""
    pool = producer(indices, "MaxPool")
    if pool is None:
        return False
    kernel = get_ints(pool, "kernel_shape") or ()
    dilated = any(d != 1 for d in get_ints(pool, "dilations") or ())
    strides = per_axis(pool, "strides", len(kernel))
    return not dilated and all(k <= s for k, s in zip(kernel, strides, strict=True))


def check_pool(node: ir.Node, win: Window) -> None:
    """Refuses windows of a pool that have no single meaning.

    Raises:
        Refused: the specification and ONNX Runtime differ on it, or a window does not fit into the data.
    """
    same = get_str(node, "auto_pad", "NOTSET").startswith("SAME")
    if same and any(d != 1 for d in win.dilations):  # they disagree on the output's size
        raise Refused("auto_pad of dilated windows is not supported", "give pads instead")
    reach = [(o - 1) * s + e for o, s, e in zip(win.out, win.strides, win.extent, strict=True)]
    if same and any(r < size for r, size in zip(reach, win.size, strict=True)):  # negative pads in ONNX Runtime
        raise Refused("auto_pad of windows that leave gaps is not supported", "give pads instead")
    room = [n + b + a for n, b, a in zip(win.size, win.before, declared_after(node, win), strict=True)]
    if any(e > r for e, r in zip(win.extent, room, strict=True)):
        raise Refused(f"a window of {list(win.extent)} does not fit into the data", "use a smaller kernel_shape")
