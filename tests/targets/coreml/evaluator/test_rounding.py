"""Rounding to fp16 is numpy's, bit by bit."""

from __future__ import annotations

import numpy as np
import pytest

from edgeport.targets.coreml.evaluator.program import TensorType
from edgeport.targets.coreml.evaluator.rounding import settle


def _halves() -> np.ndarray:
    """Every finite fp16 number."""
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
    return every[np.isfinite(every)]


def test_every_number_tie_and_neighbour_rounds_as_numpy_rounds() -> None:
    halves = np.unique(_halves())
    ties = (halves[1:].astype(np.float64) + halves[:-1]) / 2
    values = np.concatenate([halves, ties, [-0.0, 65519.9, -65519.9, 1e-45, -1e-45]]).astype(np.float32)
    values = np.concatenate([values, np.nextafter(values, np.float32(0)), np.nextafter(values, np.float32(np.inf))])
    values = values[np.abs(values) < 65520]
    got, overflow = settle(values, TensorType("fp16", values.shape), "declared")
    want = values.astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(got.view(np.uint32), want.view(np.uint32))
    assert overflow is None


@pytest.mark.parametrize(
    ("values", "overflow"),
    [([1.0, 65520.0, -7e4], 7e4), ([np.inf, 1.0], None), ([np.nan, 2.0, 1e5], 1e5), ([65519.0], None)],
)
def test_only_finite_numbers_overflow(values: list[float], overflow: float | None) -> None:
    array = np.array(values, np.float32)
    with np.errstate(over="ignore"):
        got, found = settle(array, TensorType("fp16", array.shape), "declared")
        np.testing.assert_array_equal(got, array.astype(np.float16).astype(np.float32))
    assert found == overflow


def test_shapes_without_axes_or_elements() -> None:
    for array in (np.float32(0.1), np.zeros((0, 3), np.float32), np.full((2, 3), 0.1, np.float32).T):
        got, _ = settle(np.asarray(array), TensorType("fp16", array.shape), "declared")
        np.testing.assert_array_equal(got, np.asarray(array).astype(np.float16).astype(np.float32))
        assert got.shape == array.shape
