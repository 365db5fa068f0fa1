"""Statistics: exact against numpy on the raw data, and merging that leaves no trace of how the data was split."""

import json
import math

import numpy as np
import pytest

from edgeport.calibration.accumulator import TensorAccumulator
from edgeport.calibration.histogram import SIDE, exponent_for, sampling_start, sampling_stride, widen
from edgeport.calibration.statistics import Statistics, TensorStatistics
from edgeport.errors import CalibrationError


def sampled_by_hand(array: np.ndarray) -> np.ndarray:
    """The elements that enter the histogram, float32."""
    flat = np.ravel(array).astype(np.float32)
    finite = flat[np.isfinite(flat)]
    stride = sampling_stride(np.shape(array))
    return flat[sampling_start(finite.min(), finite.max(), stride) :: stride] if finite.size else finite


def observe(arrays, request="histogram", name="t"):
    accumulator = TensorAccumulator(name, request)
    for array in arrays:
        accumulator.add(np.asarray(array))
    return accumulator.result()


def statistics(arrays, request="histogram"):
    return Statistics({"t": observe(arrays, request)}, len(arrays))


def cases():
    rng = np.random.default_rng(3)
    tiny, huge = np.float32(1e-45), np.float32(3.4e38)
    yield "normal", [rng.normal(size=(3, 40)).astype(np.float32) * 10.0 ** rng.integers(-3, 4) for _ in range(9)]
    yield "zeros", [np.zeros((2, 5), np.float32)] * 6
    yield (
        "zeros, then values",
        [np.zeros(4, np.float32)] * 3 + [rng.normal(size=7).astype(np.float32) for _ in range(4)],
    )
    yield "single values", [np.float32(v).reshape(()) for v in (0, 1, -1, 0.5, 1024, -1024, 1e-30)]
    yield "extreme magnitudes", [np.array(v, np.float32) for v in ([tiny, -tiny], [huge, -huge], [-1e-38], [1, -1e-20])]
    yield "negative only", [-rng.exponential(size=30).astype(np.float32) for _ in range(6)]
    yield "powers of two", [np.array([2.0**k, -(2.0**k)], np.float32) for k in range(-20, 21)]
    yield "subsampled", [np.maximum(rng.normal(size=(1, 8, 65, 33)), 0).astype(np.float32) * k for k in range(5)]
    yield (
        "non-finite",
        [np.array([1, np.inf, np.nan], np.float32), np.array([-np.inf], np.float32), np.ones(3, np.float32)],
    )
    yield "empty", [np.zeros((0, 3), np.float32), np.array([2.5], np.float32), np.zeros((0,), np.float32)]
    yield "double precision", [rng.normal(size=20) for _ in range(4)]
    yield "half precision", [rng.normal(size=20).astype(np.float16) for _ in range(4)]


@pytest.mark.parametrize(("name", "arrays"), list(cases()), ids=lambda v: v if isinstance(v, str) else "")
def test_merge_of_any_split_in_any_order_gives_the_same_bytes(name, arrays):
    rng = np.random.default_rng(len(name))
    whole = statistics(arrays).to_bytes()
    for _ in range(25):
        shuffled = [arrays[i] for i in rng.permutation(len(arrays))]
        i, j = np.sort(rng.integers(0, len(arrays) + 1, 2))
        a, b, c = (statistics(part) for part in (shuffled[:i], shuffled[i:j], shuffled[j:]))
        assert a.merge(b).merge(c).to_bytes() == whole
        assert a.merge(b.merge(c)).to_bytes() == whole
        assert c.merge(a).merge(b).to_bytes() == whole


@pytest.mark.parametrize(("name", "arrays"), list(cases()), ids=lambda v: v if isinstance(v, str) else "")
def test_extremes_counts_and_bins_are_those_of_numpy(name, arrays):
    result = observe(arrays)
    values = np.concatenate([np.ravel(a).astype(np.float32) for a in arrays]).astype(np.float64)
    finite = values[np.isfinite(values)]
    assert (result.count, result.non_finite) == (finite.size, values.size - finite.size)
    assert (result.minimum, result.maximum) == (finite.min(), finite.max())
    sampled = [sampled_by_hand(np.asarray(a)) for a in arrays]
    sampled = np.concatenate(sampled).astype(np.float64)
    sampled = sampled[np.isfinite(sampled)]
    # float64 divides float32 values by powers of two exactly, so floor is exact too.
    bins = np.floor(sampled / result.width).astype(int)
    expected = np.zeros(2 * SIDE, np.int64)
    np.add.at(expected, SIDE + bins, 1)
    np.testing.assert_array_equal(result.histogram, expected)
    assert result.histogram.sum() == sampled.size


def test_more_than_half_of_one_side_is_used_whatever_the_magnitude():
    for magnitude in (1e-30, 0.3, 1.0, 255.0, 256.0, 6e4, 3e38):
        bins = magnitude / 2.0 ** exponent_for(magnitude)
        assert SIDE / 2 <= bins < SIDE


def test_widening_is_floor_division_of_the_bin_number():
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 9, 2 * SIDE)
    for steps in (0, 1, 3, 11, 12, 200):
        expected = np.zeros(2 * SIDE, np.int64)
        np.add.at(expected, SIDE + (np.arange(-SIDE, SIDE) >> min(steps, 62)), counts)
        np.testing.assert_array_equal(widen(counts, steps), expected)


@pytest.mark.parametrize(
    "shape", [(1, 96, 112, 112), (1, 17, 64, 64), (1, 128, 768), (1, 340, 19, 17), (1, 3, 224, 224)]
)
def test_the_sampled_elements_visit_every_index_of_every_axis(shape):
    stride = sampling_stride(shape)
    assert stride >= 7
    places = np.unravel_index(np.arange(0, math.prod(shape), stride), shape)
    for axis, size in enumerate(shape):
        assert np.unique(places[axis]).size == size


def test_an_outlier_at_one_place_is_seen_in_its_share_of_samples():
    """A transformer's massive activation: one token, one channel, in every sample."""
    rng = np.random.default_rng(4)
    arrays = [rng.normal(size=(1, 128, 768)).astype(np.float32) for _ in range(160)]
    for array in arrays:
        array[0, 0, 100] = 60 + rng.normal()
    stride = sampling_stride((1, 128, 768))
    found = observe(arrays)
    seen = int(found.histogram[SIDE + int(30 / found.width) :].sum())  # far above what N(0, 1) reaches
    # Each sample shows it with probability 1 / stride: 160 draws, within four standard deviations.
    mean = 160 / stride
    assert abs(seen - mean) < 4 * np.sqrt(mean)
    assert seen > 0


def test_small_tensors_enter_the_histogram_whole():
    assert [sampling_stride(s) for s in ((), (0, 4), (1000,), (1, 64, 8, 8), (8191,))] == [1] * 5


def test_moments_are_within_half_a_bin_of_numpy():
    values = np.random.default_rng(0).normal(3, 2, 4000).astype(np.float32)
    result = observe([values])
    # Every value moves by at most half a bin to its bin's middle, and so do mean and standard deviation.
    assert result.mean == pytest.approx(values.mean(), abs=result.width / 2)
    assert result.standard_deviation == pytest.approx(values.std(), abs=result.width / 2)


def test_saving_keeps_everything_and_repeats_itself(tmp_path):
    arrays = [np.random.default_rng(i).normal(size=(2, 90)).astype(np.float32) for i in range(3)]
    tensors = {n: observe(arrays, r, n) for n, r in {"b/ü:0": "histogram", "a": "minmax", "z": "histogram"}.items()}
    saved = Statistics(tensors, 3)
    saved.save(tmp_path / "s.safetensors")
    loaded = Statistics.load(tmp_path / "s.safetensors")
    assert loaded.to_bytes() == saved.to_bytes() == (tmp_path / "s.safetensors").read_bytes()
    assert loaded.digest() == saved.digest()
    assert (loaded.samples, list(loaded.tensors)) == (3, ["a", "b/ü:0", "z"])
    assert loaded.tensors["a"].counts is None
    np.testing.assert_array_equal(loaded.tensors["z"].histogram, tensors["z"].histogram)
    assert loaded.tensors["z"].minimum == min(a.min() for a in arrays)


def test_damaged_and_foreign_files_are_refused(tmp_path):
    from safetensors.numpy import save

    whole = statistics([np.arange(5, dtype=np.float32)]).to_bytes()
    other_format = save({}, {"edgeport.statistics": json.dumps({"format": 99, "samples": 1, "tensors": {}})})
    path = tmp_path / "s.safetensors"
    for content in (b"", b"nonsense", whole[:40], whole[:-3], save({"x": np.zeros(3)}), other_format):
        path.write_bytes(content)
        with pytest.raises(CalibrationError, match=r"s\.safetensors.*edgeport calibrate"):
            Statistics.load(path)
    with pytest.raises(CalibrationError, match="cannot be read"):
        Statistics.load(tmp_path / "absent")


def test_different_tensors_do_not_merge():
    a, b = statistics([np.ones(3, np.float32)]), statistics([np.ones(3, np.float32)], "minmax")
    with pytest.raises(CalibrationError, match="'t'"):
        a.merge(b)
    with pytest.raises(CalibrationError, match="'u'"):
        a.merge(Statistics({"t": a.tensors["t"], "u": a.tensors["t"]}, 1))


def test_non_finite_activations_are_a_finding_that_names_the_tensor():
    found = statistics([np.array([np.nan, 1, 2, np.inf], np.float32)]).findings()
    assert [f.code for f in found] == ["non-finite-activation"]
    assert "'t'" in found[0].message
    assert "2 NaN or infinite of 4" in found[0].message
    assert statistics([np.ones(3, np.float32)]).findings() == []


def test_a_histogram_that_was_not_collected_is_not_made_up():
    only_extremes: TensorStatistics = observe([np.ones(3, np.float32)], "minmax")
    with pytest.raises(CalibrationError, match="'t'"):
        _ = only_extremes.histogram
