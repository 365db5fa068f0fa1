"""RoiAlign of constant regions: a GATHER of all samples' corners, their weights, and a sum or maximum over them.

Where regions come from the model itself their number depends on the image, which a static file cannot have. ONNX
operator RoiAlign-22; He et al., "Mask R-CNN", 2017, section 3.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgeport.sample import Array
from edgeport.targets.tflite.attributes import float_attr, int_attr, string_attr
from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.ops.conv import NHWC
from edgeport.targets.tflite.pieces import shaped
from edgeport.targets.tflite.registry import Refused, lowers

_LARGEST = 1 << 22
"""Corners that are fetched at once at most; their places and weights are constants of the file."""


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


@lowers(
    "RoiAlign",
    attributes=(
        "coordinate_transformation_mode",
        "mode",
        "output_height",
        "output_width",
        "sampling_ratio",
        "spatial_scale",
    ),
    inputs=3,
)
def roi_align(ctx: Context, node: ir.Node) -> None:
    """Corners [bins, samples, C], weighted, then SUM or (of the weighted corners, as ONNX has it) REDUCE_MAX."""
    x, y = node.inputs[0], node.outputs[0]
    assert x is not None
    rois, images = ctx.constant(node.inputs[1]), ctx.constant(node.inputs[2])
    if rois is None or images is None:
        raise Refused("regions computed at run time are not supported", "end the model before RoiAlign")
    mode = string_attr(node, "mode", "avg")
    coordinates = string_attr(node, "coordinate_transformation_mode", "half_pixel")
    if mode not in ("avg", "max") or coordinates not in ("half_pixel", "output_half_pixel"):
        raise Refused(f"mode={mode!r} with coordinate_transformation_mode={coordinates!r} is unknown")
    batch, channels, height, width = ctx.shape(x)
    if images.min(initial=0) < 0 or images.max(initial=0) >= batch:
        raise Refused(f"batch_indices lie outside of [0, {batch})")
    out = (int_attr(node, "output_height", 1), int_attr(node, "output_width", 1))
    bins = _Bins((height, width), out, int_attr(node, "sampling_ratio", 0), coordinates == "half_pixel")
    scaled = rois.astype(np.float32) * np.float32(float_attr(node, "spatial_scale", 1.0))
    places, weights = _corners(scaled, images.astype(np.int64), bins, mode)
    if places.size > _LARGEST:
        raise Refused(f"{places.size} samples are too many", "give a smaller sampling_ratio", "unsupported-shape")
    pixels = shaped(ctx, y, ctx.read(node, x, NHWC), (batch * height * width, channels))
    where = ctx.builder.constant("const/index", places.astype(np.int32).reshape(-1))
    shape = (places.size, channels)
    found = ctx.step(y, "GATHER", [pixels, where], "GatherOptions", shape, axis=0, batchDims=0)
    share = ctx.builder.constant(f"{y.name}/weights", weights.astype(np.float32).reshape(-1, 1))
    corners = shaped(ctx, y, ctx.step(y, "MUL", [found, share], "MulOptions"), (*places.shape, channels))
    code = "SUM" if mode == "avg" else "REDUCE_MAX"
    axis = ctx.ints("axes", (1,))
    total = ctx.step(y, code, [corners, axis], "ReducerOptions", (len(places), channels), keepDims=False)
    ctx.reshape(total, ctx.output(node, NHWC))


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
