"""Element-wise operators in Core AI's runtime, against ONNX Runtime and numpy."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coreai_graphs import Graph, assert_same, normal, run

SPECIAL = np.asarray([np.nan, np.inf, -np.inf, -0.0, 0.5, 1.5, -1.5, 2.5, 7e4, -1e30, 1e-6, -1e-6], np.float32)
"""Ties of rounding, numbers that saturate, and what is no number."""


def one(op: str, *arrays: np.ndarray, dtype: Any = None, **attributes: Any) -> Graph:
    """A graph of one operator on run-time inputs, its output called `y`."""
    g = Graph()
    g.op(op, *(g.input(f"x{i}", array) for i, array in enumerate(arrays)), out="y", **attributes)
    return g


@pytest.mark.parametrize(
    "op", ["Abs", "Atan", "Ceil", "Erf", "Exp", "Floor", "IsNaN", "Neg", "Relu", "Round", "Sigmoid", "Sqrt", "Tanh"]
)
def test_special_numbers(tmp_path: Path, op: str) -> None:
    assert_same(one(op, SPECIAL), ["y"], tmp_path)


@pytest.mark.parametrize("op", ["Elu", "Selu", "Celu", "Softplus", "Mish", "Gelu", "HardSwish", "Softsign", "Swish"])
def test_activations(tmp_path: Path, op: str) -> None:
    x = np.concatenate([normal(50, seed=1) * 5, [-1e-4, 1e-4, -80, 80]]).astype(np.float32)
    assert_same(one(op, x), ["y"], tmp_path)


@pytest.mark.parametrize(
    ("op", "attributes"),
    [
        ("LeakyRelu", {"alpha": 0.3}),
        ("ThresholdedRelu", {"alpha": 0.4}),
        ("HardSigmoid", {"alpha": 0.3, "beta": 0.4}),
        ("Shrink", {"bias": 0.2, "lambd": 0.6}),
        ("Elu", {"alpha": 0.7}),
        ("Celu", {"alpha": 2.5}),
        ("Gelu", {"approximate": "tanh"}),
        ("Swish", {"alpha": 1.7}),
        ("Softmax", {"axis": 1}),
        ("LogSoftmax", {"axis": 0}),
        ("Hardmax", {"axis": 1}),
        ("LpNormalization", {"axis": 1, "p": 1}),
    ],
    ids=str,
)
def test_attributes(tmp_path: Path, op: str, attributes: dict[str, Any]) -> None:
    assert_same(one(op, normal(3, 4, 5), **attributes), ["y"], tmp_path)


@pytest.mark.parametrize("shapes", [((2, 3, 4), (4,)), ((3, 1), (2, 1, 4)), ((), (2, 3)), ((2, 3), ())], ids=str)
@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Max", "Min", "PRelu", "Greater", "LessOrEqual", "Mod"])
def test_broadcasting(tmp_path: Path, op: str, shapes: tuple[tuple[int, ...], ...]) -> None:
    if op == "PRelu" and len(shapes[1]) > len(shapes[0]):
        pytest.skip("a slope broadcasts to the data only")
    x, y = (normal(*shape, seed=i + 1) for i, shape in enumerate(shapes))
    assert_same(one(op, x, y, **({"fmod": 1} if op == "Mod" else {})), ["y"], tmp_path)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64", "float16", "float64"])
@pytest.mark.parametrize("op", ["Add", "Mul", "Div", "Max", "Equal", "Less", "Mod"])
def test_dtypes(tmp_path: Path, op: str, dtype: str) -> None:
    rng = np.random.default_rng(zlib.crc32(dtype.encode()))
    low = 1 if dtype.startswith("u") else -9
    x, y = (rng.integers(low, 9, (3, 4)).astype(dtype) for _ in range(2))
    y[y == 0] = 2
    attributes = {"fmod": 1} if op == "Mod" and dtype.startswith("float") else {}
    if (op in ("Div", "Max", "Mod") and dtype in ("int8", "uint8")) or (op in ("Add", "Mul") and dtype == "int8"):
        got = run(one(op, x, y), ["y"], tmp_path)["y"]  # ONNX Runtime has no kernel for some of them
        wide = {"Add": x.astype(int) + y, "Mul": x.astype(int) * y, "Max": np.maximum(x, y), "Mod": np.mod(x, y)}
        wide["Div"] = np.trunc(x / y)
        np.testing.assert_array_equal(got, wide[op].astype(np.int64).astype(dtype))
    else:
        assert_same(one(op, x, y, **attributes), ["y"], tmp_path)


@pytest.mark.parametrize("source", ["int8", "uint8", "int16", "int32", "uint32", "int64", "uint64", "bool", "float32"])
@pytest.mark.parametrize("target", ["int8", "uint8", "int32", "uint32", "int64", "uint64", "bool", "float32"])
def test_casts_keep_the_lower_bits(tmp_path: Path, source: str, target: str) -> None:
    from onnx import helper

    x = np.asarray([0, 1, 2, 127, 128, 255, 256, 300, -1, -2, -128, -129, 70000, -70000, 2**31, 2**63], object)
    if source == "float32":
        x = np.asarray([0, 1.7, 2.5, 100.9, -0.0], np.float32)
        expected = x.astype(target)
    else:
        bits = np.asarray([int(v) % 2**64 for v in x], np.uint64)
        x = bits.astype(source) if source != "bool" else bits.astype(bool)
        expected = x.astype(target)
    to = helper.np_dtype_to_tensor_dtype(np.dtype(target))
    got = run(one("Cast", x, to=to), ["y"], tmp_path)["y"]
    np.testing.assert_array_equal(got, expected)


def test_powers(tmp_path: Path) -> None:
    g = Graph()
    x, e = g.input("x", np.abs(normal(3, 4)) + 0.1), g.input("e", normal(4, seed=2))
    outputs = [
        g.op("Pow", x, e),
        g.op("Pow", x, g.const(np.float32(2))),
        g.op("Pow", x, g.const(np.asarray([0.5], np.float32))),
        g.op("Pow", x, g.const(np.asarray(3, np.int64))),
    ]
    assert_same(g, outputs, tmp_path)


def test_powers_of_integers(tmp_path: Path) -> None:
    x, exponent = np.asarray([[1, -1, 2, -3]], np.int32), np.asarray([[-3], [2], [5]], np.int32)
    got = run(one("Pow", x, exponent), ["y"], tmp_path)["y"]
    np.testing.assert_array_equal(got, [[1, -1, 0, 0], [1, 1, 4, 9], [1, -1, 32, -243]])  # 1/8 has no whole part


@pytest.mark.parametrize("direction", ["LEFT", "RIGHT"])
@pytest.mark.parametrize("dtype", ["uint8", "uint32", "uint64"])
def test_shifts(tmp_path: Path, dtype: str, direction: str) -> None:
    x, bits = np.asarray([1, 3, 200, 255], dtype), np.asarray([0, 1, 7, 7], dtype)
    got = run(one("BitShift", x, bits, direction=direction), ["y"], tmp_path)["y"]
    np.testing.assert_array_equal(got, x << bits if direction == "LEFT" else x >> bits)


@pytest.mark.parametrize(("low", "high"), [(-0.5, 0.7), (0.0, None), (None, 0.2), (0.7, -0.5)])
@pytest.mark.parametrize("constant", [True, False])
def test_clip(tmp_path: Path, low: float | None, high: float | None, constant: bool) -> None:
    g = Graph()
    x = g.input("x", normal(4, 5))
    bounds = [
        "" if b is None else (g.const(np.float32(b)) if constant else g.input(name, np.asarray(b, np.float32)))
        for name, b in (("low", low), ("high", high))
    ]
    g.op("Clip", x, *bounds, out="y")
    assert_same(g, ["y"], tmp_path)


def test_what_is_no_number_is_neither_more_nor_less(tmp_path: Path) -> None:
    g = Graph()
    x, y = g.input("x", SPECIAL), g.input("y", np.roll(SPECIAL, 1))
    outputs = [g.op(op, x, y) for op in ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")]
    outputs.append(g.op("IsInf", x, detect_negative=0))
    outputs.append(g.op("Where", outputs[1], x, y))
    assert_same(g, outputs, tmp_path)
