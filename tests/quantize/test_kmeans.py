"""The palette's k-means against the exact dynamic program, a known quantizer and coremltools' own."""

from __future__ import annotations

import numpy as np
import pytest

from edgeport.quantize.kmeans import kmeans

SHAPES = {
    "normal": lambda rng, n: rng.normal(size=n),
    "heavy tails": lambda rng, n: rng.standard_t(3, n),
    "two hills": lambda rng, n: np.append(rng.normal(-3, 0.3, n // 2), rng.normal(2, 1, n - n // 2)),
    "outliers": lambda rng, n: np.append(rng.normal(size=n - 3), [500, -300, 4000]),
    "pruned": lambda rng, n: rng.normal(size=n) * (rng.random(n) > 0.6),
    "tiny": lambda rng, n: rng.laplace(size=n) * 1e-20,
}
NEAR = 1.003
"""What the module promises; the optimum itself is what it finds in about nine cases of ten."""


def loss(values: np.ndarray, means: np.ndarray, weights: np.ndarray | None) -> float:
    near = np.abs(values[:, None] - means.astype(np.float64)).min(axis=1)
    return float(np.dot(near**2, np.ones(values.size) if weights is None else weights))


def least_loss(values: np.ndarray, k: int, weights: np.ndarray | None) -> float:
    """best(j, r) = min over l of best(j - 1, l) + cost(l, r), for all l and r: the textbook's O(k n^2)."""
    order = np.argsort(values, kind="stable")
    x = values[order].astype(np.float64)
    w = np.ones(x.size) if weights is None else weights[order].astype(np.float64)
    sums = [np.append(0, np.cumsum(w * x**p)) for p in (0, 1, 2)]
    mass, first, second = (s[None, :] - s[:, None] for s in sums)
    with np.errstate(divide="ignore", invalid="ignore"):
        cost = np.where(mass > 0, second - first**2 / mass, np.inf)
    best = cost[0]
    for _ in range(k - 1):
        best = (best[:, None] + cost).min(axis=0)
    return float(best[-1])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("k", [4, 16, 64])
@pytest.mark.parametrize("shape", SHAPES)
def test_clusters_are_the_optimum_or_next_to_it(shape: str, k: int, weighted: bool) -> None:
    rng = np.random.default_rng(k)
    values = SHAPES[shape](rng, 500).astype(np.float32)
    weights = rng.lognormal(0, 1.5, 500) if weighted else None
    means = kmeans(values, k, weights)
    assert means.shape == (k,)
    assert (np.diff(means) > 0).all()
    scale = float(np.square(values.astype(np.float64)).sum())
    # 1e-13: prefix sums of the reference cancel where an outlier of 4000 stands beside values of 1.
    assert loss(values, means, weights) <= NEAR * least_loss(values, k, weights) + 1e-13 * scale


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_many_values_are_clustered_as_well_as_by_coremltools(bits: int) -> None:
    reference = pytest.importorskip("coremltools._deps.kmeans1d")
    rng = np.random.default_rng(bits)
    values = rng.standard_t(4, 60_000).astype(np.float16).astype(np.float32)
    weights = rng.lognormal(0, 1, values.size)
    distinct, place = np.unique(values, return_inverse=True)
    mass = np.bincount(place, weights)
    theirs = np.asarray(reference.cluster(distinct, 2**bits, weights=mass).centroids)
    assert loss(distinct, kmeans(values, 2**bits, weights), mass) <= NEAR * loss(distinct, theirs, mass)


def test_steps_of_a_normal_distribution_are_those_of_lloyd_and_max() -> None:
    # Max 1960, "Quantizing for minimum distortion", table I, N = 4: outputs at 0.4528 and 1.510.
    quantiles = np.random.default_rng(0).normal(size=1_000_000)
    # The mean of a quarter of a million draws of a spread below 0.5 is good to 0.001; three times that.
    np.testing.assert_allclose(kmeans(quantiles, 4), [-1.510, -0.4528, 0.4528, 1.510], atol=0.003)


@pytest.mark.parametrize("n", [7, 40_000])
def test_few_distinct_values_are_kept_as_they_are(n: int) -> None:
    values = np.random.default_rng(1).choice(np.float32([-1.5, 0, 0.1, 3e4, -2e-7]), n)
    assert np.array_equal(kmeans(values, 16).astype(np.float32), np.unique(values))


def test_values_without_weight_do_not_count() -> None:
    values, weights = np.float32([0, 1, 2, 3, 100]), np.array([1, 1, 1, 1, 0.0])
    assert kmeans(values, 4, weights).tolist() == [0, 1, 2, 3]
    assert np.array_equal(kmeans(values, 2, weights), [0.5, 2.5])
