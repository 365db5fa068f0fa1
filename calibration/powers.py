"""Means and mean squares of a tensor's channels, summed exactly: what says how much each weight behind them counts.

A sample's mean (square) of a channel is rounded to 24 bits, m * 2**e, and m is added to the integer of its exponent:

    sums[channel, (e - LOW) // 16] += m << ((e - LOW) % 16)

Integers add in any order and grouping to the same sum, so `merge` is exact, associative and commutative.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from edgeport.errors import CalibrationError
from edgeport.sample import Array

_LOW, _WIDTH, _BITS = -336, 16, 24
_BUCKETS = (256 - _LOW) // _WIDTH
"""Squares of float32 numbers lie between 2**-298 and 2**256; 2**24 samples fit before an integer overflows."""
_MOST = float(np.finfo(np.float32).max) ** 2
_POSITIONS = 512
"""Of a channel that are looked at in one sample: neighbours differ little, and samples are many."""


@dataclass(frozen=True, eq=False)
class ChannelPowers:
    """Sums over samples of every channel's mean and mean square.

    Attributes:
        axis: the channel axis.
        samples: how many there were.
        sums: int64, shape (2, channels, buckets): of means, then of mean squares.
    """

    axis: int
    samples: int
    sums: npt.NDArray[np.int64]

    @property
    def mean(self) -> npt.NDArray[np.float64]:
        """The mean of every channel over all samples, shape (channels,)."""
        return self._total(0)

    @property
    def mean_square(self) -> npt.NDArray[np.float64]:
        """The mean square of every channel over all samples, shape (channels,)."""
        return self._total(1)

    def _total(self, which: int) -> npt.NDArray[np.float64]:
        exponents = _LOW + _WIDTH * np.arange(self.sums.shape[2])
        total: npt.NDArray[np.float64] = np.ldexp(self.sums[which].astype(np.float64), exponents).sum(axis=1)
        return total / max(1, self.samples)

    def merge(self, other: ChannelPowers) -> ChannelPowers:
        """The powers over the samples of both.

        Raises:
            CalibrationError: they are not of the same channels.
        """
        if self.axis != other.axis or self.sums.shape != other.sums.shape:
            raise CalibrationError("statistics cannot be merged: they are of different channels of a tensor")
        return replace(self, samples=self.samples + other.samples, sums=self.sums + other.sums)

    def trimmed(self) -> tuple[int, npt.NDArray[np.int64]]:
        """The first bucket that is not empty, and the sums from there to the last one."""
        used = np.flatnonzero(self.sums.any(axis=(0, 1)))
        first, end = (int(used[0]), int(used[-1]) + 1) if used.size else (0, 0)
        return first, np.ascontiguousarray(self.sums[:, :, first:end])


def untrimmed(first: int, sums: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The sums with their empty buckets.

    Raises:
        ValueError: there are not so many buckets.
    """
    end = first + sums.shape[2]
    if first < 0 or end > _BUCKETS:
        raise ValueError(f"buckets {first} to {end} of {_BUCKETS}")
    whole = np.zeros((*sums.shape[:2], _BUCKETS), np.int64)
    whole[:, :, first:end] = sums
    return whole


def sample_powers(array: Array, axis: int) -> ChannelPowers:
    """The mean and mean square of every channel of one sample's tensor; one that is not finite counts as 0.

    Args:
        array: floats.
        axis: channel axis.
    """
    moved = np.moveaxis(array, axis, -1)
    rows = moved.reshape(-1, moved.shape[-1])
    stride = max(1, len(rows) // _POSITIONS)
    if stride > 1:  # no factor in common with a dimension: every column of a picture is walked over
        stride = next(s for s in itertools.count(stride) if math.gcd(s, len(rows)) == 1)
    seen = rows[::stride].astype(np.float64)
    count = max(1, len(seen))
    moments = np.stack([seen.sum(axis=0) / count, np.square(seen).sum(axis=0) / count])
    finite = np.isfinite(moments).all(axis=0)
    moments = np.clip(np.where(finite, moments, 0.0), -_MOST, _MOST)
    fraction, exponent = np.frexp(moments)
    digits = np.rint(np.ldexp(fraction, _BITS)).astype(np.int64)
    bucket, shift = np.divmod(np.maximum(exponent - _BITS - _LOW, 0), _WIDTH)
    sums = np.zeros((*moments.shape, _BUCKETS), np.int64)
    np.put_along_axis(sums, bucket[..., None].astype(np.int64), (digits << shift)[..., None], axis=2)
    return ChannelPowers(axis, 1, sums)
