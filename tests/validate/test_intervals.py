from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from edgeport.validate.intervals import PairedMean, newcombe_paired, student_t, wilson


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 6, 8, 10, 20, 60, 127, 2000, 10**6])
def test_student_t(freedom: int) -> None:
    # The series' error falls with freedom^-5; 1e-3 relative at 5 degrees is nothing for an interval.
    assert student_t(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-3 if freedom < 10 else 1e-5)


@pytest.mark.parametrize(("right", "n"), [(0, 10), (1, 10), (7, 10), (10, 10), (1850, 2000)])
def test_wilson_equals_scipy(right: int, n: int) -> None:
    expected = stats.binomtest(right, n).proportion_ci(0.95, "wilson")
    assert wilson(right, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_newcombe_by_hand() -> None:
    """Method 10 computed step by step for 40 pairs: 24 both, 6 first only, 2 second only, 8 neither."""
    both, first, second, neither, n = 24, 6, 2, 8, 40
    (l1, u1), (l2, u2) = (stats.binomtest(k, n).proportion_ci(0.95, "wilson") for k in (30, 26))
    phi = (both * neither - first * second - n / 2) / np.sqrt(30 * 10 * 26 * 14)
    p1, p2 = 30 / n, 26 / n
    below = np.sqrt((p1 - l1) ** 2 - 2 * phi * (p1 - l1) * (u2 - p2) + (u2 - p2) ** 2)
    above = np.sqrt((u1 - p1) ** 2 - 2 * phi * (u1 - p1) * (p2 - l2) + (p2 - l2) ** 2)
    assert newcombe_paired(both, first, second, neither) == pytest.approx((0.1 - below, 0.1 + above), abs=1e-12)


@pytest.mark.parametrize(
    ("n", "p", "flip_to_wrong", "flip_to_right"), [(64, 0.9, 0.03, 0.01), (400, 0.92, 0.01, 0.01), (128, 0.7, 0.1, 0.2)]
)
def test_paired_drop_covers(n: int, p: float, flip_to_wrong: float, flip_to_right: float) -> None:
    rng = np.random.default_rng(n)
    truth = p * flip_to_wrong - (1 - p) * flip_to_right
    hits, runs = 0, 1500
    for _ in range(runs):
        a = rng.random(n) < p
        b = np.where(a, rng.random(n) >= flip_to_wrong, rng.random(n) < flip_to_right)
        both, first, second = int((a & b).sum()), int((a & ~b).sum()), int((~a & b).sum())
        low, high = newcombe_paired(both, first, second, n - both - first - second)
        hits += low <= truth <= high
    # 1500 runs at 95 % scatter by 3 sigma = 1.7 %; Newcombe's method is somewhat conservative, so only below matters.
    assert hits / runs >= 0.93


@pytest.mark.parametrize("n", [16, 100])
def test_mean_of_a_real_valued_metric_covers(n: int) -> None:
    rng = np.random.default_rng(n)
    hits, runs = 0, 1000
    for _ in range(runs):
        pairs = PairedMean(share=False)
        for a, d in zip(rng.normal(5, 2, n), rng.normal(0.1, 0.3, n), strict=True):
            pairs.add(a, a - d)
        interval = pairs.intervals()[2]
        assert interval is not None
        hits += interval.low <= 0.1 <= interval.high
    assert 0.93 <= hits / runs <= 0.97  # 95 % with 3 sigma of 1000 runs (2.1 %)


def test_clusters_cover_where_counting_rows_would_not() -> None:
    """Tokens of one sentence fail together: the interval must follow the number of sentences."""
    rng = np.random.default_rng(3)
    hits = naive = 0
    runs = 600
    for _ in range(runs):
        pairs = PairedMean(share=True)
        right = rows = 0.0
        for _ in range(60):
            m, good = int(rng.integers(5, 15)), rng.beta(4, 1)
            k = rng.binomial(m, good)
            pairs.add(k, k, m)
            right, rows = right + k, rows + m
        interval = pairs.intervals()[0]
        assert interval is not None
        hits += interval.low <= 0.8 <= interval.high
        low, high = wilson(right, int(rows))
        naive += low <= 0.8 <= high
    assert hits / runs >= 0.92  # 3 sigma of 600 runs is 2.7 %
    assert naive / runs < 0.88


def test_difference_is_exact_and_paired() -> None:
    pairs = PairedMean(share=True)
    for i in range(2000):
        pairs.add(1.0, 0.0 if i < 20 else 1.0)
    assert pairs.means()[2] == 0.01
    first, second, drop = pairs.intervals()
    assert first is not None
    assert second is not None
    assert drop is not None
    assert first.high == 1
    assert 0.005 < drop.low < 0.01 < drop.high < 0.017
    assert drop.method == "newcombe-paired"


def test_no_disagreement_still_has_a_width() -> None:
    for weight in (1.0, 4.0):
        pairs = PairedMean(share=True)
        for i in range(50):
            pairs.add(weight * (i % 2), weight * (i % 2), weight)
        drop = pairs.intervals()[2]
        assert drop is not None
        assert drop.low < 0 < drop.high
        assert drop.high < 0.1


def test_one_sample_has_no_interval_and_unlabelled_ones_do_not_count() -> None:
    pairs = PairedMean(share=True)
    pairs.add(1, 1)
    pairs.add(0, 0, 0)
    assert pairs.samples == 1
    assert pairs.intervals() == (None, None, None)
