"""Ranges against brute force on the raw data."""

import math

import numpy as np
import pytest

from edgeport.calibration import METHODS, choose_range
from edgeport.calibration.accumulator import TensorAccumulator
from edgeport.calibration.mse import squared_error
from edgeport.errors import CalibrationError, UsageError

RNG = np.random.default_rng(7)
N = 8000  # enters the histogram whole, so that brute force sees the same elements
DATA = {
    "normal": RNG.normal(size=N),
    "relu": np.maximum(RNG.normal(size=N), 0),
    "relu6": np.clip(4 * RNG.normal(size=N), 0, 6),
    "spike of zeros": np.r_[np.zeros(N - 500), RNG.exponential(size=500)],
    "laplace": RNG.laplace(size=N),
    "bimodal": np.r_[RNG.normal(-5, 0.2, N // 2), RNG.normal(3, 0.1, N // 2)],
    "negative": -np.abs(RNG.normal(size=N)),
    "heavy tails": RNG.standard_t(2, N),
    "one outlier": np.r_[RNG.normal(size=N - 1), 60.0],
    "far from zero": RNG.normal(100, 1, N),
    "tiny": 1e-30 * RNG.normal(size=N),
}
DATA = {name: values.astype(np.float32) for name, values in DATA.items()}


def observe(values):
    accumulator = TensorAccumulator("t", "histogram")
    accumulator.add(np.asarray(values, np.float32))
    return accumulator.result()


def quantize(x, low, high, levels=256):
    scale = (high - low) / (levels - 1)
    zero = np.rint(-low / scale)
    return (np.clip(np.rint(x / scale) + zero, 0, levels - 1) - zero) * scale


def quantize_symmetric(x, limit, levels=256):
    steps = levels // 2 - 1
    return np.clip(np.rint(x / limit * steps), -steps, steps) * limit / steps


def error(x, y):
    return float(((x.astype(np.float64) - y) ** 2).mean())


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", DATA)
def test_ranges_contain_zero_and_stay_within_the_extremes(name, method, symmetric):
    values = DATA[name]
    low, high = choose_range(observe(values), method, symmetric=symmetric)
    assert low <= 0 <= high
    assert low < high
    limit = max(-values.min(), values.max())
    if symmetric:
        assert low == -high
        assert high <= limit
    else:
        assert low >= min(values.min(), 0)
        assert high <= max(values.max(), 0)
    if method == "min-max":
        expected = (-limit, limit) if symmetric else (min(values.min(), 0), max(values.max(), 0))
        assert (low, high) == expected


@pytest.mark.parametrize("percentile", [99.99, 99.9, 95.0])
@pytest.mark.parametrize("name", DATA)
def test_percentile_is_that_of_numpy_within_a_bin(name, percentile):
    values = DATA[name]
    stats = observe(values)
    low, high = choose_range(stats, "percentile", percentile=percentile)
    # numpy interpolates between two elements; only the bins around these two are certain.
    for found, part in ((low, 100 - percentile), (high, percentile)):
        below, above = (np.percentile(values, part, method=m) for m in ("lower", "higher"))
        assert min(below, 0) - stats.width <= found <= max(above, 0) + stats.width
    limit = choose_range(stats, "percentile", percentile=percentile, symmetric=True)[1]
    below, above = (np.percentile(np.abs(values), percentile, method=m) for m in ("lower", "higher"))
    assert below - stats.width <= limit <= above + stats.width


@pytest.mark.parametrize("levels", [16, 256])
@pytest.mark.parametrize("name", DATA)
def test_mse_range_is_as_good_as_an_exhaustive_search_on_the_raw_data(name, levels):
    values = DATA[name]
    low, high = choose_range(observe(values), "mse", levels=levels)
    lows = np.linspace(min(values.min(), 0), 0, 40, endpoint=False) if values.min() < 0 else [0.0]
    highs = np.linspace(max(values.max(), 0), 0, 40, endpoint=False) if values.max() > 0 else [0.0]
    best = min(error(values, quantize(values, a, b, levels)) for a in lows for b in highs)
    # The histogram knows an element to a bin only; the search ends at steps of 3 %.
    assert error(values, quantize(values, low, high, levels)) <= 1.05 * best


@pytest.mark.parametrize("clipping", [1.0, 3.0])
@pytest.mark.parametrize("name", DATA)
def test_symmetric_mse_range_is_as_good_as_an_exhaustive_search(name, clipping):
    values = DATA[name].astype(np.float64)

    def counted(limit):
        off = np.abs(values - quantize_symmetric(values, limit))
        return float((np.where(off > limit / 127 / 2, clipping, 1.0) * off**2).mean())

    limit = choose_range(observe(values), "mse", symmetric=True, clipping=clipping)[1]
    best = min(counted(a) for a in np.linspace(1, 0, 200, False) * np.abs(values).max())
    assert counted(limit) <= 1.05 * best


@pytest.mark.parametrize("clipping", [1.0, 3.0])
def test_the_closed_form_of_the_squared_error_is_that_of_dense_points(clipping):
    rng = np.random.default_rng(1)
    counts = rng.integers(0, 50, 64).astype(np.float64)
    edges = np.arange(-20, 45) / 8
    scale, qmin, qmax = np.array([0.01, 0.07, 0.5]), np.array([-100.0, -10, -3]), np.array([100.0, 40, 4])
    points = edges[:-1, None] + (np.arange(2000) + 0.5) / 2000 / 8
    for k, found in enumerate(squared_error(counts, edges, scale, qmin, qmax, clipping)):
        t = points / scale[k]
        off = np.abs(t - np.clip(np.rint(t), qmin[k], qmax[k]))
        counted = np.where(off > 0.5, clipping, 1.0) * off**2 * scale[k] ** 2
        expected = (counted.mean(axis=1) * counts).sum() / counts.sum()
        # 2000 points a bin integrate a piecewise parabola to about 1e-5 of its value.
        assert found == pytest.approx(expected, rel=1e-3)


def divergence(counts, last, levels):
    """TensorRT's loop in plain Python, with the two additions that edgeport documents."""
    counts = counts.astype(float)
    counts[0] = min(counts[0], counts[1])
    p = counts[:last].copy()
    level = np.empty(last, int)
    for j in range(levels):
        level[j * last // levels : (j + 1) * last // levels] = j
    q, noise = np.zeros(last), 0.0
    for j in range(levels):
        inside = (level == j) & (p > 0)
        if inside.any():
            q[inside] = p[inside].sum() / inside.sum()
            noise += (inside.sum() - 1) / 2
    p[np.flatnonzero(p)[-1]] += counts[last:].sum()
    total = p.sum()
    kl = sum(a / total * math.log((a / total) / (b / q.sum())) for a, b in zip(p, q, strict=True) if a > 0)
    return kl - noise / total


@pytest.mark.parametrize("name", ["relu", "heavy tails", "laplace", "one outlier"])
def test_entropy_threshold_has_the_least_divergence_of_the_plain_algorithm(name):
    from edgeport.calibration.histogram import SIDE

    stats = observe(np.abs(DATA[name]))
    counts = stats.histogram[SIDE:]
    _, high = choose_range(stats, "entropy")
    last = int(np.flatnonzero(counts)[-1]) + 1
    chosen = last if high == stats.maximum else round(high / stats.width)
    found = divergence(counts, chosen, 256)
    for candidate in np.linspace(256, last, 60).astype(int):
        # The search looks at 128 candidates; one between two of them may be slightly better.
        assert found <= divergence(counts, int(candidate), 256) + 2e-3


def test_entropy_clips_a_lone_outlier_of_many_elements_and_keeps_a_full_range():
    body = np.random.default_rng(0).normal(size=200_000)
    stats = observe(np.r_[body, np.full(20, 30.0)])
    assert choose_range(stats, "entropy", symmetric=True)[1] < 20
    low, high = choose_range(observe(np.random.default_rng(0).uniform(-1, 1, 200_000)), "entropy")
    assert low < -0.98
    assert high > 0.98


def test_an_extreme_that_was_not_sampled_still_counts_in_mse():
    values = np.zeros((1, 64, 64, 64), np.float32)
    values[0] = np.random.default_rng(0).normal(size=(64, 64, 64))
    values.reshape(-1)[1] = 300.0  # every 17th element is sampled, from the first on
    stats = observe(values)
    low, high = choose_range(stats, "mse")
    clipped = error(values, quantize(values, -5.0, 5.0))
    assert error(values, quantize(values, low, high)) <= 1.05 * min(
        clipped, error(values, quantize(values, -5.0, 300.0))
    )


def test_zeros_give_an_empty_range_at_zero():
    for method in METHODS:
        assert choose_range(observe(np.zeros(9)), method) == (0.0, 0.0)
        assert choose_range(observe(np.zeros(9)), method, symmetric=True) == (0.0, 0.0)


@pytest.mark.parametrize("value", [3.0, -0.7, 1e-40, 3e38])
@pytest.mark.parametrize("method", METHODS)
def test_a_single_value_lies_in_its_range(method, value):
    low, high = choose_range(observe(np.full(9, value)), method)
    # Every method may cut the single occupied bin in the middle, but no further.
    assert low <= 0 <= high
    assert max(-low, high) >= 0.99 * abs(np.float32(value)) or abs(value) < 1e-38


def test_ranges_that_cannot_be_chosen_name_the_tensor():
    with pytest.raises(CalibrationError, match="'t' held 1 NaN"):
        choose_range(observe([np.nan, 1]), "min-max")
    with pytest.raises(CalibrationError, match="'t' was empty"):
        choose_range(observe([]), "mse")
    extremes = TensorAccumulator("t", "minmax")
    extremes.add(np.ones(3, np.float32))
    assert choose_range(extremes.result(), "min-max") == (0.0, 1.0)
    with pytest.raises(CalibrationError, match="'t': only its extremes"):
        choose_range(extremes.result(), "entropy")


def test_senseless_parameters_are_usage_errors():
    stats = observe([1.0])
    for arguments in (
        {"method": "minmax"},
        {"method": "percentile", "percentile": 0.99},
        {"method": "mse", "levels": 1},
    ):
        with pytest.raises(UsageError):
            choose_range(stats, **arguments)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("within", [(-3.0, np.inf), (0.0, np.inf), (-3.0, 2.0), (-np.inf, np.inf)])
def test_what_readers_do_not_tell_apart_counts_as_equal(method, within):
    values = np.append(np.random.default_rng(5).normal(-8, 9, N - 2), [-50, 60])  # 60 sets the bins' width in both
    kept = np.clip(values, *within)
    low, high = choose_range(observe(values), method, within=within)
    if within[1] == np.inf:  # the same elements in the same bins
        assert (low, high) == choose_range(observe(kept), method)
    assert within[0] <= low <= 0 <= high <= within[1]
