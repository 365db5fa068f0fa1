"""Interpolation matrices: what ONNX Resize defines for one axis, and what TFLite's kernels compute.

ONNX: https://onnx.ai/onnx/operators/onnx__Resize.html, its reference implementation op_resize.py for the order of
operations. TFLite: reference kernels resize_nearest_neighbor.h and resize_bilinear.h. Coordinates are computed in
float32 by all of them, which decides ties.
"""

from __future__ import annotations

import numpy as np

from edgeport.sample import Array
from edgeport.targets.tflite.registry import Refused


def axis_matrix(
    size: int,
    out: int,
    scale: float,
    *,
    mode: str,
    coordinates: str,
    rounding: str,
    cubic_a: float,
    exclude_outside: bool,
    antialias: bool,
    crop: tuple[float, float] = (0.0, 1.0),
) -> Array:
    """[out, size] matrix of ONNX Resize along one axis.

    Args:
        size: input length.
        out: output length.
        scale: output length over input length as given (not always out / size).
        mode: nearest, linear or cubic.
        coordinates: coordinate_transformation_mode.
        rounding: nearest_mode.
        cubic_a: coefficient of the cubic kernel (Keys 1981, eq. 15).
        exclude_outside: weights outside of the data are dropped and the rest normalized.
        antialias: the kernel is widened by 1/scale when shrinking.
        crop: the axis' part of `roi`, for tf_crop_and_resize; rows that read outside of the data are zero there.

    Raises:
        Refused: an unknown mode.
    """
    if mode not in ("nearest", "linear", "cubic"):
        raise Refused(f"mode={mode!r} is unknown")
    cropped = coordinates == "tf_crop_and_resize"
    if cropped and antialias:
        raise Refused("antialias with coordinate_transformation_mode='tf_crop_and_resize' is not supported")
    x = _cropped(size, out, crop) if cropped else _coordinates(size, out, scale, coordinates)
    inside = (x >= 0) & (x <= size - 1) if cropped else np.ones(out, bool)
    matrix = np.zeros((out, size))
    rows = np.arange(out)
    if mode == "nearest":
        matrix[rows, np.clip(_rounded(x, rounding), 0, size - 1).astype(int)] = inside
        return matrix
    x = np.where(inside, x, 0)
    stretch = min(scale, 1.0) if antialias else 1.0
    reach = (1.0 if mode == "linear" else 2.0) / stretch
    if mode == "linear" and not antialias:
        x = np.clip(x, 0, size - 1)
    first = np.floor(x - reach).astype(int)
    for tap in range(int(np.ceil(2 * reach)) + 2):
        index = first + tap
        weight = _kernel((index - x) * stretch, mode, cubic_a)
        outside = (index < 0) | (index >= size)
        if exclude_outside:
            weight = np.where(outside, 0, weight)
        np.add.at(matrix, (rows, np.clip(index, 0, size - 1)), weight)
    return np.asarray(matrix / matrix.sum(1, keepdims=True) * inside[:, None])


def _coordinates(size: int, out: int, scale: float, mode: str) -> Array:
    i = np.arange(out, dtype=np.float32)
    s = np.float32(scale)
    if mode == "half_pixel":
        return np.asarray((i + np.float32(0.5)) / s - np.float32(0.5))
    if mode == "half_pixel_symmetric":
        adjust = np.float32(out / (scale * size))
        centre = size / 2
        offset = centre * (1 - adjust)
        return np.asarray(np.float32(offset) + (i + np.float32(0.5)) / s - np.float32(0.5))
    if mode == "pytorch_half_pixel":
        return np.asarray((i + np.float32(0.5)) / s - np.float32(0.5) if out > 1 else np.zeros_like(i))
    if mode == "align_corners":
        if abs(scale * size - out) > 1e-3:
            raise Refused("align_corners with a scale that gives no whole size is not supported", "give sizes instead")
        return np.asarray(i * np.float32(size - 1) / np.float32(out - 1) if out > 1 else np.zeros_like(i))
    if mode == "asymmetric":
        return np.asarray(i / s)
    raise Refused(f"coordinate_transformation_mode={mode!r} is not supported")


def _cropped(size: int, out: int, crop: tuple[float, float]) -> Array:
    start, end, last = np.float32(crop[0]), np.float32(crop[1]), np.float32(size - 1)
    if out == 1:
        return np.asarray([np.float32(0.5) * (start + end) * last])
    return np.asarray(start * last + np.arange(out, dtype=np.float32) * (end - start) * last / np.float32(out - 1))


def _rounded(x: Array, mode: str) -> Array:
    if mode == "round_prefer_floor":
        return np.asarray(np.ceil(x - np.float32(0.5)))
    if mode == "round_prefer_ceil":
        return np.asarray(np.floor(x + np.float32(0.5)))
    if mode == "floor":
        return np.asarray(np.floor(x))
    if mode == "ceil":
        return np.asarray(np.ceil(x))
    raise Refused(f"nearest_mode={mode!r} is unknown")


def _kernel(distance: Array, mode: str, a: float) -> Array:
    d = np.abs(distance)
    if mode == "linear":
        return np.asarray(np.maximum(1 - d, 0))
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((d - 5) * d + 8) * d * a - 4 * a
    return np.asarray(np.where(d <= 1, near, np.where(d < 2, far, 0)))


def tflite_matrix(size: int, out: int, mode: str, alignCorners: bool, halfPixelCenters: bool) -> Array:
    """[out, size] matrix of RESIZE_NEAREST_NEIGHBOR or RESIZE_BILINEAR (mode linear) along one axis."""
    i = np.arange(out, dtype=np.float32)
    scale = np.float32((size - 1) / (out - 1)) if alignCorners and out > 1 else np.float32(size) / np.float32(out)
    matrix = np.zeros((out, size))
    rows = np.arange(out)
    if mode == "nearest":
        x = (i + np.float32(0.5 if halfPixelCenters else 0)) * scale
        index = np.floor(x + np.float32(0.5)) if alignCorners else np.floor(x)
        matrix[rows, np.clip(index, 0, size - 1).astype(int)] = 1
        return matrix
    x = (i + np.float32(0.5)) * scale - np.float32(0.5) if halfPixelCenters else i * scale
    low = np.maximum(np.floor(x), 0).astype(int)
    high = np.minimum(low + 1, size - 1)
    fraction = np.clip(x - low, 0, 1)
    np.add.at(matrix, (rows, np.minimum(low, size - 1)), 1 - fraction)
    np.add.at(matrix, (rows, high), fraction)
    return matrix
