"""The part of the calibration run that looks at every tensor of every sample; it is written for speed."""

from __future__ import annotations

import math

import numpy as np

from edgeport.calibration.histogram import (
    add_values,
    empty_counts,
    exponent_for,
    sampling_start,
    sampling_stride,
    widen,
)
from edgeport.calibration.statistics import Request, TensorStatistics
from edgeport.errors import CalibrationError
from edgeport.sample import Array


class TensorAccumulator:
    """Gathers the statistics of one tensor, one array at a time. The result does not depend on the arrays' order."""

    def __init__(self, name: str, request: Request) -> None:
        self._name = name
        self._count = self._non_finite = 0
        self._low, self._high = math.inf, -math.inf
        self._exponent = exponent_for(0.0)
        self._counts = empty_counts() if request == "histogram" else None

    def add(self, array: Array) -> None:
        """Takes in one array of any shape.

        Raises:
            CalibrationError: it is not floating-point.
        """
        if array.dtype.kind != "f":
            raise CalibrationError(
                f"statistics of {self._name!r} requested, which is {array.dtype}, not a float tensor"
            )
        if array.size == 0:
            return
        with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite and is counted as such
            flat = array.astype(np.float32, copy=False).reshape(-1)
        low, high = float(flat.min()), float(flat.max())  # either is NaN if any element is
        finite = flat
        if not (math.isfinite(low) and math.isfinite(high)):
            finite = flat[np.isfinite(flat)]
            self._non_finite += flat.size - finite.size
            if finite.size == 0:
                return
            low, high = float(finite.min()), float(finite.max())
        self._count += finite.size
        self._low, self._high = min(self._low, low), max(self._high, high)
        if self._counts is None:
            return
        stride = sampling_stride(array.shape)
        sampled = flat[sampling_start(low, high, stride) :: stride]
        if finite is not flat:
            sampled = sampled[np.isfinite(sampled)]
        self._add_sampled(sampled, exponent_for(max(abs(low), abs(high))), low >= 0)

    def _add_sampled(self, sampled: Array, exponent: int, non_negative: bool) -> None:
        # An array is always binned at the width that its own extremes ask for, then widened: rounding in extreme
        # magnitudes then cannot depend on what came before it, and merging stays exact.
        assert self._counts is not None
        if exponent == self._exponent:
            add_values(self._counts, sampled, exponent, non_negative)
            return
        counts = empty_counts()
        add_values(counts, sampled, exponent, non_negative)
        widest = max(exponent, self._exponent)
        self._counts = widen(self._counts, widest - self._exponent) + widen(counts, widest - exponent)
        self._exponent = widest

    def result(self) -> TensorStatistics:
        """The statistics of everything added so far."""
        counts = None if self._counts is None else self._counts.copy()
        return TensorStatistics(self._name, self._count, self._non_finite, self._low, self._high, counts)
