"""Clipping ranges, chosen from statistics after the run."""

from __future__ import annotations

from typing import Literal

from edgeport.calibration.statistics import TensorStatistics
from edgeport.errors import CalibrationError

Method = Literal["min-max", "percentile", "entropy", "mse"]
METHODS: tuple[Method, ...] = ("min-max", "percentile", "entropy", "mse")


def choose_range(
    stats: TensorStatistics,
    method: Method,
    *,
    symmetric: bool = False,
    levels: int = 256,
    percentile: float = 99.99,
) -> tuple[float, float]:
    """The interval to quantize. It always contains 0; it is (0.0, 0.0) for a tensor that is zero everywhere."""
    if stats.non_finite:
        raise CalibrationError(
            f"tensor {stats.name!r} held {stats.non_finite} NaN or infinite elements, so no range can be chosen; keep it in float"
        )
    low, high = min(stats.minimum, 0.0), max(stats.maximum, 0.0)
    return low, high
