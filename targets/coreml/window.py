"""Sliding windows of convolutions and pools, with their padding as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_ints, get_str
from edgeport.sample import Array
from edgeport.targets.coreml.registry import Refused


@dataclass(frozen=True)
class Window:
    """A window over `n` spatial axes; all tuples have length n.

    Attributes:
        size: spatial input sizes.
        out: spatial output sizes.
        kernel: taps.
        strides: steps.
        dilations: distances between taps.
        before: padding before the data.
        given: padding after the data that the node asks for.
    """

    size: tuple[int, ...]
    out: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    given: tuple[int, ...]

    @property
    def extent(self) -> tuple[int, ...]:
        """Taps and the gaps between them."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True))

    @property
    def after(self) -> tuple[int, ...]:
        """Padding after the data that windows reach (with ceil_mode more than `given`), at least 0."""
        reach = ((o - 1) * s + e for o, s, e in zip(self.out, self.strides, self.extent, strict=True))
        return tuple(max(r - n - b, 0) for r, n, b in zip(reach, self.size, self.before, strict=True))

    def facts(self) -> dict[str, Any]:
        """Strides and padding as inputs of MIL's conv and pools."""
        pads = np.asarray([p for pair in zip(self.before, self.after, strict=True) for p in pair], np.int32)
        strides = np.asarray(self.strides, np.int32)
        if not pads.any():
            return {"strides": strides, "pad_type": "valid"}
        return {"strides": strides, "pad_type": "custom", "pad": pads}

    def counted(self, beyond: Sequence[int] | None = None) -> Array:
        """[*out]: how many taps of each window lie on the data, and with `beyond` on the padding before it and that
        much padding after it."""
        total = np.ones(())
        for i, size in enumerate(self.size):
            low, high = (0, size) if beyond is None else (-self.before[i], size + beyond[i])
            starts = np.arange(self.out[i]) * self.strides[i] - self.before[i]
            places = starts[:, None] + np.arange(self.kernel[i]) * self.dilations[i]
            total = total[..., None] * ((places >= low) & (places < high)).sum(1)
        return np.asarray(total)


def window(node: ir.Node, size: Sequence[int], out: Sequence[int], kernel: Sequence[int]) -> Window:
    """Reads strides, dilations, pads and auto_pad of a Conv or pool node.

    Raises:
        Refused: pads are negative, or auto_pad is unknown.
    """
    n = len(size)
    strides = tuple(get_ints(node, "strides") or (1,) * n)
    dilations = tuple(get_ints(node, "dilations") or (1,) * n)
    mode = get_str(node, "auto_pad", "NOTSET")
    if mode in ("NOTSET", ""):
        pads = tuple(get_ints(node, "pads") or (0,) * 2 * n)
        before, given = pads[:n], pads[n:]
    elif mode == "VALID":
        before = given = (0,) * n
    elif mode in ("SAME_UPPER", "SAME_LOWER"):
        extent = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
        total = [max((o - 1) * s + e - i, 0) for o, s, e, i in zip(out, strides, extent, size, strict=True)]
        before = tuple(t // 2 if mode == "SAME_UPPER" else (t + 1) // 2 for t in total)
        given = tuple(t - b for t, b in zip(total, before, strict=True))
    else:
        raise Refused(f"auto_pad={mode!r} is unknown")
    if any(p < 0 for p in (*before, *given)):
        raise Refused("negative pads are not supported", "crop with Slice instead")
    return Window(tuple(size), tuple(out), tuple(kernel), strides, dilations, before, given)
