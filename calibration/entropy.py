"""Ranges by relative entropy: the clipped histogram P is compared with Q, the same at the quantizer's resolution.

The algorithm is TensorRT's (S. Migacz, "8-bit Inference with TensorRT", GTC 2017, "Pseudocode: entropy calibration"):
P gathers what it clips in its outermost bins; Q spreads each level's mass evenly over the occupied bins of that level;
the range of the least KL(P || Q) wins. What differs here: Asymmetric ranges are searched one end after the other. Of
all ends 128 are tried, the longest among them. What is clipped joins the outermost bin that is occupied, or else an
empty one would make KL infinite. The bin at zero counts as its neighbour does, because zero is exact at any scale and a
spike of ReLU zeros says nothing about the range. And the part of KL that comes from counting few elements, (occupied
bins - 1) / 2N a level (G. Miller, "Note on the bias of information estimates", 1955), is taken off; it would favour
cutting too much where there is little data: ranges come out up to twice as long, seldom shorter.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgeport.calibration.histogram import SIDE, Counts

_CANDIDATES = 128


def entropy_range(counts: Counts, width: float, levels: int) -> tuple[float, float]:
    """The asymmetric range of least relative entropy; `counts` is (2 * SIDE,), zero at the left edge of bin SIDE."""
    used = np.flatnonzero(counts)
    if not used.size:
        return -SIDE * width, SIDE * width
    # Zero stays inside: the left end moves in [first, SIDE], the right one in [SIDE, last].
    first, last = min(int(used[0]), SIDE), max(int(used[-1]) + 1, SIDE)
    table = _Table(_without_zero_spike(counts, SIDE))
    low, high = first, last
    for _ in range(2):
        highs = _spread(max(SIDE, low + levels), last)
        if last > SIDE and highs.size:
            high = int(highs[np.argmin(table.divergence(np.full_like(highs, low), highs, levels))])
        lows = -_spread(-min(SIDE, high - levels), -first)
        if first < SIDE and lows.size:
            low = int(lows[np.argmin(table.divergence(lows, np.full_like(lows, high), levels))])
    return (low - SIDE) * width, (high - SIDE) * width


def entropy_threshold(folded: Counts, levels: int) -> float:
    """The end of the symmetric range, in bins, for `levels` levels of magnitude; `folded` is (SIDE,)."""
    used = np.flatnonzero(folded)
    if not used.size:
        return float(SIDE)
    last = int(used[-1]) + 1
    highs = _spread(levels, last)
    if not highs.size:
        return float(last)
    table = _Table(_without_zero_spike(folded, 0))
    return float(highs[np.argmin(table.divergence(np.zeros_like(highs), highs, levels))])


def _spread(shortest: int, longest: int) -> npt.NDArray[np.int64]:
    """Candidates, the longest first, so that a tie keeps more; none if even the longest is too short."""
    if shortest > longest:
        return np.zeros(0, np.int64)
    return np.unique(np.linspace(shortest, longest, _CANDIDATES).astype(np.int64))[::-1]


def _without_zero_spike(counts: Counts, zero: int) -> Counts:
    flat = counts.copy()
    neighbours = [flat[i] for i in (zero - 1, zero + 1) if 0 <= i < flat.size]
    flat[zero] = min(flat[zero], max(neighbours))
    return flat


class _Table:
    """Sums over any stretch of bins in constant time, so that a candidate costs its levels, not its bins."""

    def __init__(self, counts: Counts) -> None:
        values = counts.astype(np.float64)
        self._counts = values
        self._mass = np.concatenate(([0.0], np.cumsum(values)))
        self._occupied = np.concatenate(([0], np.cumsum(counts > 0)))
        self._entropy = np.concatenate(([0.0], np.cumsum(_x_log_x(values))))
        self._places = np.flatnonzero(counts)

    def divergence(
        self, low: npt.NDArray[np.int64], high: npt.NDArray[np.int64], levels: int
    ) -> npt.NDArray[np.float64]:
        """KL(P || Q) of each range of bins [low, high), shape (k,); infinite where the range holds nothing."""
        if not self._places.size:
            return np.zeros(low.shape)
        size = (high - low)[:, None]
        borders = low[:, None] + np.arange(levels + 1) * size // levels
        mass = np.diff(self._mass[borders])
        occupied = np.diff(self._occupied[borders])
        log_q = np.log(np.where(mass > 0, mass, 1.0) / np.maximum(occupied, 1))

        inside, total = self._mass[high] - self._mass[low], self._mass[-1]
        p_log_p = self._entropy[high] - self._entropy[low]
        p_log_q = (mass * log_q).sum(axis=1)
        # What is clipped joins the outermost occupied bin of its side.
        ends = self._occupied[low], self._occupied[high] - 1
        outside = self._mass[low], total - self._mass[high]
        for end, clipped in zip(ends, outside, strict=True):
            bins = self._places[np.clip(end, 0, self._places.size - 1)]
            here = self._counts[bins]
            p_log_p += _x_log_x(here + clipped) - _x_log_x(here)
            level = np.clip(((bins - low + 1) * levels - 1) // size[:, 0], 0, levels - 1)
            p_log_q += clipped * log_q[np.arange(len(low)), level]
        noise = np.maximum(occupied - 1, 0).sum(axis=1) / 2
        with np.errstate(divide="ignore", invalid="ignore"):
            divergence = (p_log_p - p_log_q - noise) / total + np.log(inside / total)
        return np.where(inside > 0, divergence, np.inf)


def _x_log_x(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    result: npt.NDArray[np.float64] = x * np.log(np.where(x > 0, x, 1.0))
    return result
