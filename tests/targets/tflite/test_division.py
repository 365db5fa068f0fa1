"""Division of integers, cut off towards zero, against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tflite_graphs import Graph, assert_same, lower, normal

from edgeport.errors import ModelError

NUMBERS = np.concatenate(
    [np.arange(-20, 20), [2**31, -(2**31), 2**62 + 7, -(2**62) - 7, 2**33 * 3, 2**63 - 1], -(3 ** np.arange(30))]
)


@pytest.mark.parametrize("divisor", [1, 2, 3, 7, 8, 12, 80, 1000, 2**20, 3 * 2**28, -1, -6, -8])
def test_any_int64_by_a_constant(tmp_path: Path, divisor: int) -> None:
    g = Graph()
    g.op("Div", g.input("x", NUMBERS), g.const(np.int64(divisor)), out="y")
    assert_same(g, ["y"], tmp_path)


def test_rows_and_columns_of_a_peak(tmp_path: Path) -> None:
    g = Graph()
    flat = g.op("ArgMax", g.input("x", normal(3, 70)), axis=1, keepdims=0)
    width = g.const(np.int64(10))
    g.op("Div", flat, width, out="row")
    g.op("Mod", flat, width, out="column")
    ops = assert_same(g, ["row", "column"], tmp_path).facts["ops"]
    assert "BITCAST" not in ops
    assert ops["DIV"] == 1


def test_int32(tmp_path: Path) -> None:
    g = Graph()
    g.op("Div", g.input("x", np.arange(-9, 9, dtype=np.int32)), g.const(np.int32(4)), out="y")
    assert_same(g, ["y"], tmp_path)


def test_int64_by_a_computed_number_is_refused(tmp_path: Path) -> None:
    g = Graph()
    g.op("Div", g.input("x", NUMBERS), g.input("by", NUMBERS * 2 + 1), out="y")
    with pytest.raises(ModelError, match="one constant"):
        lower(g, ["y"], tmp_path)
