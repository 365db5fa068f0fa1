"""Clipping ranges, chosen from statistics after the run: the same statistics serve every method and every target."""

from __future__ import annotations

import math
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt

from edgeport.calibration.entropy import entropy_range, entropy_threshold
from edgeport.calibration.histogram import SIDE, Counts
from edgeport.calibration.mse import mse_range, mse_threshold
from edgeport.calibration.statistics import TensorStatistics
from edgeport.errors import CalibrationError, UsageError

Method = Literal["min-max", "percentile", "entropy", "mse"]
Number = TypeVar("Number", np.int64, np.float64)
METHODS: tuple[Method, ...] = ("min-max", "percentile", "entropy", "mse")


def choose_range(
    stats: TensorStatistics,
    method: str,
    *,
    symmetric: bool = False,
    levels: int = 256,
    percentile: float = 99.99,
    within: tuple[float, float] = (-math.inf, math.inf),
    clipping: float = 1.0,
) -> tuple[float, float]:
    """Chooses the interval that is quantized; what lies outside of it saturates.

    Args:
        stats: of one tensor; every method but min-max needs its histogram.
        method: one of METHODS. `min-max` keeps everything. `percentile` clips at most (100 - percentile) % of the
            elements at each end, or of the magnitudes if symmetric. `entropy` loses the least information
            (`entropy_range`). `mse` has the least expected squared quantization error (`mse_range`).
        symmetric: the interval is [-a, a].
        levels: number of integers that stand for the interval.
        percentile: for that method, over 50 up to 100.
        within: an interval that holds 0; elements outside of it count as lying at its ends, because whatever reads the
            tensor makes no difference between them.
        clipping: for mse, what the squared error of a clipped element counts beside that of a rounded one.

    Returns:
        Both ends; the interval contains 0, lies within the tensor's own extremes (widened to 0, or to both signs if
        symmetric), and is (0.0, 0.0) for a tensor that is 0 everywhere.

    Raises:
        CalibrationError: the tensor held NaN or infinite elements or none at all, or its histogram was not collected.
        UsageError: the method is unknown, or a parameter makes no sense.
    """
    if method not in METHODS:
        raise UsageError(f"--ranges {method!r} is unknown; use one of {', '.join(METHODS)}")
    if not 50 < percentile <= 100:
        raise UsageError(f"percentile {percentile} is not over 50 and up to 100, e.g. 99.99")
    if levels < 4:
        raise UsageError(f"levels {levels} is too few for a range; int8 has 256")
    if stats.non_finite:
        raise CalibrationError(
            f"tensor {stats.name!r} held {stats.non_finite} NaN or infinite elements: no range fits; keep it in float"
        )
    if stats.count == 0:
        raise CalibrationError(f"tensor {stats.name!r} was empty in every sample: it has no range; keep it in float")
    low, high = max(min(stats.minimum, 0.0), within[0]), min(max(stats.maximum, 0.0), within[1])
    if symmetric:
        limit = max(-low, high)
        threshold = (
            limit if method == "min-max" or limit == 0 else _threshold(stats, method, levels, percentile, clipping)
        )
        threshold = min(threshold, limit)
        return -threshold, threshold
    if method == "min-max" or low == high:
        return low, high
    chosen = _range(stats, method, levels, percentile, (low, high), clipping)
    return min(max(chosen[0], low), 0.0), max(min(chosen[1], high), 0.0)


def _range(
    stats: TensorStatistics,
    method: str,
    levels: int,
    percentile: float,
    ends: tuple[float, float],
    clipping: float,
) -> tuple[float, float]:
    width = stats.width
    counts = _gathered(stats.histogram, width, ends)
    if method == "percentile":
        return (_quantile(counts, 1 - percentile / 100) - SIDE) * width, (
            _quantile(counts, percentile / 100) - SIDE
        ) * width
    if method == "entropy":
        return entropy_range(counts, width, levels)
    return mse_range(_gathered(_with_extremes(stats), width, ends), width, *ends, levels, clipping)


def _gathered(mass: npt.NDArray[Number], width: float, ends: tuple[float, float]) -> npt.NDArray[Number]:
    """The histogram with what lies outside of `ends` moved into the outermost bins inside."""
    first, last = SIDE + math.floor(ends[0] / width), SIDE + math.ceil(ends[1] / width) - 1
    result = mass.copy()
    if first > 0:
        result[first] += result[:first].sum()
        result[:first] = 0
    if last + 1 < len(result):
        result[max(last, first)] += result[last + 1 :].sum()
        result[last + 1 :] = 0
    return result


def _threshold(stats: TensorStatistics, method: str, levels: int, percentile: float, clipping: float) -> float:
    counts, width = stats.histogram, stats.width
    folded = counts[SIDE:] + counts[SIDE - 1 :: -1]  # magnitudes: bin -1 mirrors bin 0
    if method == "percentile":
        return _quantile(folded, percentile / 100) * width
    if method == "entropy":
        return entropy_threshold(folded, levels // 2) * width
    mass = _with_extremes(stats)
    limit = max(-stats.minimum, stats.maximum)
    return mse_threshold(mass[SIDE:] + mass[SIDE - 1 :: -1], width, limit, levels, clipping)


def _with_extremes(stats: TensorStatistics) -> npt.NDArray[np.float64]:
    """The histogram as mass, with the exact extremes in it even where they were not among the sampled elements.

    An element that was sampled stands for several; an extreme that was not stands for itself alone.
    """
    mass = stats.histogram.astype(np.float64)
    weight = max(float(mass.sum()), 1.0) / stats.count
    for extreme in (stats.minimum, stats.maximum):
        place = SIDE + math.floor(extreme / stats.width)
        mass[place] = max(mass[place], weight)
    return mass


def _quantile(counts: Counts, part: float) -> float:
    """Where `part` of the mass lies to the left, in bins from the start; elements are spread evenly in their bin."""
    below = np.concatenate(([0], np.cumsum(counts)))
    rank = part * float(below[-1])
    bin_index = int(np.searchsorted(below, rank, side="left")) - 1
    if bin_index < 0:  # rank 0: the left edge of the first occupied bin
        return float(np.flatnonzero(counts)[0])
    return bin_index + (rank - float(below[bin_index])) / float(counts[bin_index])
