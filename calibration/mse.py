"""Ranges of least squared quantization error, in closed form over the histogram.

Elements are taken as evenly spread in their bin. For t = x / scale, with n(t) = clip(round(t), qmin, qmax) the integer
that stands for x, the error integrates to

    G(t) = integral of (u - n(u))**2 du from 0 to t = n(t) / 12 + (t - n(t))**3 / 3

(each whole step contributes 1/12; the cubic is the rest of the last step, or the clipped tail), so a bin [a, b) has the
mean squared error scale**3 / (b - a) * (G(b / scale) - G(a / scale)). Rounding and clipping are both in it, and a mass
of zeros costs next to nothing, as it should: zero is represented exactly.

The cubic is within 1 / 24 of 0 where nothing is clipped. What goes beyond is clipping's share, which may count more.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgeport.calibration.histogram import SIDE

Float64 = npt.NDArray[np.float64]

_OCTAVES = 8  # a range is never cut below 1/256 of the extreme: bins are no finer there than the steps
_ZOOM = np.linspace(-1.0, 1.0, 7)
_MOST_BINS = 1024


def squared_error(
    mass: Float64, edges: Float64, scale: Float64, qmin: Float64, qmax: Float64, clipping: float = 1.0
) -> Float64:
    """Expected squared error an element, for several quantizers at once.

    Args:
        mass: (bins,), elements in each bin.
        edges: (bins + 1,), evenly spaced.
        scale: (k,), step of each quantizer.
        qmin: (k,), smallest integer, zero point taken off.
        qmax: (k,), largest integer, zero point taken off.
        clipping: what a clipped element's error counts.

    Returns:
        (k,), in squared units of the edges.
    """
    t = edges[None, :] / scale[:, None]
    n = np.rint(t)
    np.clip(n, qmin[:, None], qmax[:, None], out=n)
    t -= n
    integral = t * t
    integral *= t
    integral /= 3
    if clipping != 1:
        integral += (clipping - 1) * (integral - np.clip(integral, -1 / 24, 1 / 24))
    n /= 12
    integral += n
    moments = (integral[:, 1:] - integral[:, :-1]) @ mass
    result: Float64 = moments * scale**3 / ((edges[1] - edges[0]) * mass.sum())
    return result


def mse_range(
    mass: Float64, width: float, low: float, high: float, levels: int, clipping: float = 1.0
) -> tuple[float, float]:
    """The asymmetric range of least squared error.

    Args:
        mass: (2 * SIDE,), position SIDE + i stands for the values in [i * width, (i + 1) * width).
        width: of a bin.
        low: the smallest element, at most 0.
        high: the largest element, at least 0; above `low`.
        levels: number of integers.
        clipping: what a clipped element's error counts.
    """
    bins, edges = _coarse(mass, -SIDE * width, width)
    if not bins.size:
        return low, high

    def error(lows: Float64, highs: Float64) -> Float64:
        scale = (highs - lows) / (levels - 1)
        zero = np.rint(-lows / scale)
        return squared_error(bins, edges, scale, -zero, levels - 1 - zero, clipping)

    # Octaves by which each end is cut; an end that is 0 stays where it is.
    cut_low, cut_high = 0.0, 0.0
    grids = [np.arange(_OCTAVES + 1.0), _ZOOM, _ZOOM / 3, _ZOOM / 9]
    for grid in grids:
        cuts_low = np.clip(cut_low + grid, 0, None) if low < 0 else np.zeros(1)
        cuts_high = np.clip(cut_high + grid, 0, None) if high > 0 else np.zeros(1)
        pairs_low, pairs_high = (m.ravel() for m in np.meshgrid(cuts_low, cuts_high))
        best = int(np.argmin(error(low * 2.0**-pairs_low, high * 2.0**-pairs_high)))
        cut_low, cut_high = float(pairs_low[best]), float(pairs_high[best])
    return low * 2.0**-cut_low, high * 2.0**-cut_high


def mse_threshold(folded: Float64, width: float, limit: float, levels: int, clipping: float = 1.0) -> float:
    """The symmetric range [-a, a] of least squared error; `folded` (SIDE,) is the histogram of magnitudes."""
    bins, edges = _coarse(folded, 0.0, width)
    if not bins.size:
        return limit
    steps = levels // 2 - 1
    cut: float = 0.0
    for grid in (np.arange(0, _OCTAVES + 0.5, 0.5), _ZOOM / 2, _ZOOM / 6, _ZOOM / 18):
        cuts = np.clip(cut + grid, 0, None)
        scale = limit * 2.0**-cuts / steps
        lowest, highest = np.full_like(cuts, -steps), np.full_like(cuts, steps)
        error = squared_error(bins, edges, scale, lowest, highest, clipping)
        cut = float(cuts[int(np.argmin(error))])
    return float(limit * 2.0**-cut)


def _coarse(mass: Float64, start: float, width: float) -> tuple[Float64, Float64]:
    """Leaves the empty ends out and adds neighbours up where there are more bins than the search needs."""
    used = np.flatnonzero(mass)
    if not used.size:
        return mass[:0], np.zeros(1)
    first, last = int(used[0]), int(used[-1]) + 1
    step = 1
    while last - first > _MOST_BINS * step:
        step *= 2
    first, last = first // step * step, -(-last // step) * step
    edges = start + width * np.arange(first, last + 1, step, dtype=np.float64)
    return mass[first:last].reshape(-1, step).sum(axis=1), edges
