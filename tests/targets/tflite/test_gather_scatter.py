"""Gather and scatter at constant and at computed places against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tflite_graphs import Graph, assert_same, normal

DTYPES = ("float32", "int32", "int64", "bool", "uint8", "int8")


def data(dtype: str, *shape: int, seed: int = 0) -> np.ndarray:
    """Small numbers that every dtype holds."""
    numbers = np.random.default_rng(seed).integers(0, 2 if dtype == "bool" else 7, shape)
    return numbers.astype(dtype)


def indices(size: int, *shape: int, seed: int = 0) -> np.ndarray:
    """Valid indices of both signs."""
    return np.random.default_rng(seed).integers(-size, size, shape)


def place(g: Graph, array: np.ndarray, constant: bool) -> str:
    return g.const(array) if constant else g.input("i", array)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("constant", [True, False])
def test_gather(tmp_path: Path, dtype: str, constant: bool) -> None:
    g = Graph()
    x = g.input("x", data(dtype, 4, 5, 3))
    g.op("Gather", x, place(g, indices(5, 2, 2), constant), axis=-2, out="y")
    assert_same(g, ["y"], tmp_path)
    g = Graph()
    x = g.input("x", data(dtype, 4, 5, 3))
    g.op("GatherElements", x, place(g, indices(5, 4, 2, 3), constant), axis=1, out="y")
    assert_same(g, ["y"], tmp_path)


@pytest.mark.parametrize("batch", [0, 1, 2])
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("constant", [True, False])
def test_gather_nd(tmp_path: Path, batch: int, depth: int, constant: bool) -> None:
    g = Graph()
    where = indices(2, *(3, 2, 2, 3)[:batch], 4, depth, seed=batch)
    g.op("GatherND", g.input("x", normal(3, 2, 2, 3)), place(g, where, constant), batch_dims=batch, out="y")
    assert_same(g, ["y"], tmp_path)


def test_rows_of_a_row_operator_need_no_wrapping(tmp_path: Path) -> None:
    g = Graph()
    x = g.input("x", normal(4, 6))
    g.op("Gather", x, g.op("ArgMax", x, axis=0, keepdims=0), axis=0, out="y")
    ops = assert_same(g, ["y"], tmp_path).facts["ops"]
    assert "SELECT_V2" not in ops


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("constant", [True, False])
def test_scatter_overwrites(tmp_path: Path, dtype: str, constant: bool) -> None:
    g = Graph()
    x = g.input("x", data(dtype, 4, 5))
    where = np.array([[0, 1], [2, -1], [-4, 3]])
    g.op("ScatterND", x, place(g, where, constant), g.input("u", data(dtype, 3, seed=1)), out="y")
    assert_same(g, ["y"], tmp_path)
    g = Graph()
    x = g.input("x", data(dtype, 4, 5))
    where = np.array([[4, 1], [-2, 0]])
    g.op("ScatterElements", x, place(g, where, constant), g.input("u", data(dtype, 2, 2, seed=1)), axis=1, out="y")
    assert_same(g, ["y"], tmp_path)


@pytest.mark.parametrize("constant", [True, False])
def test_of_updates_to_one_place_the_last_stays(tmp_path: Path, constant: bool) -> None:
    g = Graph()
    where = np.array([[1], [0], [-2], [1]])
    g.op("ScatterND", g.input("x", normal(3, 4)), place(g, where, constant), g.input("u", normal(4, 4)), out="y")
    assert_same(g, ["y"], tmp_path)


@pytest.mark.parametrize("reduction", ["add", "mul", "max", "min"])
@pytest.mark.parametrize("dtype", ["float32", "int32"])
@pytest.mark.parametrize("constant", [True, False])
def test_scatter_reduces(tmp_path: Path, reduction: str, dtype: str, constant: bool) -> None:
    infinite = {"max": -np.inf, "min": np.inf}.get(reduction, 1)
    x = data(dtype, 4, 5)
    if dtype == "float32":
        x[0, :3] = x[2] = infinite  # rows with and without an update
    g = Graph()
    rows = g.input("u", data(dtype, 3, 5, seed=1))
    g.op(
        "ScatterND", g.input("x", x), place(g, np.array([[0], [1], [-4]]), constant), rows, reduction=reduction, out="y"
    )
    assert_same(g, ["y"], tmp_path)
    g = Graph()
    few = g.input("u", data(dtype, 3, 3, seed=2))
    where = place(g, indices(4, 3, 3), constant)
    g.op("ScatterElements", g.input("x", x), where, few, axis=0, reduction=reduction, out="y")
    assert_same(g, ["y"], tmp_path)


def test_a_slice_assignment_is_one_kernel(tmp_path: Path) -> None:
    g = Graph()
    where = np.stack(np.meshgrid(np.arange(2), np.arange(1, 4), indexing="ij"), -1)  # x[:, 1:4] = u
    g.op("ScatterND", g.input("x", normal(2, 5, 3)), g.const(where), g.input("u", normal(2, 3, 3, seed=1)), out="y")
    assert assert_same(g, ["y"], tmp_path).facts["ops"] == {"DYNAMIC_UPDATE_SLICE": 1}


@pytest.mark.parametrize("constant", [True, False])
def test_a_row_of_an_inner_axis_moves_nothing_else(tmp_path: Path, constant: bool) -> None:
    g = Graph()
    x, u = g.input("x", normal(1, 2, 8, 4)), g.input("u", normal(1, 2, 1, 4, seed=1))
    front, row = (g.op("Transpose", v, perm=[2, 0, 1, 3]) for v in (x, u))
    written = g.op("ScatterND", front, place(g, np.array([[-3]]), constant), row)
    g.op("Transpose", written, perm=[1, 2, 0, 3], out="y")
    ops = assert_same(g, ["y"], tmp_path).facts["ops"]
    assert ops["DYNAMIC_UPDATE_SLICE"] == 1
    assert "TRANSPOSE" not in ops
