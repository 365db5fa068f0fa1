from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cosine

from edgeport.errors import ModelError
from edgeport.sample import Array
from edgeport.validate.metrics import OutputDrift, OutputMetrics, check_comparable, is_distribution


def drift(pairs: list[tuple[Array, Array]]) -> OutputMetrics:
    collector = OutputDrift("y")
    for reference, compared in pairs:
        check_comparable("y", reference, compared, what="b and a")
        collector.update(reference, compared)
    return collector.result()


def test_float_figures_equal_those_of_the_whole_arrays() -> None:
    rng = np.random.default_rng(0)
    pairs = []
    for scale in (0.1, 1, 30, 2):
        a = rng.normal(0, scale, (2, 3, 5)).astype(np.float32)
        pairs.append((a, (a + rng.normal(0, 0.05, a.shape)).astype(np.float32)))
    got = drift(pairs)
    ref = np.concatenate([a.ravel() for a, _ in pairs]).astype(np.float64)
    out = np.concatenate([b.ravel() for _, b in pairs]).astype(np.float64)
    # Sums of 120 float64 terms in another order: 1e-12 is far above their rounding.
    assert got.sqnr_db == pytest.approx(10 * np.log10((ref**2).sum() / ((ref - out) ** 2).sum()), rel=1e-12)
    cosines = [1 - cosine(a.ravel().astype(np.float64), b.ravel().astype(np.float64)) for a, b in pairs]
    assert got.cosine_mean == pytest.approx(np.mean(cosines), rel=1e-12)
    assert got.cosine_min == pytest.approx(np.min(cosines), rel=1e-12)
    assert got.max_abs == np.abs(ref - out).max()
    assert (got.samples, got.shape, got.dtype, got.identical) == (4, (2, 3, 5), "float32", False)
    assert got.exact_match is None
    assert got.top1_agreement is None


def test_identical_has_no_finite_sqnr_but_says_so() -> None:
    a = np.array([[1.0, np.inf, np.nan, -0.0]], np.float32)
    got = drift([(a, np.array([[1.0, np.inf, np.nan, 0.0]], np.float32))])
    assert got.identical
    assert got.sqnr_db is None
    assert (got.max_abs, got.cosine_min, got.nonfinite, got.reference_nonfinite) == (0, 1, 0, 0)


def test_equal_infinities_enter_no_sum() -> None:
    a = np.array([3.0, 4.0, -np.inf], np.float32)
    b = np.array([3.0, 4.5, -np.inf], np.float32)
    got = drift([(a, b)])
    assert got.sqnr_db == pytest.approx(10 * np.log10(25 / 0.25), rel=1e-12)
    assert got.max_abs == 0.5


def test_nonfinite_artifact_values_are_counted_and_leave_no_figure() -> None:
    a = np.ones((1, 4), np.float32)
    got = drift([(a, np.array([[1, np.nan, np.inf, 1]], np.float32)), (a, a)])
    assert got.nonfinite == 2
    assert (got.sqnr_db, got.cosine_mean, got.cosine_min, got.max_abs) == (None, None, None, None)
    assert not got.identical
    assert got.top1_agreement == 0.5  # a row with NaN has no answer


def test_shapes_that_values_decide_on_have_a_way_out() -> None:
    a = np.zeros((4, 512), np.int64)
    with pytest.raises(ModelError, match=r"\[4, 515\] and \[4, 512\] .* NonZero\): then end the model before"):
        drift([(a, np.zeros((4, 515), np.int64))])
    with pytest.raises(ModelError, match="not the same model$"):
        drift([(a, a[0])])


def test_infinity_that_the_artifact_does_not_repeat() -> None:
    got = drift([(np.array([-np.inf, 1.0], np.float32), np.array([-3e38, 1.0], np.float32))])
    assert (got.nonfinite, got.reference_nonfinite, got.sqnr_db, got.identical) == (0, 1, None, False)


def test_silent_reference_has_no_sqnr() -> None:
    got = drift([(np.zeros(3, np.float32), np.full(3, 0.5, np.float32))])
    assert (got.sqnr_db, got.identical, got.max_abs, got.cosine_min, got.signal) == (None, False, 0.5, 0.0, 0.0)


def test_differences_too_small_to_square_are_not_identical() -> None:
    got = drift([(np.array([1.0, 1e-200]), np.array([1.0, 0.0]))])
    assert not got.identical
    assert got.sqnr_db is not None
    assert got.sqnr_db > 3000


def test_masks_of_float32_minimum_do_not_overflow() -> None:
    low = np.finfo(np.float32).min
    got = drift([(np.array([low, 1.0], np.float32), np.array([low, 1.5], np.float32))])
    assert got.sqnr_db == pytest.approx(20 * np.log10(abs(float(low)) / 0.5), rel=1e-12)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_float_widths(dtype: type) -> None:
    a, b = np.array([1.0, 2.0], dtype), np.array([1.0, 2.25], dtype)
    assert drift([(a, b)]).sqnr_db == pytest.approx(10 * np.log10(5 / 0.0625), rel=1e-12)


def test_bfloat16_counts_as_float() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    a, b = np.array([1.0, 2.0], ml_dtypes.bfloat16), np.array([1.0, 2.25], ml_dtypes.bfloat16)
    assert drift([(a, b)]).sqnr_db == pytest.approx(10 * np.log10(5 / 0.0625), rel=1e-12)


def test_integers_have_an_exact_match_rate_and_an_exact_gap() -> None:
    big = 2**62
    got = drift([(np.array([1, big, -big]), np.array([1, big + 1, big]))])
    assert got.exact_match == pytest.approx(1 / 3)
    assert got.max_abs == float(2**63)
    assert (got.sqnr_db, got.cosine_mean, got.top1_agreement) == (None, None, None)


def test_bool_and_string_outputs() -> None:
    got = drift([(np.array([True, False]), np.array([True, True]))])
    assert (got.exact_match, got.max_abs, got.identical) == (0.5, 1, False)
    words = drift([(np.array(["a", "b"], object), np.array(["a", "c"], object))])
    assert (words.exact_match, words.max_abs) == (0.5, None)


def test_top1_agreement_is_the_share_of_rows() -> None:
    rng = np.random.default_rng(1)
    pairs = [(rng.normal(size=(3, 5)), rng.normal(size=(3, 5))) for _ in range(40)]
    got = drift(pairs)
    agree = [np.argmax(a[i]) == np.argmax(b[i]) for a, b in pairs for i in range(3)]
    assert got.top1_agreement == pytest.approx(np.mean(agree), rel=1e-12)
    assert got.top1_interval is not None
    assert got.top1_interval.low < np.mean(agree) < got.top1_interval.high
    assert got.top1_interval.samples == 40  # the sample was drawn, not its rows


def test_what_is_a_distribution() -> None:
    soft = np.array([[[0.25, 0.75], [1.0, 0.0]]])
    assert is_distribution(soft)
    assert is_distribution(np.array([[-3.0, 2.0]]))  # logits of shape (batch, classes)
    assert not is_distribution(np.array([[[1.0, 2.0]]]))  # rank 3, no rows that sum to 1
    assert not is_distribution(np.array([[1.0]]))
    assert not is_distribution(np.array([2.0, -1.0]))
    assert is_distribution(np.array([0.5, 0.5]))
    assert not is_distribution(np.float64(1.0).reshape(()))


def test_one_sample_that_is_no_distribution_takes_top1_away() -> None:
    soft = np.array([0.5, 0.5])
    assert drift([(soft, soft)]).top1_agreement == 1
    assert drift([(soft, soft), (soft * 2, soft)]).top1_agreement is None


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        (np.zeros((1, 3), np.float32), np.zeros(3, np.float32), "shapes"),
        (np.zeros((1, 3), np.float32), np.zeros((1, 1), np.float32), "shapes"),
        (np.zeros(3, np.float32), np.zeros(3, np.float64), "dtypes"),
        (np.zeros(3, np.int64), np.zeros(3, np.int32), "dtypes"),
        (np.zeros(3, np.complex64), np.zeros(3, np.complex64), "complex"),
    ],
)
def test_nothing_is_broadcast_or_cast(a: Array, b: Array, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        check_comparable("y", a, b, what="the artifact and the source")


def test_float_widths_may_differ_only_where_asked() -> None:
    a, b = np.zeros(3, np.float16), np.zeros(3, np.float32)
    check_comparable("y", a, b, what="a and b", any_float=True)
    with pytest.raises(ModelError, match="dtypes"):
        check_comparable("y", np.zeros(3, np.int64), b, what="a and b", any_float=True)
