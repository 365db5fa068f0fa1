"""Operators that rank elements or walk along a sequence against ONNX Runtime, in every dtype both sides have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator
from tflite_graphs import Graph, assert_same, lower, normal

from edgeport.targets.tflite.target import TFLITE


def few_values(dtype: str, *shape: int) -> np.ndarray:
    """Numbers with many ties."""
    return np.random.default_rng(0).integers(0 if dtype == "uint8" else -3, 3, shape).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "int32", "int64", "uint8", "int8"])
@pytest.mark.parametrize("largest", [0, 1])
@pytest.mark.parametrize("axis", [0, -2, 2])
def test_top_k(tmp_path: Path, dtype: str, largest: int, axis: int) -> None:
    g = Graph()
    x = g.input("x", few_values(dtype, 4, 5, 3))
    g.op("TopK", x, g.const(np.array([3])), axis=axis, largest=largest, out=["v", "i"])
    assert_same(g, ["v", "i"], tmp_path)


def test_smallest_integers_do_not_overflow(tmp_path: Path) -> None:
    g = Graph()
    x = g.input("x", np.array([5, -(2**31), 2**31 - 1, 0], np.int32))
    g.op("TopK", x, g.const(np.array([4])), largest=0, out=["v", "i"])
    assert_same(g, ["v", "i"], tmp_path)


@pytest.mark.parametrize("op_type", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize("dtype", ["float32", "int32", "uint8", "int8"])
@pytest.mark.parametrize("last", [0, 1])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_arg(tmp_path: Path, op_type: str, dtype: str, last: int, keepdims: int) -> None:
    g = Graph()
    x = g.input("x", few_values(dtype, 2, 5, 4))
    for axis in (0, 1, -1):
        g.op(op_type, x, axis=axis, select_last_index=last, keepdims=keepdims, out=f"y{axis}")
    assert_same(g, ["y0", "y1", "y-1"], tmp_path)


@pytest.mark.parametrize("op_type", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize("last", [0, 1])
@pytest.mark.parametrize("axis", [0, 1])
def test_arg_of_int64(tmp_path: Path, op_type: str, last: int, axis: int) -> None:
    x = few_values("int64", 4, 5) + 2**40  # token ids may be any, and ONNX Runtime has no such kernel
    for keepdims in (0, 1):
        g = Graph()
        g.op(op_type, g.input("x", x), axis=axis, select_last_index=last, keepdims=keepdims, out="y")
        artifact, model = lower(g, ["y"], tmp_path)
        got = TFLITE.runner(artifact, model).run(g.inputs)["y"]
        np.testing.assert_array_equal(got, ReferenceEvaluator(g.proto("y")).run(None, g.inputs)[0])


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_hardmax(tmp_path: Path, axis: int) -> None:
    g = Graph()
    g.op("Hardmax", g.input("x", few_values("float32", 4, 5, 3)), axis=axis, out="y")
    assert_same(g, ["y"], tmp_path)


def test_one_hot_of_floats_that_are_no_whole_numbers(tmp_path: Path) -> None:
    g = Graph()
    indices = g.input("i", np.array([0, 2, -1, 0.5, -0.5, 3.25, 9], np.float32))
    g.op("OneHot", indices, g.const(np.float32(4)), g.const(np.array([-1, 2], np.float32)), out="y")
    assert_same(g, ["y"], tmp_path)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("dtypes", [("int64", "float32"), ("int64", "int64"), ("int32", "int32")], ids=str)
def test_one_hot(tmp_path: Path, axis: int, constant: bool, dtypes: tuple[str, str]) -> None:
    indices, values = np.array([[0, 3, -1], [4, -4, -9]], dtypes[0]), np.array([-1, 2], dtypes[1])
    g = Graph()
    depth, pair = g.const(np.asarray(4, dtypes[0])), g.const(values) if constant else g.input("v", values)
    g.op("OneHot", g.input("i", indices), depth, pair, axis=axis, out="y")
    if dtypes == ("int32", "int32"):  # ONNX Runtime has no such kernel
        artifact, model = lower(g, ["y"], tmp_path)
        got = TFLITE.runner(artifact, model).run(g.inputs)["y"]
        np.testing.assert_array_equal(got, ReferenceEvaluator(g.proto("y")).run(None, g.inputs)[0])
    else:
        assert_same(g, ["y"], tmp_path)


@pytest.mark.parametrize("axes", [(0, 1), (1, 0)])
@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_reverse_sequence(tmp_path: Path, axes: tuple[int, int], constant: bool, dtype: str) -> None:
    g = Graph()
    x, lengths = few_values(dtype, 4, 4, 3), np.array([1, 4, 2, 3])
    where = g.const(lengths) if constant else g.input("l", lengths)
    g.op("ReverseSequence", g.input("x", x), where, batch_axis=axes[0], time_axis=axes[1], out="y")
    assert_same(g, ["y"], tmp_path)


@pytest.mark.parametrize("mode", ["linear", "circular"])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("constant", [True, False])
def test_tensor_scatter(tmp_path: Path, mode: str, batch: int, constant: bool) -> None:
    starts = np.array([4, 0, 2])[:batch] if mode == "circular" else np.array([3, 0, 2])[:batch]
    g = Graph()
    where = g.const(starts) if constant else g.input("s", starts)
    cache, update = g.input("x", normal(batch, 2, 5, 4)), g.input("u", normal(batch, 2, 2, 4, seed=1))
    g.op("TensorScatter", cache, update, where, mode=mode, out="y")
    artifact, model = lower(g, ["y"], tmp_path)
    got = TFLITE.runner(artifact, model).run(g.inputs)["y"]
    want = g.inputs["x"].copy()
    for sample, start in enumerate(starts):
        for step in range(2):
            want[sample, :, (start + step) % 5] = g.inputs["u"][sample, :, step]
    np.testing.assert_array_equal(got, want)
    if batch == 1 and mode == "linear":
        assert set(artifact.facts["ops"]) <= {"DYNAMIC_UPDATE_SLICE", "CONCATENATION"}


@pytest.mark.parametrize("steps", [(1, 1), (1, -2)], ids=str)
def test_slices_of_many_axes(tmp_path: Path, steps: tuple[int, int]) -> None:
    g = Graph()
    x = g.input("x", normal(2, 2, 3, 4, 2, 3, 2))
    ends = np.where(np.array(steps) > 0, 3, -9)
    starts = np.where(np.array(steps) > 0, 1, 3)
    g.op("Slice", x, g.const(starts), g.const(ends), g.const(np.array([2, 3])), g.const(np.array(steps)), out="y")
    g.op("Split", x, axis=5, num_outputs=3, out=["a", "b", "c"])
    assert_same(g, ["y", "a", "b", "c"], tmp_path)
