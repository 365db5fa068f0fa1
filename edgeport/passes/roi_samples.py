"""Where RoiAlign of constant regions reads an image, and with which weights.

ONNX operator RoiAlign-16; He et al., "Mask R-CNN", 2017, section 3.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from edgeport.passes.edit import Array


@dataclass(frozen=True)
class Bins:
    """How regions are sampled.

    Attributes:
        size: [height, width] of the image.
        out: [height, width] of the result.
        ratio: samples a bin and axis, 0 for as many as the bin has pixels.
        half_pixel: whether coordinates are those of pixel centres.
        largest: whether the largest weighted corner is the result, else the mean of samples.
    """

    size: tuple[int, int]
    out: tuple[int, int]
    ratio: int
    half_pixel: bool
    largest: bool


def roi_samples(rois: Array, images: Array, bins: Bins) -> tuple[Array, Array]:
    """What is read for each bin.

    Args:
        rois: float32 [regions, 4], the corners x1, y1, x2, y2 in pixels.
        images: int64 [regions], which image of the batch.
        bins: how to sample.

    Returns:
        [regions * height * width of the result, samples] places in the pixels of all images, and weights: their
        weighted sum or largest weighted pixel is the bin. Rows are padded to the longest.
    """
    rows: list[tuple[Array, Array]] = []
    height, width = bins.size
    for roi, image in zip(rois, images, strict=True):
        down = _axis(roi[1], roi[3], bins.size[0], bins.out[0], bins)
        right = _axis(roi[0], roi[2], bins.size[1], bins.out[1], bins)
        for (at_y, share_y), (at_x, share_x) in itertools.product(down, right):
            count = 1 if bins.largest else max(at_y.shape[0] * at_x.shape[0], 1)
            place = image * height * width + at_y[:, None, :, None] * width + at_x[None, :, None, :]
            weight = share_y[:, None, :, None] * share_x[None, :, None, :] / count
            rows.append((place.reshape(-1), weight.reshape(-1)))
    longest = max((len(place) for place, _ in rows), default=0) or 1
    places, weights = np.zeros((len(rows), longest), np.int64), np.zeros((len(rows), longest))
    for row, (place, weight) in enumerate(rows):
        places[row, : len(place)], weights[row, : len(place)] = place, weight
        if bins.largest and len(place):  # what is added must not win: the first corner again
            places[row, len(place) :], weights[row, len(place) :] = place[0], weight[0]
    return places, weights


def _axis(start: np.float32, end: np.float32, size: int, out: int, bins: Bins) -> list[tuple[Array, Array]]:
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
