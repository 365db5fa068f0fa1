"""Weighted k-means of numbers: the palette that restores a tensor's weights with the least weighted squared error.

In one dimension clusters are intervals, so the best ones are found by dynamic programming over sorted values:

    best(j, r) = min over l < r of best(j - 1, l) + cost(l, r)          (Wu 1991; Gronlund et al., arXiv:1701.07204)

`cost(l, r)` is the weighted squared distance of the values l..r from their mean and comes from prefix sums. Here the
recurrence runs over few candidates for every boundary: first over a grid that is fine where the best quantizer has
many steps (density to the power 1/3: Panter and Dite 1951), then over ever closer neighbours of what was found, to
single values. No way to move boundaries by a few values, all at once, betters the result; mostly it is the optimum,
and tests hold it to within 0.3 % of it. There is no randomness.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgeport.sample import Array

Float64 = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]

_STEPS = 8
"""Grid cells a cluster; fewer find worse optima, more cost time."""
_WINDOW = 64
"""Edges of the grid that a boundary may move to at once: the width of four clusters to each side."""
_REACH = 12
"""Neighbours looked at on each side of a boundary."""
_ZOOM = 4
_TOGETHER = 16
"""Clusters whose gains are computed together: few enough for the processor's cache."""
_ROUNDS = 100
_LEAST = 1e-12
"""Of the whole weight, so that prefix sums always grow."""
_BINNED = 1 << 15
"""Values from which on those that are equal in float16 (11 significant bits) count as one."""


def kmeans(values: Array, k: int, weights: Array | None = None) -> Float64:
    """The means of the best `k` clusters, ascending; all distinct values where there are no more than `k`.

    Args:
        values: floats, finite, shape (n,), n > 0.
        k: number of clusters, at least 2.
        weights: the weight of each value's squared error, not negative, shape (n,), not all of them zero; None: all
            equal.
    """
    x, mass = _distinct(values, weights)
    if x.size <= k:
        return x
    mass = np.maximum(mass, mass.sum() * _LEAST)
    sums = np.zeros((2, x.size + 1))
    np.cumsum(mass, out=sums[0, 1:])
    np.cumsum(mass * (x - np.dot(x, mass) / mass.sum()), out=sums[1, 1:])  # about the mean: nothing cancels
    bounds = _nearby(_coarse(x, mass, sums, k), sums)
    starts = bounds[:-1]
    means: Float64 = np.add.reduceat(mass * x, starts) / np.add.reduceat(mass, starts)
    return means


def _distinct(values: Array, weights: Array | None) -> tuple[Float64, Float64]:
    """Ascending values of positive weight, and their weights."""
    if values.size < _BINNED:
        x, place = np.unique(values, return_inverse=True)
        mass = np.bincount(place, weights, x.size).astype(np.float64)
        return x[mass > 0].astype(np.float64), mass[mass > 0]
    exponent = int(np.frexp(np.abs(values).max())[1])
    half = np.ldexp(values.astype(np.float32, copy=False), 15 - exponent).astype(np.float16).view(np.uint16)
    place = np.where(half & 0x8000, 0xFFFF - half, half | 0x8000)  # ascending with the number
    mass = np.bincount(place, weights, 1 << 16).astype(np.float64)
    first = np.bincount(place, values if weights is None else values * weights, 1 << 16)
    used = mass > 0
    return first[used] / mass[used], mass[used]


def _cuts(x: Float64, mass: Float64, parts: int) -> Places:
    """Where the intervals of the best quantizer with so many would begin, roughly, and the end; some may be missing."""
    if x.size <= parts:
        return np.arange(x.size + 1)
    share = np.cbrt(mass * np.square(np.gradient(x)))
    for _ in range(4):  # a lonely outlier takes one part, not all those that its distance would ask for
        share = np.minimum(share, share.sum() / parts)
    part = np.floor(np.cumsum(share) / (share.sum() / parts) - 1e-9).astype(np.int64)
    return np.append(np.flatnonzero(np.diff(part, prepend=-1)), x.size)


def _coarse(x: Float64, mass: Float64, sums: Float64, k: int) -> Places:
    """The best boundaries, shape (k + 1,), among those of a grid: windows of it that follow what is found."""
    edges = _cuts(x, mass, _STEPS * k)
    last = edges.size - 1
    if last <= k:
        return np.rint(np.linspace(0, x.size, k + 1)).astype(np.int64)
    width = min(_WINDOW, last + 1)
    at = _spread(np.searchsorted(edges, _cuts(x, mass, k)), k)
    for _ in range(_ROUNDS):
        windows = np.clip(at - width // 2, 0, last + 1 - width)[:, None] + np.arange(width)
        found = _best(edges[windows], sums)
        places = np.searchsorted(edges, found)
        settled = np.abs(places - at).max() <= width // 4
        if settled or width > last:
            break
        at = places
    return found


def _spread(at: Places, k: int) -> Places:
    """k + 1 different places from the first to the last of `at`, near to them."""
    last = at[-1]
    at = np.rint(np.interp(np.linspace(0, 1, k + 1), np.linspace(0, 1, at.size), at)).astype(np.int64)
    ramp = np.arange(k + 1)
    spread: Places = np.minimum(np.maximum.accumulate(at - ramp) + ramp, last - k + ramp)
    return spread


def _nearby(bounds: Places, sums: Float64) -> Places:
    """Moves boundaries to better neighbours, at first some way off, until those next to them are no better."""
    end, scale = sums.shape[1] - 1, _STEPS
    offsets = np.arange(-_REACH, _REACH + 1)
    for _ in range(_ROUNDS):
        sizes = np.diff(bounds)
        step = np.maximum(np.maximum(np.append(sizes, 0), np.append(0, sizes)) // scale, 1)
        windows = np.clip(bounds[:, None] + step[:, None] * offsets, 0, end)
        windows[0], windows[-1] = 0, end
        found = _best(windows, sums)
        settled = (np.abs(found - bounds) <= step * (_REACH // 2)).all()
        bounds = found
        if settled and (step == 1).all():
            break
        if settled:
            scale *= _ZOOM
    return bounds


def _gains(mass: Float64, moment: Float64) -> Float64:
    """What clusters between neighbouring rows are worth, shape (rows - 1, upper bound, lower bound)."""
    between = mass[1:, :, None] - mass[:-1, None, :]
    gains = moment[1:, :, None] - moment[:-1, None, :]
    np.square(gains, out=gains)
    with np.errstate(divide="ignore", invalid="ignore"):
        gains /= between
    gains[between <= 0] = -np.inf  # no cluster is empty
    return gains


def _best(candidates: Places, sums: Float64) -> Places:
    """The boundaries of least cost, one from each row of `candidates` (shape (k + 1, w), rows ascending).

    Least squared distance from the clusters' means is largest sum of (first moment)**2 / mass.
    """
    mass, moment = sums[:, candidates]
    k, width = candidates.shape[0] - 1, candidates.shape[1]
    score = np.where(candidates[0] == 0, 0.0, -np.inf)
    back = np.empty((k, width), np.int64)
    columns = np.arange(width)
    for j in range(k):
        if j % _TOGETHER == 0:
            gains = _gains(mass[j : j + _TOGETHER + 1], moment[j : j + _TOGETHER + 1])
        gain = gains[j % _TOGETHER]
        gain += score
        back[j] = gain.argmax(axis=1)
        score = gain[columns, back[j]]
    chosen = np.empty(k + 1, np.int64)
    at = int(np.flatnonzero(candidates[k] == sums.shape[1] - 1)[0])
    for j in range(k, -1, -1):
        chosen[j] = candidates[j, at]
        at = int(back[j - 1, at]) if j else 0
    return chosen
