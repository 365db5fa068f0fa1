"""int4 weights: scales a channel or a block, searched for the least squared error.

With 16 steps the largest weight is a poor guide to the scale: clipping a few of the largest usually costs less than
coarser steps for all others.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from edgeport.quantize.plan import QParams
from edgeport.sample import Array

_LOWEST, _HIGHEST = -8, 7
_FRACTIONS = np.linspace(0.6, 1.0, 17)
"""Candidate scales as fractions of the one that clips nothing."""
_CHUNK = 2**22
"""Weights looked at together, which bounds the memory of the search."""
_LEAST, _MOST = 2.0**-24, 65280.0
"""The smallest positive float16, and the largest that is a bfloat16, too."""


def four_bit_qparams(weight: Array, axis: int, block: int | None) -> QParams:
    """Symmetric int4 parameters of constant weights, values in [-8, 7].

    Args:
        weight: float32, of two dimensions or more; with blocks, `block` divides the axis of input channels, which is
            the other one of the first two.
        axis: channel axis, 0 or 1.
        block: number of input channels whose weights for one channel share a scale, over all further dimensions (the
            window of a convolution); None for one scale a channel.

    The scale minimizes the squared error: the best of a grid, refined by the least-squares scale of its integers
    (Lloyd's alternation). Scales of blocks have 8 significant bits and are exact in float16 and bfloat16, because
    runtimes store the former and compute with the latter.
    """
    rows = np.moveaxis(weight, axis, 0)
    channels = rows.shape[0]
    if block is None:
        scale = _searched(rows.reshape(channels, -1), short=False)
        return QParams("int4", scale, np.zeros(channels, np.int32), axis)
    window = rows.shape[2:]
    scale = _searched(rows.reshape(-1, block * math.prod(window)), short=True)
    shape = (channels, rows.shape[1] // block, *[1] * len(window))
    stored = np.ascontiguousarray(np.moveaxis(scale.reshape(shape), 0, axis))
    return QParams("int4", stored, np.zeros(stored.shape, np.int32), 1 - axis, block=block)


def _searched(groups: Array, short: bool) -> npt.NDArray[np.float32]:
    """The best scale of each row; a row of zeros gets that of the largest, since 0 is refused by runtimes."""
    largest = float(np.abs(groups).max(initial=0.0)) / _HIGHEST or 1.0
    step = max(1, _CHUNK // max(1, groups.shape[1]))
    parts = [_best(groups[i : i + step], largest, short) for i in range(0, len(groups), step)]
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def _best(groups: Array, largest: float, short: bool) -> npt.NDArray[np.float32]:
    peak = np.maximum(groups.max(axis=1, initial=0.0) / _HIGHEST, groups.min(axis=1, initial=0.0) / _LOWEST)
    full = np.where(peak < largest * 2.0**-24, largest, peak).astype(np.float32)
    best = _rounded(full, short)
    error = _error(groups, best)
    for fraction in _FRACTIONS[:-1]:
        best, error = _better(groups, best, error, _rounded(full * np.float32(fraction), short))
    for _ in range(2):
        q = _integers(groups, best)
        power = np.square(q).sum(axis=1)
        fitted = (groups * q).sum(axis=1) / np.where(power == 0, 1, power)
        candidate = np.where(fitted > 0, fitted, best).astype(np.float32)
        best, error = _better(groups, best, error, _rounded(candidate, short))
    return best


def _better(
    groups: Array, best: npt.NDArray[np.float32], error: Array, candidate: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.float32], Array]:
    found = _error(groups, candidate)
    return np.where(found < error, candidate, best), np.minimum(found, error)


def _integers(groups: Array, scale: npt.NDArray[np.float32]) -> Array:
    integers: Array = np.clip(np.rint(groups / scale[:, None]), _LOWEST, _HIGHEST)
    return integers


def _error(groups: Array, scale: npt.NDArray[np.float32]) -> Array:
    errors: Array = np.square(groups - _integers(groups, scale) * scale[:, None]).sum(axis=1)
    return errors


def _rounded(scale: npt.NDArray[np.float32], short: bool) -> npt.NDArray[np.float32]:
    """Scales of blocks as bfloat16 and float16 both hold them."""
    if not short:
        return scale
    fraction, exponent = np.frexp(scale)
    short_scale = np.ldexp(np.rint(fraction * 256) / 256, exponent).clip(_LEAST, _MOST)
    return np.asarray(short_scale.astype(np.float16), np.float32)
