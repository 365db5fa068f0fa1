"""Sliding windows in torch's terms: one padding for both sides of an axis, or data that is padded beforehand."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir
import torch
from torch import Tensor

from edgeport.targets.window import Window
from edgeport.torch_view.context import Context
from edgeport.torch_view.registry import Refused


def spatial(ctx: Context, value: ir.Value | None) -> tuple[int, ...]:
    """Sizes of the axes from the third on, one to three of them; the batch may be of any size.

    Raises:
        Refused: there are none or more, or one is not known.
    """
    rank = ctx.rank(value)
    if not 3 <= rank <= 5:
        raise Refused(f"windows over {rank - 2} axes are not supported; torch has them over one to three")
    assert value is not None
    assert value.shape is not None
    sizes = tuple(d for d in list(value.shape)[2:] if isinstance(d, int))
    if len(sizes) != rank - 2:
        raise Refused(f"the shape of {value.name!r} is not static", "fix the dimensions with --input", "dynamic-shape")
    return sizes


def fitted(x: Tensor, win: Window, fill: float, most: Sequence[int] | None = None) -> tuple[Tensor, tuple[int, ...]]:
    """Data and the padding that torch's own function is to add on both sides.

    Args:
        x: [N, C, *sizes].
        win: the window.
        fill: what pads the data where the function cannot.
        most: highest padding that the function takes on each axis, any by default.
    """
    axes = range(len(win.size))
    limits = most or [max(win.before)] * len(win.size)
    own = all(
        0 <= win.before[i] <= limits[i]
        and (win.size[i] + 2 * win.before[i] - win.extent[i]) // win.strides[i] + 1 == win.out[i]
        for i in axes
    )
    if own:
        return x, win.before
    return padded(x, win, fill), (0,) * len(win.size)


def padded(x: Tensor, win: Window, fill: float) -> Tensor:
    """Data with everything around it that windows reach."""
    widths = [width for i in reversed(range(len(win.size))) for width in (win.before[i], max(win.after[i], 0))]
    return torch.constant_pad_nd(x, widths, fill) if any(widths) else x
