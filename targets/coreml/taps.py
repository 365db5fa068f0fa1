"""Explicit padding, and what windows see at one of their taps."""

from __future__ import annotations

import numpy as np

from edgeport.targets.coreml.context import Context
from edgeport.targets.coreml.mil import Var
from edgeport.targets.coreml.window import pads
from edgeport.targets.window import Window


def padded(ctx: Context, data: Var, win: Window, fill: float) -> Var:
    """Floats [N, C, ...] with the padding of a window written out."""
    if not any(pads(win)):
        return data
    amounts = np.asarray(pads(win), np.int32)
    return ctx.emit("pad", x=data, pad=amounts, mode="constant", constant_val=ctx.number(fill))


def strided(ctx: Context, data: Var, axis: int, begin: int, stride: int, count: int) -> Var:
    """`count` elements of an axis from `begin` on, every `stride`-th."""
    shape = tuple(data.shape)
    if begin == 0 and stride == 1 and count == shape[axis]:
        return data
    first, last, step = [0] * len(shape), list(shape), [1] * len(shape)
    first[axis], last[axis], step[axis] = begin, begin + (count - 1) * stride + 1, stride
    return ctx.emit(
        "slice_by_index",
        x=data,
        begin=np.asarray(first, np.int32),
        end=np.asarray(last, np.int32),
        stride=np.asarray(step, np.int32),
    )
