"""Interpolation matrices of TFLite's kernels, along one axis.

Reference kernels resize_nearest_neighbor.h and resize_bilinear.h; coordinates are computed in float32, which decides
ties.
"""

from __future__ import annotations

import numpy as np

from edgeport.sample import Array


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
