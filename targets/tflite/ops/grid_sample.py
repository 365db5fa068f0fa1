"""GridSample: one GATHER a tap over the image's pixels, weighted and added.

Everything is a matrix [points, 1] or [points, channels], points counted over batch and output places, so that the
arithmetic of the coordinates runs on XNNPACK and every GATHER fetches whole pixels.

    grid --> coordinate an axis --> padding --> first tap, share of each tap
    image [N * H * W, C] --> GATHER(batch, row, column of a tap) --> MUL(share) --> ADD ...

ONNX operator GridSample-22; the order of the operations is that of ONNX Runtime, which decides ties of mode nearest.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgeport.targets.tflite.attributes import int_attr, string_attr
from edgeport.targets.tflite.builder import Tensor
from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.layout import channels_last
from edgeport.targets.tflite.ops.elementwise import cast
from edgeport.targets.tflite.pieces import shaped
from edgeport.targets.tflite.registry import Refused, lowers

_MODES = {
    "linear": "linear",
    "bilinear": "linear",
    "nearest": "nearest",
    "cubic": "cubic",
    "bicubic": "cubic",
}
_EXACT = 1 << 24
"""Integers up to here are exact in float32, in which the pixels are counted."""
_CUBIC = -0.75
"""The coefficient that the specification fixes (Keys 1981, eq. 15)."""


@dataclass(frozen=True)
class _Arithmetic:
    """Float operators on tensors and numbers."""

    ctx: Context
    like: ir.Value

    def binary(self, code: str, a: Tensor | float, b: Tensor | float) -> Tensor:
        """ADD, SUB, MUL, MAXIMUM or MINIMUM."""
        operands = [x if isinstance(x, Tensor) else self.ctx.number(x) for x in (a, b)]
        table = {"MAXIMUM": "MaximumMinimum", "MINIMUM": "MaximumMinimum"}.get(code, code.capitalize())
        return self.ctx.step(self.like, code, operands, f"{table}Options")

    def unary(self, code: str, a: Tensor) -> Tensor:
        """FLOOR, ROUND, ABS or RELU."""
        options = "AbsOptions" if code == "ABS" else None
        return self.ctx.step(self.like, code, [a], options)

    def clipped(self, a: Tensor, low: float, high: float) -> Tensor:
        """Between two bounds."""
        return self.binary("MINIMUM", self.binary("MAXIMUM", a, low), high)

    def kept_inside(self, share: Tensor | None, at: Tensor, bounded: Tensor) -> Tensor:
        """The share, 0 where clipping has moved the whole number `at`."""
        distance = self.unary("ABS", self.binary("SUB", at, bounded))
        inside = self.unary("RELU", self.binary("SUB", 1.0, distance))
        return inside if share is None else self.binary("MUL", share, inside)


Tap = tuple[Tensor, Tensor | None]
"""Index along an axis and share of the pixel there (None: all), both [points, 1] float32."""


@lowers("GridSample", attributes=("align_corners", "mode", "padding_mode"), inputs=2)
def grid_sample(ctx: Context, node: ir.Node) -> None:
    """Taps of every axis, combined."""
    x, grid, y = node.inputs[0], node.inputs[1], node.outputs[0]
    assert x is not None
    assert grid is not None
    mode = _MODES.get(string_attr(node, "mode", "linear"))
    padding = string_attr(node, "padding_mode", "zeros")
    if mode is None or padding not in ("zeros", "border", "reflection"):
        raise Refused(f"mode={string_attr(node, 'mode', 'linear')!r} with padding_mode={padding!r} is unknown")
    rank, shape, out = ctx.rank(x), ctx.shape(x), ctx.shape(y)
    if rank not in (4, 5) or (rank == 5 and mode == "cubic"):
        raise Refused(f"mode {mode} over {rank - 2} spatial dimensions is not supported")
    if ctx.dtype(x) != "float32" or ctx.dtype(grid) != "float32":
        raise Refused(f"GridSample of {ctx.dtype(x)} is not supported", "cast to float32")
    batch, sizes = shape[0], shape[2:]
    if batch * math.prod(sizes) > _EXACT:
        raise Refused(f"an image of {math.prod(sizes)} pixels is too large", code="unsupported-shape")
    points = batch * math.prod(out[2:])
    arithmetic = _Arithmetic(ctx, y)
    flat = shaped(ctx, y, ctx.read(node, grid), (points, rank - 2))
    aligned = bool(int_attr(node, "align_corners", 0))
    taps = []
    for axis, size in enumerate(sizes):
        column = _column(ctx, y, flat, rank - 3 - axis)  # the grid names the last axis first
        at = _coordinate(arithmetic, column, size, aligned)
        taps.append(_taps(arithmetic, at, size, mode, padding, aligned))
    layout = channels_last(rank)
    pixels = shaped(ctx, y, ctx.read(node, x, layout), (batch * math.prod(sizes), shape[1]))
    first = np.repeat(np.arange(batch, dtype=np.float32), points // batch)[:, None] * math.prod(sizes)
    base = ctx.builder.constant(f"{y.name}/images", first) if batch > 1 else None
    found = [_fetched(arithmetic, pixels, base, combination, sizes) for combination in itertools.product(*taps)]
    total = functools.reduce(lambda a, b: arithmetic.binary("ADD", a, b), found)
    ctx.reshape(total, ctx.output(node, layout))


def _column(ctx: Context, y: ir.Value, flat: Tensor, index: int) -> Tensor:
    where = [ctx.ints("begin", (0, index)), ctx.ints("size", (flat.shape[0], 1))]
    return ctx.step(y, "SLICE", [flat, *where], "SliceOptions", (flat.shape[0], 1))


def _coordinate(a: _Arithmetic, g: Tensor, size: int, aligned: bool) -> Tensor:
    """From [-1, 1] to pixels."""
    if aligned:  # (g + 1) / 2 * (size - 1)
        return a.binary("MUL", a.binary("MUL", a.binary("ADD", g, 1.0), 0.5), float(size - 1))
    return a.binary("MUL", a.binary("SUB", a.binary("MUL", a.binary("ADD", g, 1.0), float(size)), 1.0), 0.5)


def _taps(a: _Arithmetic, at: Tensor, size: int, mode: str, padding: str, aligned: bool) -> list[Tap]:
    last = float(size - 1)
    if mode == "nearest":
        at = a.unary("ROUND", at)
    if padding == "border" and mode != "cubic":  # of which every tap is moved inside by itself
        at = a.clipped(at, 0.0, last)
    elif padding == "reflection":
        at = _reflected(a, at, 0.0 if aligned else -0.5, last if aligned else last + 0.5)
    if mode == "nearest":
        whole: list[Tap] = [(a.unary("ROUND", at) if padding == "reflection" else at, None)]
    else:
        low = a.unary("FLOOR", at)
        whole = _linear(a, low, at) if mode == "linear" else _cubic(a, low, at)
    result: list[Tap] = []
    for index, share in whole:
        if padding == "reflection" and mode == "cubic":
            index = _reflected(a, index, 0.0 if aligned else -0.5, last if aligned else last + 0.5)
        bounded = a.clipped(index, 0.0, last)
        result.append((bounded, a.kept_inside(share, index, bounded) if padding == "zeros" else share))
    return result


def _linear(a: _Arithmetic, low: Tensor, at: Tensor) -> list[Tap]:
    part = a.binary("SUB", at, low)
    return [(low, a.binary("SUB", 1.0, part)), (a.binary("ADD", low, 1.0), part)]


def _cubic(a: _Arithmetic, low: Tensor, at: Tensor) -> list[Tap]:
    part = a.binary("SUB", at, low)
    rest = a.binary("SUB", 1.0, part)
    c = _CUBIC

    def near(d: Tensor) -> Tensor:  # ((c + 2) d - (c + 3)) d^2 + 1
        return _polynomial(a, d, [c + 2, -(c + 3), 0.0, 1.0])

    def far(d: Tensor) -> Tensor:  # at distance 1 + d
        return _polynomial(a, a.binary("ADD", d, 1.0), [c, -5 * c, 8 * c, -4 * c])

    shares = [far(part), near(part), near(rest), far(rest)]
    return [(a.binary("ADD", low, float(offset)), share) for offset, share in zip((-1, 0, 1, 2), shares, strict=True)]


def _polynomial(a: _Arithmetic, x: Tensor, coefficients: Sequence[float]) -> Tensor:
    """Horner's scheme, the highest power first."""
    result = a.binary("MUL", x, coefficients[0])
    for coefficient in coefficients[1:-1]:
        shifted = a.binary("ADD", result, coefficient) if coefficient else result
        result = a.binary("MUL", shifted, x)
    return a.binary("ADD", result, coefficients[-1])


def _reflected(a: _Arithmetic, at: Tensor, low: float, high: float) -> Tensor:
    """Folded into [low, high]: a triangle wave."""
    span = high - low
    if span == 0.0:
        return a.clipped(at, low, high)
    distance = a.unary("ABS", a.binary("SUB", at, low))
    turns = a.unary("FLOOR", a.binary("MUL", distance, 1 / (2 * span)))
    rest = a.binary("SUB", distance, a.binary("MUL", turns, 2 * span))
    back = a.unary("ABS", a.binary("SUB", rest, span))
    return a.binary("SUB", span + low, back)


def _fetched(a: _Arithmetic, pixels: Tensor, base: Tensor | None, taps: Sequence[Tap], sizes: Sequence[int]) -> Tensor:
    """[points, channels]: the pixels where one tap of each axis crosses, times the product of their shares."""
    place: Tensor | None = None
    for (index, _), size in zip(taps, sizes, strict=True):
        place = index if place is None else a.binary("ADD", a.binary("MUL", place, float(size)), index)
    assert place is not None
    place = place if base is None else a.binary("ADD", place, base)
    points = place.shape[0]
    where = cast(a.ctx, a.like, shaped(a.ctx, a.like, place, (points,)), "int32")  # XNNPACK reshapes floats only
    shape = (points, pixels.shape[1])
    found = a.ctx.step(a.like, "GATHER", [pixels, where], "GatherOptions", shape, axis=0, batchDims=0)
    shares = [share for _, share in taps if share is not None]
    if not shares:
        return found
    return a.binary("MUL", found, functools.reduce(lambda p, q: a.binary("MUL", p, q), shares))
