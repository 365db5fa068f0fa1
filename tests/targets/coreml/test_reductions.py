"""Reductions, rankings and running sums against ONNX Runtime, in float32 and float16."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coreml_graphs import Graph, assert_same, normal

from edgeport.errors import ModelError
from edgeport.quantize.plan import Plan
from edgeport.targets.coreml.evaluator.package import open_package
from edgeport.targets.coreml.evaluator.run import Evaluator
from edgeport.targets.coreml.target import COREML

HALF = 4e-3
"""Of float16: roundings (2^-11) of the operand, of terms and of the result, where terms cancel a little."""
REDUCTIONS = [f"Reduce{kind}" for kind in ("L1", "L2", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare", "LogSumExp")]
AXES: list[tuple[list[int] | None, dict[str, int]]] = [
    (None, {}),
    ([1], {}),
    ([-1, 0], {"keepdims": 0}),
    (None, {"keepdims": 0}),
    ([], {"noop_with_empty_axes": 1}),
]


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("fp16", HALF)])
def test_reductions(tmp_path: Path, precision: str, tolerance: float) -> None:
    g, outputs = Graph(), []
    x = g.input("x", normal(2, 3, 4).astype(np.float16).astype(np.float32))
    scalar = g.input("s", np.array(-1.5, np.float32))
    for axes, attributes in AXES:
        given = [] if axes is None else [g.const(np.array(axes, np.int64))]
        outputs += [g.op(op, x, *given, **attributes) for op in REDUCTIONS]
        outputs.append(g.op("ReduceLogSum", g.op("Abs", x), *given, **attributes))
    outputs += [g.op(op, scalar, keepdims=0) for op in REDUCTIONS]
    assert_same(g, outputs, tmp_path, tolerance, Plan(precision))


def test_sums_of_powers_do_not_overflow(tmp_path: Path) -> None:
    x = np.array([[80.0, 79, 78], [-np.inf, 0, 1], [-np.inf, -np.inf, -np.inf], [np.inf, 0, 0]], np.float32)
    g = Graph()
    g.op("ReduceLogSumExp", g.input("x", x), g.const(np.array([1], np.int64)), keepdims=0, out="y")
    for precision in ("fp32", "fp16"):
        assert_same(g, ["y"], tmp_path, HALF, Plan(precision))


def test_norms_of_large_and_small_numbers(tmp_path: Path) -> None:
    x = np.stack([normal(512) * 40, normal(512) * 1e-4, np.zeros(512)]).astype(np.float32)
    g = Graph()
    outputs = [
        g.op("ReduceL2", g.input("x", x), g.const(np.array([1], np.int64))),
        g.op("LpNormalization", "x", axis=1),
    ]
    assert_same(g, outputs, tmp_path, HALF, Plan("fp16"))
    values = Evaluator(tmp_path / "m.mlpackage").run(g.inputs, keep=None).values
    operations = open_package(tmp_path / "m.mlpackage").interfaces["main"].function.block.operations
    squared = [str(o.inputs["x"][0]) for o in operations if o.kind == "reduce_l2_norm"]
    assert len(squared) == 2
    for name in squared:  # no sum of 512 squares is beyond float16, and none of a row that is not 0 is 0
        assert np.abs(values[name]).max(axis=1) == pytest.approx([1, 1, 0], abs=1e-3)


def test_of_integers_and_truth(tmp_path: Path) -> None:
    g, outputs = Graph(), []
    x = g.input("x", np.array([[-7, 4, 1], [3, -2, -9]], np.int32))
    narrow = g.input("u", np.array([[200, 255, 0], [3, 4, 5]], np.uint8))
    truth = g.input("t", np.array([[True, False, True], [False, False, True]]))
    one = g.const(np.array([1], np.int64))
    outputs += [g.op(op, x, one) for op in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd")]
    outputs += [g.op(op, x, one, keepdims=0) for op in ("ReduceL1", "ReduceSumSquare")]
    outputs += [g.op(op, v, one) for op in ("ReduceMax", "ReduceMin") for v in (narrow, truth)]
    assert_same(g, outputs, tmp_path)


def test_roots_and_logarithms_of_integers_are_refused(tmp_path: Path) -> None:
    g = Graph()
    g.op("ReduceL2", g.input("x", np.ones((2, 2), np.int32)), out="y")
    with pytest.raises(ModelError, match="ReduceL2 of integers is not supported"):
        COREML.lower(g.model("y"), Plan("fp32"), tmp_path, "m")


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("fp16", HALF)])
def test_softmax(tmp_path: Path, precision: str, tolerance: float) -> None:
    x = normal(2, 5, 3) * 4
    x[0, 1] = -np.inf
    x[1, 2] = 300  # exp overflows in both
    g, outputs = Graph(), []
    value = g.input("x", x)
    for axis in (-1, 1, 0):
        safe = g.op("Clip", value, g.const(np.float32(-50)))  # a row of minus infinities alone is NaN
        outputs += [g.op(op, safe if axis == -1 else value, axis=axis) for op in ("Softmax", "LogSoftmax")]
    assert_same(g, outputs, tmp_path, tolerance, Plan(precision))


TIES = np.array([[[3, 1, 3], [0, 0, 2]], [[1, 3, 3], [2, 0, 0]]])


@pytest.mark.parametrize("last", [0, 1])
@pytest.mark.parametrize("keep", [0, 1])
def test_places_of_extremes(tmp_path: Path, last: int, keep: int) -> None:
    g, outputs = Graph(), []
    distinct = g.input("x", normal(3, 4, 5))
    whole, equal = g.input("n", TIES.astype(np.int32)), g.op("Relu", g.input("t", TIES.astype(np.float32) - 1))
    for value in (distinct, whole, equal):
        for axis in (0, -1):
            attributes = {"axis": axis, "keepdims": keep, "select_last_index": last}
            outputs += [g.op(op, value, **attributes) for op in ("ArgMax", "ArgMin")]
    outputs += [g.op("Hardmax", equal, axis=axis) for axis in (0, 2)]
    kinds = assert_same(g, outputs, tmp_path)
    assert kinds["reduce_argmax"] == kinds["reduce_argmin"] == (0 if last else 2), (
        "one operation where nothing is equal"
    )


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.int64])
def test_largest_and_smallest(tmp_path: Path, dtype: type) -> None:
    x = np.random.default_rng(0).permutation(24).reshape(4, 6).astype(dtype)
    g, outputs = Graph(), []
    value, k = g.input("x", x), g.const(np.array([3], np.int64))
    for i, attributes in enumerate([{}, {"axis": 0}, {"largest": 0}]):
        outputs += g.op("TopK", value, k, out=[f"v{i}", f"i{i}"], **attributes)
    g.op("TopK", value, k, out=["v", "nobody reads it"])
    assert_same(g, [*outputs, "v"], tmp_path)


ONE_HOT: list[tuple[Any, Any, dict[str, int]]] = [
    (np.array([[0, 3], [-1, -4], [4, 9]], np.int64), np.array([2, 5], np.float32), {}),
    (np.array([1, -2, 7], np.int64), np.array([0, 1], np.int64), {"axis": 0}),
    (np.array([1.0, 2.5, -1.0], np.float32), np.array([-1, 1], np.float32), {}),
]


def test_one_hot(tmp_path: Path) -> None:
    g, outputs = Graph(), []
    for i, (indices, values, attributes) in enumerate(ONE_HOT):
        where, depth = g.input(f"x{i}", indices), g.const(np.array([4], indices.dtype))
        outputs += [g.op("OneHot", where, depth, v, **attributes) for v in (g.const(values), g.input(f"v{i}", values))]
    for precision in ("fp32", "fp16"):
        assert_same(g, outputs, tmp_path, 0, Plan(precision))


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_running_sums_and_triangles(tmp_path: Path, precision: str) -> None:
    g, outputs = Graph(), []
    x, n = g.input("x", np.round(normal(2, 3, 4) * 8) / 8), g.input("n", np.arange(12, dtype=np.int64).reshape(3, 4))
    for flags in ({}, {"exclusive": 1}, {"reverse": 1}, {"exclusive": 1, "reverse": 1}):
        outputs += [g.op("CumSum", v, g.const(np.int64(axis)), **flags) for v, axis in ((x, 1), (n, -1))]
    g.input("inf", np.full((3, 3), -np.inf, np.float32))
    for upper in (0, 1):
        outputs += [g.op("Trilu", v, g.const(np.int64(k)), upper=upper) for v in (x, n) for k in (-1, 0, 2)]
        outputs.append(g.op("Trilu", "inf", upper=upper))
    # sums of multiples of 1/8 are exact in float16
    assert_same(g, outputs, tmp_path, 0, Plan(precision))


def test_filled_shapes(tmp_path: Path) -> None:
    import onnx

    g = Graph()
    value = onnx.numpy_helper.from_array(np.array([2.5], np.float32))
    made = g.op("ConstantOfShape", g.const(np.array([2, 3], np.int64)), value=value)
    g.op("Add", g.input("x", normal(3)), made, out="y")
    assert_same(g, ["y"], tmp_path)
