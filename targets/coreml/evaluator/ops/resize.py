"""Images resized on a regular grid, one dimension after the other.

What the documentation leaves open about the nearest neighbour is taken from the results that Apple's own tests expect
of devices: `upsample_nearest_neighbor` reads element floor(i * in / out), `resize_nearest_neighbor` and iOS 17's
`resize` floor((i + 0.5) * in / out). Anything beyond that is refused.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edgeport.targets.coreml.evaluator.call import Call
from edgeport.targets.coreml.evaluator.registry import Array, EvaluationError, evaluates

Points = NDArray[np.float64]


def grid_points(mode: str, size: int, count: int) -> Points:
    """Where on a dimension of `size` elements the `count` samples of a sampling mode stand, in units of elements."""
    index = np.arange(count, dtype=np.float64)
    if mode == "DEFAULT":
        points = index * size / count
    elif mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        points = index * (size - 1) / max(count - 1, 1)
        if count == 1 and mode == "ALIGN_CORNERS":
            points += (size - 1) / 2
    elif mode == "UNALIGN_CORNERS":
        points = (index + 0.5) * size / count - 0.5
    elif mode == "OFFSET_CORNERS":
        points = (index + 0.5) * max(1, size - 1) / count
    else:
        raise EvaluationError(f"unknown sampling_mode {mode!r}")
    return np.clip(points, 0, size - 1)


def interpolate(x: Array, axis: int, points: Points) -> Array:
    """Linear interpolation along one dimension at points inside of it."""
    low = np.floor(points).astype(np.int64)
    high = np.minimum(low + 1, x.shape[axis] - 1)
    share = (points - low).astype(np.float32).reshape([-1 if index == axis else 1 for index in range(x.ndim)])
    if not share.any():
        return x.take(low, axis)
    result: Array = x.take(low, axis) * (1 - share)
    result += x.take(high, axis) * share
    return result


def _linear(x: Array, sizes: tuple[int, ...], points: Callable[[int, int], Points]) -> Array:
    """Interpolates the last dimensions of `x` to `sizes`."""
    for axis, size in enumerate(sizes, x.ndim - len(sizes)):
        x = interpolate(x, axis, points(x.shape[axis], size))
    return x


def _nearest(x: Array, sizes: tuple[int, ...], shift: float) -> Array:
    """Element floor((i + shift) * in / out) of the last dimensions."""
    for axis, size in enumerate(sizes, x.ndim - len(sizes)):
        index = np.floor((np.arange(size) + shift) * x.shape[axis] / size).astype(np.int64)
        x = x.take(np.minimum(index, x.shape[axis] - 1), axis)
    return x


def _target(call: Call, x: Array) -> tuple[int, int]:
    height, width = call.integer("target_size_height", 1), call.integer("target_size_width", 1)
    return _checked(call, x, height, width)


def _checked(call: Call, x: Array, height: int, width: int) -> tuple[int, int]:
    if x.ndim < 3 or min(height, width) < 1:
        raise EvaluationError(f"an image of shape {list(x.shape)} to {height} x {width}")
    call.room((*x.shape[:-2], height, width))
    return height, width


@evaluates("resize_bilinear")
def resize_bilinear(call: Call) -> Array:
    """Interpolates the last two dimensions on the grid of `sampling_mode`."""
    x, mode = call.array("x"), call.text("sampling_mode", "DEFAULT")
    return _linear(x, _target(call, x), lambda size, count: grid_points(mode, size, count))


@evaluates("resize_nearest_neighbor")
def resize_nearest_neighbor(call: Call) -> Array:
    """The element under the middle of each output element."""
    x = call.array("x")
    return _nearest(x, _target(call, x), 0.5)


def _scaled(call: Call, x: Array) -> tuple[int, int]:
    factors = call.number("scale_factor_height", 1), call.number("scale_factor_width", 1)
    height, width = (int(np.floor(factor * size)) for factor, size in zip(factors, x.shape[-2:], strict=True))
    return _checked(call, x, height, width)


@evaluates("upsample_bilinear")
def upsample_bilinear(call: Call) -> Array:
    """Interpolates by factors; the spacing follows from the sizes, as with PyTorch's recompute_scale_factor."""
    x = call.array("x")
    aligned = call.flag("align_corners", True)
    centred = call.flag("half_pixel_centers", not aligned)
    if aligned and centred:
        raise EvaluationError("align_corners and half_pixel_centers exclude each other")
    mode = "STRICT_ALIGN_CORNERS" if aligned else "UNALIGN_CORNERS" if centred else "DEFAULT"
    return _linear(x, _scaled(call, x), lambda size, count: grid_points(mode, size, count))


@evaluates("upsample_nearest_neighbor")
def upsample_nearest_neighbor(call: Call) -> Array:
    """Element floor(i * in / out); refused where floor(i / factor) is another one."""
    x = call.array("x")
    height, width = _scaled(call, x)
    for name, size, axis in (("scale_factor_height", height, -2), ("scale_factor_width", width, -1)):
        by_size = np.arange(size) * x.shape[axis] // size
        # Converters add up to 1e-4 to the wanted size, so that rounding a factor does not lose the last element.
        by_factor = np.floor(np.arange(size) / call.number(name, 1) + 1e-3)
        if not np.array_equal(by_size, by_factor):
            raise EvaluationError(f"which element is nearest for {name} {call.number(name, 1)} is not documented")
    return _nearest(x, (height, width), 0.0)


@evaluates("resize")
def resize(call: Call) -> Array:
    """iOS 17: resizes the last `resized_dims` dimensions to the last entries of `shape`; 0 keeps a size."""
    x, shape, count = call.array("x"), call.ints("shape"), call.integer("resized_dims")
    interpolation, mode = call.text("interpolation_mode", "LINEAR"), call.text("sampling_mode", "DEFAULT")
    if not 0 <= count <= len(shape) <= x.ndim or min(shape, default=0) < 0:
        raise EvaluationError(f"{count} dimensions of {list(x.shape)} to {list(shape)}")
    kept = x.ndim - count
    sizes = tuple(wanted or size for wanted, size in zip(shape[len(shape) - count :], x.shape[kept:], strict=True))
    call.room((*x.shape[:kept], *sizes))
    if interpolation == "LINEAR":
        if x.dtype.kind != "f":
            raise EvaluationError("how interpolated integers are rounded is not documented")
        return _linear(x, sizes, lambda size, count: grid_points(mode, size, count))
    if interpolation != "NEAREST_NEIGHBOR":
        raise EvaluationError(f"unknown interpolation_mode {interpolation!r}")
    if mode == "DEFAULT":
        return _nearest(x, sizes, 0.5)
    for axis, size in enumerate(sizes, kept):
        points = grid_points(mode, x.shape[axis], size)
        if (np.abs(points - np.rint(points)) > 1e-6).any():
            raise EvaluationError(f"which element is nearest between two with sampling_mode {mode!r} is not documented")
        x = x.take(np.rint(points).astype(np.int64), axis)
    return x
