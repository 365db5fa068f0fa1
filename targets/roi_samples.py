"""Where RoiAlign of constant regions reads an image, and with which weights.

Where regions come from the model itself their number depends on the image, which a static file cannot have. ONNX
operator RoiAlign-22; He et al., "Mask R-CNN", 2017, section 3.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import constant, get_float, get_int, get_str
from edgeport.sample import Array
from edgeport.targets.lowering import Refused

ROI_ALIGN_ATTRIBUTES = (
    "coordinate_transformation_mode",
    "mode",
    "output_height",
    "output_width",
    "sampling_ratio",
    "spatial_scale",
)
_LARGEST = 1 << 22
"""Corners that are fetched at once at most; their places and weights are constants of the file."""


def roi_samples(node: ir.Node, shape: Sequence[int]) -> tuple[Array, Array]:
    """What a RoiAlign reads for each bin.

    Args:
        node: the RoiAlign.
        shape: [N, C, H, W] of its input.

    Returns:
        [bins, samples] places in the N * H * W pixels, int64, and weights: their weighted sum, in mode `max` the
        largest weighted pixel (as ONNX has it), is the bin. Bins are counted over regions, rows, columns.

    Raises:
        Refused: regions are computed at run time, lie in no image or are too many, or a mode is unknown.
    """
    rois, images = constant(node.inputs[1]), constant(node.inputs[2])
    if rois is None or images is None:
        raise Refused("regions computed at run time are not supported", "end the model before RoiAlign")
    mode = get_str(node, "mode", "avg")
    coordinates = get_str(node, "coordinate_transformation_mode", "half_pixel")
    if mode not in ("avg", "max") or coordinates not in ("half_pixel", "output_half_pixel"):
        raise Refused(f"mode={mode!r} with coordinate_transformation_mode={coordinates!r} is unknown")
    batch, _, height, width = shape
    if images.min(initial=0) < 0 or images.max(initial=0) >= batch:
        raise Refused(f"batch_indices lie outside of [0, {batch})")
    out = (get_int(node, "output_height", 1), get_int(node, "output_width", 1))
    bins = _Bins((height, width), out, get_int(node, "sampling_ratio", 0), coordinates == "half_pixel")
    scaled = rois.astype(np.float32) * np.float32(get_float(node, "spatial_scale", 1.0))
    places, weights = _corners(scaled, images.astype(np.int64), bins, mode)
    if places.size > _LARGEST:
        raise Refused(f"{places.size} samples are too many", "give a smaller sampling_ratio", "unsupported-shape")
    return places, weights


@dataclass(frozen=True)
class _Bins:
    """How a region is sampled.

    Attributes:
        size: [height, width] of the image.
        out: [height, width] of the result.
        ratio: samples a bin and axis, 0 for as many as the bin has pixels.
        half_pixel: whether coordinates are those of pixel centres.
    """

    size: tuple[int, int]
    out: tuple[int, int]
    ratio: int
    half_pixel: bool


def _corners(rois: Array, images: Array, bins: _Bins, mode: str) -> tuple[Array, Array]:
    """[bins, samples] places in the flattened images and weights; rows are padded to the longest."""
    rows: list[tuple[Array, Array]] = []
    height, width = bins.size
    for roi, image in zip(rois, images, strict=True):
        down = _axis(roi[1], roi[3], bins.size[0], bins.out[0], bins)
        right = _axis(roi[0], roi[2], bins.size[1], bins.out[1], bins)
        for (at_y, share_y), (at_x, share_x) in itertools.product(down, right):
            count = max(at_y.shape[0] * at_x.shape[0], 1) if mode == "avg" else 1
            place = image * height * width + at_y[:, None, :, None] * width + at_x[None, :, None, :]
            weight = share_y[:, None, :, None] * share_x[None, :, None, :] / count
            rows.append((place.reshape(-1), weight.reshape(-1)))
    longest = max((len(place) for place, _ in rows), default=0) or 1
    places, weights = np.zeros((len(rows), longest), np.int64), np.zeros((len(rows), longest))
    for row, (place, weight) in enumerate(rows):
        places[row, : len(place)], weights[row, : len(place)] = place, weight
        if mode == "max" and len(place):  # what is added must not win: the first corner again
            places[row, len(place) :], weights[row, len(place) :] = place[0], weight[0]
    return places, weights


def _axis(start: np.float32, end: np.float32, size: int, out: int, bins: _Bins) -> list[tuple[Array, Array]]:
    """For each bin along one axis: [samples, 2] places of both neighbours and their shares, 0 outside of the image."""
    offset = np.float32(0.5 if bins.half_pixel else 0)
    first, length = start - offset, end - start
    if not bins.half_pixel:
        length = max(length, np.float32(1))
    step = np.float32(length / np.float32(out))
    samples = bins.ratio if bins.ratio > 0 else max(int(np.ceil(step)), 0)
    result = []
    for index in range(out):
        inner = (np.arange(samples, dtype=np.float32) + np.float32(0.5)) * step / np.float32(max(samples, 1))
        at = first + np.float32(index) * step + inner
        inside = (at >= -1) & (at <= size)
        at = np.clip(at, 0, size - 1)
        low = np.floor(at).astype(np.int64)
        high = np.minimum(low + 1, size - 1)
        part = at - low
        result.append((np.stack([low, high], 1), np.stack([1 - part, part], 1) * inside[:, None]))
    return result
