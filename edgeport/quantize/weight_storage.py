"""Weights of nodes that compute in float, stored as palettes or without their zeros."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from edgeport.quantize.compression import Palette, Sparse
from edgeport.quantize.kmeans import kmeans
from edgeport.quantize.scheme import Scheme
from edgeport.sample import Array

_FLOAT_BITS = 16
"""Of a weight that is not compressed; the least that any target has."""
_HALF_FROM = 2.0**-11
"""Tables with a value of this magnitude lose no more than 2**-14 of it in float16, its subnormal numbers included."""


def why_not_stored(weights: tuple[Array, ...], scheme: Scheme, kernel: str) -> str | None:
    """Why a node's weights stay as they are, None if storing them as palettes or without zeros saves something.

    Args:
        weights: the node's constants.
        scheme: how they would be stored.
        kernel: `palettized`, `sparse`, or another, which is not judged here.
    """
    size = sum(w.size for w in weights)
    if kernel == "palettized" and scheme.bits is not None:
        stored = sum(w.size * scheme.bits + _table_bits(scheme.bits) for w in weights)
        if stored >= size * _FLOAT_BITS:
            return f"a palette of {2**scheme.bits} values saves nothing on {size} weights"
    if kernel == "sparse":
        zeros = sum(max(_dropped(w, scheme), int(np.count_nonzero(w == 0))) for w in weights)
        if zeros * _FLOAT_BITS <= size:
            return f"{zeros} of its {size} weights are zero, which saves less than the mask takes; see --sparsity"
    return None


def palettize(weight: Array, axis: int | None, scheme: Scheme, importance: Array | None) -> tuple[Palette, str]:
    """The palette with the least squared error, each weight's error multiplied by its importance, and what was done.

    The table's values are float16 numbers where that costs no precision, so that targets which store them as such
    compute with what was planned.

    Args:
        weight: float32 constant.
        axis: channel axis, None where it has none.
        scheme: says how wide the indices are and how many channels share a palette.
        importance: positive, broadcastable to `weight`; None: all weights count alike.
    """
    assert scheme.bits is not None, f"--precision {scheme.precision} says no width of palettes"
    group, said = _group(weight, axis, scheme)
    along = None if group is None else axis
    rows = _rows(weight, along, group)
    counts = None if importance is None else _rows(np.broadcast_to(importance, weight.shape), along, group)
    size = 2**scheme.bits
    lut = np.empty((len(rows), size), np.float32)
    for i, row in enumerate(rows):
        values = _halves(kmeans(row, size, None if counts is None else counts[i]))
        lut[i, : values.size], lut[i, values.size :] = values, values[-1]
    how = "" if importance is None else ", weighted by the power of the input channels"
    return Palette(lut, scheme.bits, along), f"{scheme.bits}-bit palette {said}, least squared error{how}"


def sparsify(weight: Array, scheme: Scheme, importance: Array | None) -> tuple[Sparse, str]:
    """The mask of the weights that stay, and what was done.

    Those of least magnitude go, or, where the importance is known, those of least magnitude times its square root,
    which is how much they move the output (Sun et al. 2023, arXiv:2306.11695, equation 1).

    Args:
        weight: float32 constant.
        scheme: says which share goes.
        importance: positive, broadcastable to `weight`; None: all weights count alike.
    """
    score = np.abs(weight)
    if importance is not None:
        score = score * np.sqrt(importance).astype(np.float32)
    flat = score.reshape(-1)
    kept = weight.size - _dropped(weight, scheme)
    threshold = np.partition(flat, weight.size - kept)[weight.size - kept] if kept < weight.size else np.float32(0)
    mask = flat > threshold
    ties = np.flatnonzero((flat == threshold) & (weight.reshape(-1) != 0))
    mask[ties[: kept - np.count_nonzero(mask)]] = True
    share = 1 - np.count_nonzero(mask) / weight.size
    how = "" if importance is None else " by magnitude and power of the input channels"
    return Sparse(mask.reshape(weight.shape)), f"{share:.1%} zeros{how}, the others stored under a mask"


def _dropped(weight: Array, scheme: Scheme) -> int:
    return math.floor((scheme.sparsity or 0.0) * weight.size)


def _table_bits(bits: int) -> int:
    return (1 << bits) * _FLOAT_BITS


def _group(weight: Array, axis: int | None, scheme: Scheme) -> tuple[int | None, str]:
    """How many channels share a palette (None: all), and that in words."""
    group, bits = scheme.group, scheme.bits or 0
    if group is None or axis is None:
        return None, "for the tensor"
    channels = weight.shape[axis]
    if channels <= group:
        return None, "for the tensor"
    if channels % group:
        return None, f"for the tensor ({channels} channels are no multiple of {group})"
    each = weight.size // channels * group
    if each * (_FLOAT_BITS - bits) <= _table_bits(bits):
        return None, f"for the tensor (those of {group} channels are not worth their tables)"
    return group, f"for every {group} channels (axis {axis})"


def _rows(tensor: Array, axis: int | None, group: int | None) -> Array:
    """The elements that share a palette, shape (palettes, elements)."""
    if axis is None or group is None:
        return np.ascontiguousarray(tensor).reshape(1, -1)
    moved = np.moveaxis(tensor, axis, 0)
    return np.ascontiguousarray(moved).reshape(tensor.shape[axis] // group, -1)


def _halves(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """The values as float32, ascending and different, and as float16 numbers where these are as good."""
    single = values.astype(np.float32)
    with np.errstate(over="ignore"):
        half = single.astype(np.float16)
    largest = float(np.abs(half).max())
    return np.unique(half.astype(np.float32) if _HALF_FROM <= largest < math.inf else single)
