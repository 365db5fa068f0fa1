"""Interpolation matrices: what ONNX Resize defines for each axis.

https://onnx.ai/onnx/operators/onnx__Resize.html, its reference implementation op_resize.py for the order of operations.
Coordinates are computed in float32, which decides ties.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import constant, get_float, get_int, get_ints, get_str, input_of, ints
from edgeport.sample import Array
from edgeport.targets.lowering import Refused

RESIZE_ATTRIBUTES = (
    "antialias",
    "axes",
    "coordinate_transformation_mode",
    "cubic_coeff_a",
    "exclude_outside",
    "extrapolation_value",
    "keep_aspect_ratio_policy",
    "mode",
    "nearest_mode",
)
"""What a Resize may have; `extrapolation_value` is for the rows of `resize_matrices` that are zero."""

_TIE = 1e-6
"""How near a coordinate must be to a tie to be one. Of 7 pixels made 8 one is at 3.4999998 in float32, and ONNX Runtime
takes that for 3.5 (measured over all sizes up to 64 by 90)."""


def resize_matrices(node: ir.Node, shape: Sequence[int], out_shape: Sequence[int]) -> dict[int, Array]:
    """Interpolation matrices [out, in] of a Resize, for the axes that it resamples.

    Args:
        node: the Resize.
        shape: of its input.
        out_shape: of its output.

    Raises:
        Refused: a mode is unknown, or the region is computed at run time.
    """
    axes = [a % len(shape) for a in get_ints(node, "axes") or range(len(shape))]
    given = constant(input_of(node, 2))
    coordinates = get_str(node, "coordinate_transformation_mode", "half_pixel")
    if given is not None and given.size:
        scales = dict(zip(axes, (float(s) for s in given.reshape(-1)), strict=True))
    else:
        scales = _scales_of_sizes(node, axes, shape, out_shape)
    crops = dict.fromkeys(axes, (0.0, 1.0))
    if coordinates == "tf_crop_and_resize":
        roi = constant(input_of(node, 1))
        if roi is None or roi.size != 2 * len(axes):
            raise Refused("roi must be a constant with a start and an end for every axis", "make it a constant")
        starts, ends = roi.reshape(2, len(axes)).astype(float).tolist()
        crops = dict(zip(axes, zip(starts, ends, strict=True), strict=True))
    result = {}
    for axis, scale in scales.items():
        if crops[axis] != (0.0, 1.0) and out_shape[axis] == shape[axis]:  # there ONNX Runtime ignores the crop
            raise Refused("a crop that leaves the size as it is has no agreed meaning", "crop with Slice instead")
        if out_shape[axis] == shape[axis] and scale == 1.0:
            continue
        result[axis] = axis_matrix(
            shape[axis],
            out_shape[axis],
            scale,
            mode=get_str(node, "mode", "nearest"),
            coordinates=coordinates,
            rounding=get_str(node, "nearest_mode", "round_prefer_floor"),
            cubic_a=get_float(node, "cubic_coeff_a", -0.75),
            exclude_outside=bool(get_int(node, "exclude_outside", 0)),
            antialias=bool(get_int(node, "antialias", 0)),
            crop=crops[axis],
        )
    return result


def _scales_of_sizes(
    node: ir.Node, axes: Sequence[int], shape: Sequence[int], out_shape: Sequence[int]
) -> dict[int, float]:
    """Scales where the output's sizes are given: one for all axes unless the image is stretched to them."""
    policy = get_str(node, "keep_aspect_ratio_policy", "stretch")
    if policy == "stretch":
        return {a: out_shape[a] / shape[a] for a in axes}
    sizes = ints(input_of(node, 3))
    if policy not in ("not_larger", "not_smaller") or sizes is None:
        raise Refused(f"keep_aspect_ratio_policy={policy!r} is unknown")
    wanted = [size / shape[a] for a, size in zip(axes, sizes, strict=True)]
    return dict.fromkeys(axes, min(wanted) if policy == "not_larger" else max(wanted))


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
        adjust = np.float32(out) / (s * np.float32(size))
        offset = np.float32(size / 2) * (np.float32(1) - adjust)
        return np.asarray(offset + (i + np.float32(0.5)) / s - np.float32(0.5))
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
        return np.asarray(np.ceil(_with_ties(x) - np.float32(0.5)))
    if mode == "round_prefer_ceil":
        return np.asarray(np.floor(_with_ties(x) + np.float32(0.5)))
    if mode == "floor":
        return np.asarray(np.floor(x))
    if mode == "ceil":
        return np.asarray(np.ceil(x))
    raise Refused(f"nearest_mode={mode!r} is unknown")


def _with_ties(x: Array) -> Array:
    """Coordinates, of which those that float32's rounding alone keeps from being a tie are one."""
    half = np.floor(x) + np.float32(0.5)
    return np.asarray(np.where(np.abs(x - half) < _TIE, half, x))


def _kernel(distance: Array, mode: str, a: float) -> Array:
    d = np.abs(distance)
    if mode == "linear":
        return np.asarray(np.maximum(1 - d, 0))
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((d - 5) * d + 8) * d * a - 4 * a
    return np.asarray(np.where(d <= 1, near, np.where(d < 2, far, 0)))
