"""Images sampled at points of their own: resample, affine, crop_resize."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeport.targets.coreml.evaluator.call import Call
from edgeport.targets.coreml.evaluator.ops.resize import interpolate
from edgeport.targets.coreml.evaluator.registry import Array, EvaluationError, evaluates

Points = NDArray[np.float64]


@evaluates("resample")
def resample(call: Call) -> Array:
    """Reads an image [n, c, h, w] at points [n, i, j, (x, y)], like PyTorch's grid_sample.

    Points beyond the image are treated as grid_sample treats them (`reflection` turns back at the outermost elements,
    `symmetric` at their outer edges), and the nearest element of a point halfway is the even one.
    """
    x, points = call.array("x"), call.array("coordinates").astype(np.float64)
    sampling, padding = call.text("sampling_mode"), call.text("padding_mode")
    filler, mode, aligned = call.number("padding_value"), call.text("coordinates_mode"), call.flag("align_corners")
    if x.ndim != 4 or points.ndim != 4 or points.shape[0] != x.shape[0] or points.shape[3] != 2:
        raise EvaluationError(f"an image of shape {list(x.shape)} at coordinates of shape {list(points.shape)}")
    column = _turned_back(_in_elements(points[..., 0], mode, aligned, x.shape[3]), padding, x.shape[3])
    row = _turned_back(_in_elements(points[..., 1], mode, aligned, x.shape[2]), padding, x.shape[2])
    if sampling == "nearest":
        return _gather(x, np.rint(row), np.rint(column), filler)
    if sampling != "bilinear":
        raise EvaluationError(f"unknown sampling_mode {sampling!r}")
    return _bilinear(x, row, column, filler)


def _in_elements(points: Points, mode: str, aligned: bool, size: int) -> Points:
    """Coordinates in units of elements, 0 the middle of the first."""
    if mode == "unnormalized":
        return points
    if mode not in ("normalized_minus_one_to_one", "normalized_zero_to_one"):
        raise EvaluationError(f"unknown coordinates_mode {mode!r}")
    share = (points + 1) / 2 if mode == "normalized_minus_one_to_one" else points
    return share * (size - 1) if aligned else share * size - 0.5


def _turned_back(points: Points, padding: str, size: int) -> Points:
    """Points beyond the image brought into it, unless they read the padding value."""
    if padding == "constant":
        return points
    if padding in ("reflection", "symmetric"):
        low, span = (0.0, size - 1.0) if padding == "reflection" else (-0.5, float(size))
        if span == 0:
            return np.zeros_like(points)
        along = np.abs(points - low)
        turns, rest = np.floor(along / span), np.fmod(along, span)
        points = np.where(turns % 2 == 0, rest, span - rest) + low
    elif padding != "border":
        raise EvaluationError(f"unknown padding_mode {padding!r}")
    return np.clip(points, 0, size - 1)


def _bilinear(x: Array, row: Points, column: Points, filler: float) -> Array:
    top, left = np.floor(row), np.floor(column)
    result = np.zeros((*x.shape[:2], *row.shape[1:]), np.float32)
    for down in (0, 1):
        for right in (0, 1):
            share = np.abs(1 - down - (row - top)) * np.abs(1 - right - (column - left))
            result += _gather(x, top + down, left + right, filler) * share[:, None].astype(np.float32)
    return result


def _gather(x: Array, row: Points, column: Points, filler: float) -> Array:
    """Elements [n, c, i, j] of an image at whole rows and columns [n, i, j]; `filler` outside of it."""
    height, width = x.shape[2:]
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    rows, columns = (np.where(inside, place, 0).astype(np.int64) for place in (row, column))
    images = np.arange(x.shape[0]).reshape(-1, 1, 1)
    picked = np.moveaxis(x.transpose(0, 2, 3, 1)[images, rows, columns], -1, 1)
    result: Array = np.where(inside[:, None], picked, np.float32(filler))
    return result


@evaluates("affine")
def affine(call: Call) -> Array:
    """Reads an image at the points that a linear map makes of the output's grid; both grids go from -1 to 1."""
    x, matrix = call.array("x"), call.array("transform_matrix").astype(np.float64)
    height, width = call.integer("output_height"), call.integer("output_width")
    modes = tuple(call.text(name).lower() for name in ("sampling_mode", "padding_mode", "coordinates_mode"))
    filler = call.number("padding_value")
    if modes != ("bilinear", "constant", "normalized_minus_one_to_one") or filler != 0:
        raise EvaluationError(f"modes {', '.join(modes)} with padding {filler} are not defined")
    if not call.flag("align_corners"):
        raise EvaluationError("align_corners=False is not defined")
    if x.ndim != 4 or matrix.shape not in ((1, 6), (x.shape[0], 6)) or min(height, width) < 1:
        raise EvaluationError(f"an image of shape {list(x.shape)} with matrices of shape {list(matrix.shape)}")
    call.room((*x.shape[:2], height, width))
    down, right = np.meshgrid(_unit_grid(height), _unit_grid(width), indexing="ij")
    a0, a1, a2, b0, b1, b2 = np.broadcast_to(matrix, (x.shape[0], 6)).T[:, :, None, None]
    column = _in_elements(a0 * right + a1 * down + a2, "normalized_minus_one_to_one", True, x.shape[3])
    row = _in_elements(b0 * right + b1 * down + b2, "normalized_minus_one_to_one", True, x.shape[2])
    return _bilinear(x, row, column, filler)


def _unit_grid(count: int) -> Points:
    if count == 1:
        raise EvaluationError("where a grid of one point stands between -1 and 1 is not documented")
    return np.linspace(-1, 1, count)


@evaluates("crop_resize")
def crop_resize(call: Call) -> Array:
    """Interpolates boxes of images to one size; points outside of an image read `pad_value`.

    Before iOS 17 `roi` [m, 1, 4 or 5, 1, 1] holds the boxes (5: the image's index first), the result has a dimension of
    images; from iOS 17 on `boxes` [m, 4] and `box_indices` do. Sampling modes whose grid the documentation defines by
    the box's size in elements, which for a box of fractional corners is not defined, are refused, like boxes given by
    their centre.
    """
    x = call.array("x")
    height, width = call.integer("target_height", 1), call.integer("target_width", 1)
    normalized, scale = call.flag("normalized_coordinates", False), call.number("spatial_scale", 1.0)
    order, mode = call.text("box_coordinate_mode", "CORNERS_HEIGHT_FIRST"), call.text("sampling_mode", "DEFAULT")
    filler = call.maybe("pad_value")
    if order not in ("CORNERS_HEIGHT_FIRST", "CORNERS_WIDTH_FIRST"):
        raise EvaluationError(f"boxes as {order!r}: where they end is not documented; use corners")
    with_images = call.has("roi")
    boxes, images = _rois(call, x) if with_images else _boxes(call)
    if x.ndim != 4 or min(height, width) < 1 or (images.size and not 0 <= images.min() <= images.max() < x.shape[0]):
        raise EvaluationError(f"boxes of images {images.reshape(-1).tolist()} of {list(x.shape)}")
    boxes = boxes.astype(np.float64) * scale
    if order == "CORNERS_WIDTH_FIRST":
        boxes = boxes[:, [1, 0, 3, 2]]
    if normalized:
        boxes = boxes * (np.array([x.shape[2], x.shape[3]] * 2) - 1)
    result = np.empty(call.room((*images.shape, x.shape[1], height, width)), np.float32)
    for place in np.ndindex(*images.shape):
        top, left, bottom, right = boxes[place[0]]
        rows, columns = _box_points(mode, top, bottom, height), _box_points(mode, left, right, width)
        result[place] = _crop(x[images[place]], rows, columns, filler)
    return result


def _boxes(call: Call) -> tuple[Array, Array]:
    boxes, images = call.array("boxes"), call.maybe("box_indices")
    if boxes.ndim != 2 or boxes.shape[1] != 4 or (images is not None and images.shape != boxes.shape[:1]):
        raise EvaluationError(f"boxes of shape {list(boxes.shape)}")
    return boxes, np.arange(boxes.shape[0]) if images is None else images.astype(np.int64)


def _rois(call: Call, x: Array) -> tuple[Array, Array]:
    """Boxes [m, 4] and the images [m, k] from which each is taken."""
    roi = call.array("roi")
    if roi.ndim != 5 or roi.shape[2] not in (4, 5) or roi.size != roi.shape[0] * roi.shape[2]:
        raise EvaluationError(f"a roi of shape {list(roi.shape)}")
    flat = roi.reshape(roi.shape[0], roi.shape[2])
    if flat.shape[1] == 5:
        return flat[:, 1:], flat[:, :1].astype(np.int64)
    return flat, np.broadcast_to(np.arange(x.shape[0]), (flat.shape[0], x.shape[0]))


def _box_points(mode: str, start: float, end: float, count: int) -> Points:
    index = np.arange(count, dtype=np.float64)
    if mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        if count == 1:
            return np.array([(start + end) / 2 if mode == "ALIGN_CORNERS" else start])
        return start + index * (end - start) / (count - 1)
    if mode == "OFFSET_CORNERS":
        return start + (index + 0.5) * max(1.0, end - start) / count
    raise EvaluationError(f"the grid of sampling_mode {mode!r} inside a box is not documented")


def _crop(image: Array, rows: Points, columns: Points, filler: Array | None) -> Array:
    height, width = image.shape[1:]
    # Corners computed in float32 may miss the last element by a rounding error; they still mean it.
    inside_rows = (rows >= -1e-4) & (rows <= height - 1 + 1e-4)
    inside_columns = (columns >= -1e-4) & (columns <= width - 1 + 1e-4)
    inside = inside_rows[:, None] & inside_columns
    if filler is None and not inside.all():
        filler = np.zeros((), np.float32)
    result = interpolate(image, 1, np.clip(rows, 0, height - 1))
    result = interpolate(result, 2, np.clip(columns, 0, width - 1))
    if filler is None:
        return result
    filled: Array = np.where(inside, result, filler.reshape(()))
    return filled
