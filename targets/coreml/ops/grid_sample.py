"""GridSample: `resample` where Core ML documents just that, else one `gather` a tap over the image's pixels.

    grid --> coordinate an axis --> padding --> first tap, share of each tap
    image [N * H * W, C] --> gather(batch, row, column of a tap) --> mul(share) --> add ...

Coordinates are computed in float32 in any program: float16 knows 1/8 of a pixel at 200. The order of the operations is
that of ONNX Runtime, which decides ties of mode nearest. ONNX operator GridSample-22.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_int, get_str
from edgeport.targets.coreml.context import Context
from edgeport.targets.coreml.mil import Var
from edgeport.targets.coreml.registry import Refused, lowers

_MODES = {
    "linear": "linear",
    "bilinear": "linear",
    "nearest": "nearest",
    "cubic": "cubic",
    "bicubic": "cubic",
}
_PADDING = {"zeros": "constant", "border": "border", "reflection": "reflection"}
"""As `resample` calls it."""
_CUBIC = -0.75
"""The coefficient that the specification fixes (Keys 1981, eq. 15)."""

Tap = tuple[Var, Var | None]
"""Index along an axis and share of the pixel there (None: all), both [points] float32."""


@lowers("GridSample", attributes=("align_corners", "mode", "padding_mode"), inputs=2)
def grid_sample(ctx: Context, node: ir.Node) -> None:
    """`resample` for planes in mode linear: which pixel its mode nearest takes halfway is not documented."""
    x, grid = node.inputs[0], node.inputs[1]
    assert x is not None
    assert grid is not None
    mode, padding = _MODES.get(get_str(node, "mode", "linear")), get_str(node, "padding_mode", "zeros")
    if mode is None or padding not in _PADDING:
        raise Refused(f"mode={get_str(node, 'mode', 'linear')!r} with padding_mode={padding!r} is unknown")
    rank, aligned = ctx.rank(x), bool(get_int(node, "align_corners", 0))
    if rank not in (4, 5) or (rank == 5 and mode == "cubic"):
        raise Refused(f"mode {mode} over {rank - 2} spatial dimensions is not supported")
    if ctx.dtype(x) != "float32" or ctx.dtype(grid) != "float32":
        raise Refused(f"GridSample of {ctx.dtype(x)} is not supported", "cast to float32")
    width, ctx.width = ctx.width, "float32"
    points = ctx.read(grid)
    ctx.width = width
    if rank == 5 or mode != "linear":
        _by_taps(ctx, node, points, _Sampling(mode, padding, aligned))
        return
    kind = "symmetric" if padding == "reflection" and not aligned else _PADDING[padding]
    out = ctx.emit(
        "resample",
        x=ctx.read(x),
        coordinates=points,
        sampling_mode="bilinear",
        padding_mode=kind,
        padding_value=ctx.number(0),
        coordinates_mode="normalized_minus_one_to_one",
        align_corners=np.bool_(aligned),
    )
    ctx.bind(node.outputs[0], out)


@dataclass(frozen=True)
class _Sampling:
    mode: str
    padding: str
    aligned: bool


@dataclass(frozen=True)
class _Float32:
    """Arithmetic in float32, on values and numbers."""

    ctx: Context

    def __call__(self, kind: str, a: Var | float, b: Var | float) -> Var:
        """add, sub, mul, maximum or minimum."""
        x, y = (np.float32(v) if isinstance(v, float) else v for v in (a, b))
        return self.ctx.emit(kind, x=x, y=y)

    def unary(self, kind: str, a: Var) -> Var:
        """floor, round, abs or relu."""
        return self.ctx.emit(kind, x=a)

    def clipped(self, a: Var, low: float, high: float) -> Var:
        """Between two bounds."""
        return self("minimum", self("maximum", a, low), high)

    def kept_inside(self, share: Var | None, at: Var, bounded: Var) -> Var:
        """The share, 0 where clipping has moved the whole number `at`."""
        inside = self.ctx.cast(self.ctx.emit("equal", x=at, y=bounded), "float32")
        return inside if share is None else self("mul", share, inside)


def _by_taps(ctx: Context, node: ir.Node, grid: Var, how: _Sampling) -> None:
    """Taps of every axis, combined."""
    x, y = node.inputs[0], node.outputs[0]
    assert x is not None
    shape, out, f = ctx.shape(x), ctx.shape(y), _Float32(ctx)
    batch, channels, sizes = shape[0], shape[1], shape[2:]
    count, rank = batch * math.prod(out[2:]), len(shape)
    flat = ctx.reshape(grid, (count, rank - 2))
    taps = []
    for axis, size in enumerate(sizes):
        column = rank - 3 - axis  # the grid names the last axis first
        begin, ends = np.asarray([0, column], np.int32), np.asarray([count, 1], np.int32)
        one = ctx.reshape(ctx.emit("slice_by_size", x=flat, begin=begin, size=ends), (count,))
        taps.append(_taps(f, _coordinate(f, one, size, how.aligned), size, how))
    last = (0, *range(2, rank), 1)
    pixels = ctx.reshape(ctx.transpose(ctx.read(x), last), (batch * math.prod(sizes), channels))
    images = np.repeat(np.arange(batch), count // batch) * math.prod(sizes)
    base = images.astype(np.int32) if batch > 1 else None
    found = [_fetched(f, pixels, base, combination, sizes) for combination in itertools.product(*taps)]
    total = functools.reduce(lambda a, b: f("add", a, b), found)
    back = (0, rank - 1, *range(1, rank - 1))
    ctx.bind(y, ctx.transpose(ctx.reshape(total, (batch, *out[2:], channels)), back))


def _coordinate(f: _Float32, g: Var, size: int, aligned: bool) -> Var:
    """From [-1, 1] to pixels."""
    if aligned:  # (g + 1) / 2 * (size - 1)
        return f("mul", f("mul", f("add", g, 1.0), 0.5), float(size - 1))
    return f("mul", f("sub", f("mul", f("add", g, 1.0), float(size)), 1.0), 0.5)


def _taps(f: _Float32, at: Var, size: int, how: _Sampling) -> list[Tap]:
    last = float(size - 1)
    bounds = (0.0, last) if how.aligned else (-0.5, last + 0.5)
    if how.mode == "nearest":
        at = f.unary("round", at)
    if how.padding == "border" and how.mode != "cubic":  # of which every tap is moved inside by itself
        at = f.clipped(at, 0.0, last)
    elif how.padding == "reflection":
        at = _reflected(f, at, *bounds)
    if how.mode == "nearest":
        whole: list[Tap] = [(f.unary("round", at) if how.padding == "reflection" else at, None)]
    else:
        low = f.unary("floor", at)
        whole = _linear(f, low, at) if how.mode == "linear" else _cubic(f, low, at)
    result: list[Tap] = []
    for index, share in whole:
        if how.padding == "reflection" and how.mode == "cubic":
            index = _reflected(f, index, *bounds)
        bounded = f.clipped(index, 0.0, last)
        result.append((bounded, f.kept_inside(share, index, bounded) if how.padding == "zeros" else share))
    return result


def _linear(f: _Float32, low: Var, at: Var) -> list[Tap]:
    part = f("sub", at, low)
    return [(low, f("sub", 1.0, part)), (f("add", low, 1.0), part)]


def _cubic(f: _Float32, low: Var, at: Var) -> list[Tap]:
    part = f("sub", at, low)
    rest = f("sub", 1.0, part)
    c = _CUBIC

    def near(d: Var) -> Var:  # ((c + 2) d - (c + 3)) d^2 + 1
        return _polynomial(f, d, [c + 2, -(c + 3), 0.0, 1.0])

    def far(d: Var) -> Var:  # at distance 1 + d
        return _polynomial(f, f("add", d, 1.0), [c, -5 * c, 8 * c, -4 * c])

    shares = [far(part), near(part), near(rest), far(rest)]
    return [(f("add", low, float(offset)), share) for offset, share in zip((-1, 0, 1, 2), shares, strict=True)]


def _polynomial(f: _Float32, x: Var, coefficients: Sequence[float]) -> Var:
    """Horner's scheme, the highest power first."""
    result: Any = coefficients[0]
    for coefficient in coefficients[1:]:
        result = f("mul", result, x)
        result = f("add", result, coefficient) if coefficient else result
    return result


def _reflected(f: _Float32, at: Var, low: float, high: float) -> Var:
    """Folded into [low, high]: a triangle wave."""
    span = high - low
    if span == 0.0:
        return f.clipped(at, low, high)
    distance = f.unary("abs", f("sub", at, low))
    turns = f.unary("floor", f("mul", distance, 1 / (2 * span)))
    rest = f("sub", distance, f("mul", turns, 2 * span))
    back = f.unary("abs", f("sub", rest, span))
    return f("sub", span + low, back)


def _fetched(f: _Float32, pixels: Var, base: Any, taps: Sequence[Tap], sizes: Sequence[int]) -> Var:
    """[points, channels]: the pixels where one tap of each axis crosses, times the product of their shares."""
    place: Any = None
    for (index, _), size in zip(taps, sizes, strict=True):
        whole = f.ctx.cast(index, "int32")
        if place is not None:
            whole = f.ctx.emit("add", x=f.ctx.emit("mul", x=place, y=np.int32(size)), y=whole)
        place = whole
    place = place if base is None else f.ctx.emit("add", x=place, y=base)
    found = f.ctx.emit("gather", x=pixels, indices=place, axis=np.int32(0))
    shares = [share for _, share in taps if share is not None]
    if not shares:
        return found
    share = functools.reduce(lambda p, q: f("mul", p, q), shares)
    column = f.ctx.reshape(share, (share.shape[0], 1))
    return f("mul", found, f.ctx.cast(column, f.ctx.width))
