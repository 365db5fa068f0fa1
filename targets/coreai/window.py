"""Sliding windows over one to three axes: what convolutions and pools read, padded and cropped to exactly that.

Core AI's windows have no padding of their own and cover two or three axes; an axis of size 1 is added to one.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from edgeport.targets.coreai.program import Operand, Tensor
from edgeport.targets.coreai.registry import Refused
from edgeport.targets.coreai.views import box, pad, reshape
from edgeport.targets.window import Window, window


def up_to_three(node: ir.Node, size: Sequence[int], out: Sequence[int], kernel: Sequence[int]) -> Window:
    """The window of a Conv or pool node.

    Raises:
        Refused: it covers more than three axes, or auto_pad is unknown.
    """
    if not 1 <= len(size) <= 3:
        raise Refused(f"windows over {len(size)} axes are not supported; Core AI has them over up to three")
    return window(node, size, out, kernel)


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
