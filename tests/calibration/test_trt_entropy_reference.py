"""The entropy method beside a plain implementation of the algorithm that TensorRT published (Migacz, GTC 2017)."""

from __future__ import annotations

import numpy as np
import pytest

from edgeport.calibration import choose_range
from edgeport.calibration.accumulator import TensorAccumulator
from edgeport.calibration.histogram import SIDE

LEVELS = 128
N = 20000
RNG = np.random.default_rng(3)
DATA = {
    "half-normal": np.abs(RNG.normal(size=N)),
    "normal": RNG.normal(size=N),
    "laplace with outliers": np.r_[RNG.laplace(size=N - 4), RNG.uniform(30, 60, 4)],
    "relu of normal": np.maximum(RNG.normal(size=N), 0),
    "relu of laplace": np.maximum(RNG.laplace(size=N) - 1, 0),
    "relu6": np.clip(4 * RNG.normal(size=N), 0, 6),
    "student": RNG.standard_t(3, N),
    "uniform": RNG.uniform(-1, 1, N),
}


def observe(values):
    """Statistics of a tensor whose elements all enter the histogram: small arrays are not subsampled."""
    accumulator = TensorAccumulator("t", "histogram")
    for part in np.array_split(values.astype(np.float32), 5):
        accumulator.add(part)
    return accumulator.result()


def magnitudes(statistics):
    counts = statistics.histogram
    return (counts[SIDE:] + counts[SIDE - 1 :: -1]).astype(np.float64)


def divergence(counts, end, *, few):
    """KL(P || Q) of the first `end` bins as in the talk; with `few`, without what counting few elements adds to it."""
    clipped = counts[:end].copy()
    occupied = clipped > 0
    last = np.flatnonzero(occupied)[-1] if few else end - 1
    clipped[last] += counts[end:].sum()
    expanded, noise = np.zeros(end), 0.0
    for level in range(LEVELS):
        bins = slice(level * end // LEVELS, (level + 1) * end // LEVELS)
        held = occupied[bins].sum()
        if held:
            expanded[bins] = np.where(occupied[bins], counts[bins].sum() / held, 0)
            noise += (held - 1) / 2 / counts.sum()
    p, q = clipped / clipped.sum(), expanded / expanded.sum()
    here = p > 0
    if (q[here] == 0).any():
        return np.inf
    return float((p[here] * np.log(p[here] / q[here])).sum()) - (noise if few else 0)


def threshold(counts, *, few, ends):
    """The end of least divergence, the longest of equals, in bins."""
    return -min((divergence(counts, end, few=few), -end) for end in ends)[1]


def sqnr(x, limit):
    step = limit / 127
    error = x - np.clip(np.rint(x / step), -127, 127) * step
    return 10 * np.log10((x**2).mean() / (error**2).mean())


@pytest.mark.parametrize("name", DATA)
def test_the_published_algorithm_with_what_the_module_says_it_changes(name):
    statistics = observe(DATA[name])
    counts = magnitudes(statistics)
    counts[0] = min(counts[:2])  # zeros are exact at any scale
    last = int(np.flatnonzero(counts)[-1]) + 1
    expected = threshold(counts, few=True, ends=np.unique(np.linspace(LEVELS, last, 128).astype(int)))
    ours = choose_range(statistics, "entropy", symmetric=True)[1] / statistics.width
    # The range never goes beyond the largest element, which lies somewhere in its bin.
    assert expected - 1 <= ours <= expected


@pytest.mark.parametrize("name", DATA)
def test_how_far_that_is_from_the_algorithm_as_published(name):
    """Hardly shorter, at most 2.5 times as long, and the error is not larger."""
    x = DATA[name]
    statistics = observe(x)
    counts = magnitudes(statistics)
    counts[0] = min(counts[:2])  # TensorRT leaves the zeros of a ReLU out, too
    last = int(np.flatnonzero(counts)[-1]) + 1
    published = threshold(counts, few=False, ends=range(LEVELS, last + 1, 3)) * statistics.width
    ours = choose_range(statistics, "entropy", symmetric=True)[1]
    # KL is flat around its minimum, so that ends some percent apart are alike; 2.5: of heavy tails.
    assert 0.9 * published <= ours <= 2.5 * published
    assert sqnr(x, ours) > sqnr(x, published) - 0.5
