"""95 % confidence intervals for figures measured on held-out samples, paired where two models saw the same ones.

The sample is the unit that was drawn, so several rows of one sample (the tokens of a sentence) count as a cluster.
"""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]
CONFIDENCE = 0.95
_Z = 1.959963984540054
"""Normal quantile at 1 - (1 - CONFIDENCE) / 2."""

_T_SMALL = (12.706204736432095, 4.302652729911275, 3.182446305284263, 2.7764451051977987)
"""Student's t at the same probability for 1 to 4 degrees of freedom, where the series below is not accurate."""


@dataclass(frozen=True)
class Interval:
    """A two-sided interval at `CONFIDENCE`, the number of samples behind it, and the method's name."""

    low: float
    high: float
    samples: int
    method: str


def wilson(right: float, n: int) -> tuple[float, float]:
    """Score interval of a share `right / n`.

    Reference: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", J. Am. Stat.
    Assoc. 22 (1927), 209-212. It keeps its coverage near 0 and 1, where the normal approximation fails.
    """
    p, z2 = right / n, _Z * _Z
    center = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return (0.0 if right <= 0 else max(0.0, center - half)), (1.0 if right >= n else min(1.0, center + half))


def newcombe_paired(both: float, first: float, second: float, neither: float) -> tuple[float, float]:
    """Interval of the difference of two shares on the same samples: share right in the first minus in the second.

    Args:
        both: number of samples that both models get right.
        first: right in the first only.
        second: right in the second only.
        neither: wrong in both.

    Reference: R. G. Newcombe, "Improved confidence intervals for the difference between binomial proportions based
    on paired data", Statist. Med. 17 (1998), 2635-2650, method 10.
    """
    n = both + first + second + neither
    p1, p2 = (both + first) / n, (both + second) / n
    low1, high1 = wilson(both + first, int(n))
    low2, high2 = wilson(both + second, int(n))
    product = (both + first) * (second + neither) * (both + second) * (first + neither)
    phi = 0.0
    if product > 0:
        covariance = both * neither - first * second
        corrected = max(covariance - n / 2, 0.0) if covariance > 0 else covariance
        phi = corrected / math.sqrt(product)
    down1, up1, down2, up2 = p1 - low1, high1 - p1, p2 - low2, high2 - p2
    below = math.sqrt(max(0.0, down1**2 - 2 * phi * down1 * up2 + up2**2))
    above = math.sqrt(max(0.0, up1**2 - 2 * phi * up1 * down2 + down2**2))
    return max(-1.0, p1 - p2 - below), min(1.0, p1 - p2 + above)


def student_t(freedom: int) -> float:
    """Two-sided Student t quantile at `CONFIDENCE`.

    Reference: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.5 (exact table below 5 degrees).
    """
    if freedom <= len(_T_SMALL):
        return _T_SMALL[freedom - 1]
    z, v = _Z, float(freedom)
    g1 = (z**3 + z) / 4
    g2 = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    g3 = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    g4 = (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160
    return z + g1 / v + g2 / v**2 + g3 / v**3 + g4 / v**4


@dataclass
class PairedMean:
    """Means of two models' figures over the same samples, with intervals of each and of their difference.

    A sample brings a sum over its `weight` rows (1 for a figure per sample; the number of tokens for a share of
    tokens); the mean is the sum of all over the rows of all. Where every sample is one row that is right or wrong,
    the intervals are Wilson's and Newcombe's; otherwise the sample means are treated with the ratio estimator
    (W. G. Cochran, Sampling Techniques, 3rd ed., section 6.4) and Student's t. Memory: 24 bytes a sample.

    Attributes:
        share: the figures are shares from 0 to 1, which bounds the intervals.
    """

    share: bool
    _first: array[float] = field(default_factory=lambda: array("d"))
    _second: array[float] = field(default_factory=lambda: array("d"))
    _weight: array[float] = field(default_factory=lambda: array("d"))

    def add(self, first: float, second: float, weight: float = 1.0) -> None:
        """Adds one sample; a weight of 0 (no labelled row) leaves it out."""
        if weight > 0:
            self._first.append(first)
            self._second.append(second)
            self._weight.append(weight)

    @property
    def samples(self) -> int:
        """How many samples count."""
        return len(self._weight)

    def means(self) -> tuple[float, float, float]:
        """First, second, and first minus second; the difference is formed before the division, so 20 of 2000 is 0.01.

        There must be a sample.
        """
        a, b, w = math.fsum(self._first), math.fsum(self._second), math.fsum(self._weight)
        return a / w, b / w, math.fsum([a, -b]) / w

    def intervals(self) -> tuple[Interval | None, Interval | None, Interval | None]:
        """Intervals of the first mean, the second mean and their difference; None below two samples."""
        n = self.samples
        if n < 2:
            return None, None, None
        a, b, w = (np.asarray(x, np.float64) for x in (self._first, self._second, self._weight))
        binary = bool((w == 1).all() and all(((x == 0) | (x == 1)).all() for x in (a, b)))
        return self._one(a, w, binary), self._one(b, w, binary), self._difference(a, b, w, binary)

    def _one(self, x: Vector, w: Vector, binary: bool) -> Interval:
        n = len(x)
        if binary:
            return Interval(*wilson(float(x.sum()), n), n, "wilson")
        mean, half = _ratio(x, w)
        if self.share and half == 0:  # no spread seen: each sample counts as one draw
            return Interval(*wilson(mean * n, n), n, "wilson")
        return self._bounded(mean, half, n, 0.0)

    def _difference(self, a: Vector, b: Vector, w: Vector, binary: bool) -> Interval:
        n = len(a)
        if binary:
            both, first, second = float((a * b).sum()), float((a * (1 - b)).sum()), float((b * (1 - a)).sum())
            return Interval(*newcombe_paired(both, first, second, n - both - first - second), n, "newcombe-paired")
        mean, half = _ratio(a - b, w)
        if self.share and half == 0 and mean == 0:
            right = float(a.sum() / w.sum()) * n
            return Interval(*newcombe_paired(right, 0.0, 0.0, n - right), n, "newcombe-paired")
        return self._bounded(mean, half, n, -1.0)

    def _bounded(self, mean: float, half: float, n: int, floor: float) -> Interval:
        low, high = mean - half, mean + half
        return (
            Interval(max(low, floor), min(high, 1.0), n, "student-t")
            if self.share
            else Interval(low, high, n, "student-t")
        )


def _ratio(x: Vector, w: Vector) -> tuple[float, float]:
    """Sum of `x` over sum of `w`, and the half-width of its interval, both shape (samples,)."""
    n = len(x)
    mean = float(x.sum() / w.sum())
    spread = math.sqrt(float(np.square(x - mean * w).sum()) / (n * (n - 1))) / float(w.mean())
    return mean, student_t(n - 1) * spread
