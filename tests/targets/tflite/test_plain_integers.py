"""Arithmetic on integers that are plain numbers: LiteRT's results are ONNX Runtime's, to the bit and at the limits."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tflite_graphs import Graph, assert_same, lower

from edgeport.errors import ModelError

BYTES = ("int8", "uint8")
WHOLE = (*BYTES, "int32", "int64")
ARITHMETIC = ("Add", "Sub", "Mul", "Max", "Min", "Equal", "Greater", "LessOrEqual")
BITS = ("BitwiseAnd", "BitwiseOr", "BitwiseXor")


def numbers(dtype: str, *shape: int, low: int | None = None, high: int | None = None, seed: int = 0) -> np.ndarray:
    """Random numbers over the whole range of the type, or what of it lies in the given one."""
    info = np.iinfo(dtype)
    low, high = max(info.min, -(10**18) if low is None else low), min(info.max, 10**18 if high is None else high)
    return np.random.default_rng(seed).integers(low, high, shape, dtype=dtype, endpoint=True)


def binary(op: str, a: np.ndarray, b: np.ndarray, **attributes: Any) -> Graph:
    graph = Graph()
    graph.op(op, graph.input("a", a), graph.input("b", b), out="y", **attributes)
    return graph


@pytest.mark.parametrize(("op", "dtype"), [*product(ARITHMETIC, WHOLE), *product(BITS, WHOLE[:3])])
def test_two_operands(op: str, dtype: str, tmp_path: Path) -> None:
    a, b = numbers(dtype, 2, 3, 40), numbers(dtype, 3, 1, seed=1)
    b.reshape(-1)[0] = a.reshape(-1)[0]  # something to be equal
    assert_same(binary(op, a, b), ["y"], tmp_path)


@pytest.mark.parametrize("dtype", WHOLE)
@pytest.mark.parametrize("fmod", [0, 1])
def test_remainders_by_either_sign(fmod: int, dtype: str, tmp_path: Path) -> None:
    a, b = numbers(dtype, 50, low=-100, high=100), numbers(dtype, 50, low=-9, high=9, seed=1)
    assert_same(binary("Mod", a, np.where(b == 0, 5, b).astype(dtype), fmod=fmod), ["y"], tmp_path)


def test_remainder_of_floats_takes_the_dividends_sign(tmp_path: Path) -> None:
    a, b = (np.random.default_rng(s).normal(0, 5, 50).astype(np.float32) for s in (0, 1))
    assert_same(binary("Mod", a, b, fmod=1), ["y"], tmp_path)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32"])
def test_division_truncates(dtype: str, tmp_path: Path) -> None:
    a, b = numbers(dtype, 50, low=-120), numbers(dtype, 50, low=-9, high=9, seed=1)
    assert_same(binary("Div", a, np.where(b == 0, 5, b).astype(dtype)), ["y"], tmp_path)


@pytest.mark.parametrize("direction", ["LEFT", "RIGHT"])
def test_shifts(direction: str, tmp_path: Path) -> None:
    graph = binary("BitShift", numbers("uint8", 4, 8), np.arange(8, dtype=np.uint8), direction=direction)
    assert_same(graph, ["y"], tmp_path)


@pytest.mark.parametrize("exponent", [np.int32([0, 1, 2, 3]), np.float32([0, 2, 0.5, 1.5])], ids=["int", "float"])
def test_integer_to_a_power(exponent: np.ndarray, tmp_path: Path) -> None:
    """Cut off where the power is a fraction: 7^0.5 is 2."""
    graph = binary("Pow", np.arange(1, 29, dtype=np.int32).reshape(7, 4), exponent)
    assert_same(graph, ["y"], tmp_path)


@pytest.mark.parametrize(
    ("op", "dtype"), [*product(("Abs", "Neg", "Sign"), ("int8", "int32", "int64")), ("BitwiseNot", "uint8")]
)
def test_one_operand(op: str, dtype: str, tmp_path: Path) -> None:
    graph = Graph()
    values = numbers(dtype, 3, 20)
    values[0, :2] = 0, np.iinfo(dtype).max
    graph.op(op, graph.input("x", values), out="y")
    assert_same(graph, ["y"], tmp_path)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32"])
@pytest.mark.parametrize("op", ["ReduceMax", "ReduceMin"])
def test_extremes(op: str, dtype: str, tmp_path: Path) -> None:
    graph = Graph()
    graph.op(op, graph.input("x", numbers(dtype, 2, 3, 4)), graph.const(np.int64([1])), out="y")
    assert_same(graph, ["y"], tmp_path)


@pytest.mark.parametrize("op", ["ReduceSum", "ReduceL1", "ReduceSumSquare", "ReduceProd", "ReduceMean"])
def test_sums_of_int32(op: str, tmp_path: Path) -> None:
    graph = Graph()
    graph.op(op, graph.input("x", numbers("int32", 2, 3, 4, low=-20, high=20)), graph.const(np.int64([0, 2])), out="y")
    assert_same(graph, ["y"], tmp_path)


@pytest.mark.parametrize("op", ["ReduceMax", "ReduceMin"])
def test_any_and_all(op: str, tmp_path: Path) -> None:
    graph = Graph()
    values = np.random.default_rng(0).random((3, 5)) < 0.5
    values[0], values[1] = True, False
    graph.op(op, graph.input("x", values), graph.const(np.int64([1])), keepdims=0, out="y")
    assert_same(graph, ["y"], tmp_path)


def test_reduction_of_a_scalar(tmp_path: Path) -> None:
    graph = Graph()
    graph.op("ReduceL2", graph.input("x", np.asarray(-3, np.float32)), out="y")
    assert_same(graph, ["y"], tmp_path)


@pytest.mark.parametrize("op", ["Div", "BitwiseOr"])
def test_int64_without_kernel(op: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=f"{op}|DIV"):
        lower(binary(op, numbers("int64", 4), numbers("int64", 4, low=1, seed=1)), ["y"], tmp_path)


@pytest.mark.parametrize("dtype", BYTES)
def test_images_of_bytes_are_padded_and_enlarged(dtype: str, tmp_path: Path) -> None:
    graph = Graph()
    x = graph.input("x", numbers(dtype, 1, 4, 4, 6))
    padded = graph.op("Pad", x, graph.const(np.int64([0, 0, 1, 2, 0, 0, 0, 1])), graph.const(np.asarray(7, dtype)))
    larger = graph.op("Resize", padded, "", graph.const(np.float32([1, 1, 2, 2])), mode="nearest", nearest_mode="floor",
                      coordinate_transformation_mode="asymmetric")  # fmt: skip
    graph.op("DepthToSpace", larger, blocksize=2, out="y")
    assert_same(graph, ["y"], tmp_path)
