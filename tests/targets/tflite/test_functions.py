"""Functions of one variable over their whole domain, against numpy in double precision."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tflite_graphs import Graph, assert_same, lower

from edgeport.targets.tflite.target import TFLITE


def computed(op_type: str, x: np.ndarray, folder: Path, **attributes: int) -> np.ndarray:
    g = Graph()
    g.op(op_type, g.input("x", x), out="y", **attributes)
    artifact, model = lower(g, ["y"], folder)
    return np.asarray(TFLITE.runner(artifact, model).run(g.inputs)["y"])


def spread(low: float, high: float) -> np.ndarray:
    """2,000 numbers of both signs, their magnitudes spread over many powers of ten."""
    magnitude = np.geomspace(max(low, 1e-30), high, 1000)
    return np.concatenate([-magnitude[::-1], magnitude])


CASES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], np.ndarray, float]] = {
    # Function, arguments, relative tolerance: a few ulp (6e-8) of series and logarithms.
    "Tan": (np.tan, spread(0, 1e4), 1e-6),
    "Atan": (np.arctan, spread(0, 1e37), 4e-7),
    "Asin": (np.arcsin, spread(0, 1), 4e-7),
    "Acos": (np.arccos, spread(0, 1), 4e-7),
    "Sinh": (np.sinh, spread(0, 89.4), 2e-5),  # LiteRT's EXP itself is off by 4e-6 at 80
    "Cosh": (np.cosh, spread(0, 89.4), 2e-5),
    "Asinh": (np.arcsinh, spread(0, 1e37), 1e-6),
    "Acosh": (np.arccosh, 1 + np.geomspace(1e-6, 1e37, 2000), 1e-6),
    "Atanh": (np.arctanh, spread(0, 1 - 1e-7), 1e-6),
    "Erf": (np.vectorize(math.erf), spread(0, 10), 1e-6),
}


@pytest.mark.parametrize("op_type", CASES)
def test_relative_error(tmp_path: Path, op_type: str) -> None:
    function, x, tolerance = CASES[op_type]
    x = x.astype(np.float32)
    np.testing.assert_allclose(computed(op_type, x, tmp_path), function(x.astype(np.float64)), rtol=tolerance)


@pytest.mark.parametrize("op_type", CASES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_ends_of_the_domain(tmp_path: Path, op_type: str) -> None:
    x = np.array([0, 1, -1, 2, -2, np.inf, -np.inf], np.float32)
    want = CASES[op_type][0](x.astype(np.float64))
    np.testing.assert_allclose(computed(op_type, x, tmp_path), want, rtol=2e-6, atol=1e-6)  # float32; EXP at 2: 1e-6


@pytest.mark.parametrize("op_type", ["Sin", "Cos"])
def test_sine_and_cosine_far_out(tmp_path: Path, op_type: str) -> None:
    x = spread(1e-3, 1e5).astype(np.float32)
    want = getattr(np, op_type.lower())(x.astype(np.float64))
    # XNNPACK's own polynomial and its reduction by pi in float32: 3e-7 near 0, more with the size of the argument.
    np.testing.assert_allclose(computed(op_type, x, tmp_path), want, atol=1e-6, rtol=0)


@pytest.mark.parametrize("op_type", ["Round", "Floor", "Ceil", "Sign"])
def test_steps(tmp_path: Path, op_type: str) -> None:
    halves = np.array([0.5, 1.5, 2.5, -0.5, -1.5, 1e7 + 0.5, 8388609.5, 1e30, 0.49999997, -0.2, 0, np.inf, -np.inf])
    g = Graph()
    g.op(op_type, g.input("x", halves.astype(np.float32)), out="y")
    assert_same(g, ["y"], tmp_path)


@pytest.mark.parametrize("positive", [0, 1])
@pytest.mark.parametrize("negative", [0, 1])
def test_infinities(tmp_path: Path, positive: int, negative: int) -> None:
    x = np.array([1, np.inf, -np.inf, np.nan, 3.4e38, 0], np.float32)
    got = computed("IsInf", x, tmp_path, detect_positive=positive, detect_negative=negative)
    want = (np.isposinf(x) & bool(positive)) | (np.isneginf(x) & bool(negative))
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(computed("IsNaN", x, tmp_path), np.isnan(x))


@pytest.mark.parametrize("exponent", [-1.0, -0.5, 0.5, 2.0])
def test_powers_of_zero_and_infinity(tmp_path: Path, exponent: float) -> None:
    g = Graph()
    x = g.input("x", np.array([0, 1, 4, 0.3, np.inf], np.float32))
    g.op("Pow", x, g.const(np.float32(exponent)), out="y")
    assert_same(g, ["y"], tmp_path)
