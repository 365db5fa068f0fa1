"""GridSample: one gather a tap over the image's pixels, weighted and added.

    grid --> coordinate an axis --> padding --> first tap, share of each tap
    image [N, H, W, C] --> gather_nd(batch, row, column of a tap) --> times its share --> added

ONNX operator GridSample-22; the order of the operations is that of ONNX Runtime, which decides ties of mode nearest.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_int, get_str
from edgeport.targets.coreai import elements as e
from edgeport.targets.coreai.context import Context
from edgeport.targets.coreai.program import Tensor
from edgeport.targets.coreai.registry import Refused, lowers
from edgeport.targets.coreai.views import broadcast, concat, cut, gather_nd, moved, reshape, squeeze, unsqueeze

_MODES = {"linear": "linear", "bilinear": "linear", "nearest": "nearest", "cubic": "cubic", "bicubic": "cubic"}
_CUBIC = -0.75
"""The coefficient that the specification fixes (Keys 1981, eq. 15)."""
_Tap = tuple[Tensor, Tensor | None]
"""Whole number along an axis, and share of the pixel there (None: all)."""


@lowers("GridSample", attributes=("align_corners", "mode", "padding_mode"), inputs=2)
def grid_sample(ctx: Context, node: ir.Node) -> None:
    """Taps of every axis, combined."""
    x, grid = ctx.read(node, 0), ctx.read(node, 1)
    mode, padding = _MODES.get(get_str(node, "mode", "linear")), get_str(node, "padding_mode", "zeros")
    if mode is None or padding not in ("zeros", "border", "reflection"):
        raise Refused(f"mode={get_str(node, 'mode', 'linear')!r} with padding_mode={padding!r} is unknown")
    n = x.rank - 2
    if n not in (2, 3) or (n == 3 and mode == "cubic"):
        raise Refused(f"mode {mode} over {n} spatial dimensions is not supported")
    if x.dtype != "float32" or grid.dtype != "float32":
        raise Refused(f"GridSample of {x.dtype} is not supported", "cast to float32")
    aligned, sizes, out = bool(get_int(node, "align_corners", 0)), x.shape[2:], grid.shape[:-1]
    taps = []
    for axis, size in enumerate(sizes):  # the grid names the last axis first
        column = squeeze(cut(grid, -1, n - 1 - axis, n - axis), -1)
        taps.append(_taps(_coordinate(column, size, aligned), size, mode, padding, aligned))
    pixels = moved(x, 1, -1)
    images = np.arange(x.shape[0], dtype=np.int32).reshape(-1, *[1] * (n + 1))
    batch = broadcast(unsqueeze(ctx.builder.constant(images[..., 0]), -1), (*out, 1))
    total: Tensor | None = None
    for combination in itertools.product(*taps):
        index = concat([batch, *(unsqueeze(e.raw_cast(at, "int32"), -1) for at, _ in combination)], -1)
        found = gather_nd(pixels, index)
        for _, share in combination:
            found = found if share is None else found * unsqueeze(share, -1)
        total = found if total is None else total + found
    assert total is not None
    ctx.bind(node, reshape(moved(total, -1, 1), ctx.shape(node.outputs[0])))


def _coordinate(g: Tensor, size: int, aligned: bool) -> Tensor:
    """From [-1, 1] to pixels."""
    return (g + 1) * 0.5 * (size - 1) if aligned else ((g + 1) * size - 1) * 0.5


def _taps(at: Tensor, size: int, mode: str, padding: str, aligned: bool) -> list[_Tap]:
    last = size - 1.0
    low, high = (0.0, last) if aligned else (-0.5, last + 0.5)
    if mode == "nearest":
        at = e.unary("round_", at)
    if padding == "border" and mode != "cubic":  # of which every tap is moved inside by itself
        at = e.clamp(at, 0, last)
    elif padding == "reflection":
        at = _reflected(at, low, high)
    if mode == "nearest":
        whole: Sequence[_Tap] = [(e.unary("round_", at) if padding == "reflection" else at, None)]
    else:
        whole = _linear(at) if mode == "linear" else _cubic(at)
    result: list[_Tap] = []
    for index, share in whole:
        if padding == "reflection" and mode == "cubic":
            index = _reflected(index, low, high)
        bounded = e.clamp(index, 0, last)
        if padding == "zeros":
            inside = e.raw_cast(e.equal(index, bounded), at.dtype)
            share = inside if share is None else share * inside
        result.append((bounded, share))
    return result


def _linear(at: Tensor) -> list[_Tap]:
    low = e.floor(at)
    part = at - low
    return [(low, 1.0 - part), (low + 1, part)]


def _cubic(at: Tensor) -> list[_Tap]:
    low = e.floor(at)
    part = at - low
    rest = 1.0 - part
    c = _CUBIC

    def near(d: Tensor) -> Tensor:
        return (d * (c + 2) - (c + 3)) * d * d + 1

    def far(d: Tensor) -> Tensor:  # at distance 1 + d
        d = d + 1
        return ((d * c - 5 * c) * d + 8 * c) * d - 4 * c

    return [(low - 1, far(part)), (low, near(part)), (low + 1, near(rest)), (low + 2, far(rest))]


def _reflected(at: Tensor, low: float, high: float) -> Tensor:
    """Folded into [low, high]: a triangle wave."""
    span = high - low
    if span == 0:
        return e.clamp(at, low, high)
    distance = e.absolute(at - low)
    turns = e.floor(distance * (1 / (2 * span)))
    return span + low - e.absolute(distance - turns * (2 * span) - span)
