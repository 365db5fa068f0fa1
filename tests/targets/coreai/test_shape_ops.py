"""Views, selections, scatters and reductions in Core AI's runtime, against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coreai_graphs import Graph, assert_same, normal, run


def ints(*values: int) -> np.ndarray:
    return np.asarray(values, np.int64)


@pytest.mark.parametrize(
    ("starts", "ends", "axes", "steps"),
    [
        ((1, 0), (3, 2), (0, 1), (1, 1)),
        ((-3,), (2**63 - 1,), (2,), (1,)),
        ((-1,), (-(2**63),), (1,), (-1,)),
        ((4, -1), (0, 0), (2, 0), (-2, -1)),
        ((3,), (1,), (2,), (1,)),
        ((0,), (100,), (-1,), (3,)),
    ],
    ids=str,
)
def test_slices(tmp_path: Path, starts: Any, ends: Any, axes: Any, steps: Any) -> None:
    g = Graph()
    g.op("Slice", g.input("x", normal(3, 4, 5)), *(g.const(ints(*v)) for v in (starts, ends, axes, steps)), out="y")
    assert_same(g, ["y"], tmp_path)


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("indices", [2, [0, -1, 1], [1, 2], [[0, 2], [-3, 1]]], ids=str)
def test_gather(tmp_path: Path, constant: bool, axis: int, indices: Any) -> None:
    g, at = Graph(), np.asarray(indices, np.int64)
    g.op("Gather", g.input("x", normal(3, 4, 5)), g.const(at) if constant else g.input("i", at), out="y", axis=axis)
    assert_same(g, ["y"], tmp_path)


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_gathers_by_element_and_position(tmp_path: Path, dtype: str) -> None:
    g = Graph()
    x = g.input("x", normal(3, 4, 5))
    outputs = [
        g.op("GatherElements", x, g.input("e", np.asarray([[[0, -1], [3, 2]]], dtype)), axis=1),
        g.op("GatherND", x, g.input("n", np.asarray([[0, -1], [2, 1]], np.int64))),
        g.op("GatherND", x, g.input("b", np.asarray([[1], [-1], [0]], np.int64)), batch_dims=1),
    ]
    assert_same(g, outputs, tmp_path)


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "wrap"])
@pytest.mark.parametrize("pads", [(0, 1, 2, 0, 2, 1), (0, -1, 1, 0, 1, -2), (0, 0, 0, 0, 0, 0)], ids=str)
def test_pad(tmp_path: Path, mode: str, pads: tuple[int, ...]) -> None:
    g = Graph()
    more = [g.const(np.float32(1.5))] if mode == "constant" else []
    g.op("Pad", g.input("x", normal(2, 4, 5)), g.const(ints(*pads)), *more, out="y", mode=mode)
    assert_same(g, ["y"], tmp_path)


@pytest.mark.parametrize("reduction", ["none", "add", "mul", "max", "min"])
@pytest.mark.parametrize("constant", [True, False])
def test_scatters(tmp_path: Path, reduction: str, constant: bool) -> None:
    g = Graph()

    def at(name: str, *values: Any) -> str:
        array = np.asarray(values, np.int64)
        return g.const(array) if constant else g.input(name, array)

    x = g.input("x", normal(3, 4, 5))
    outputs = [
        g.op(
            "ScatterElements", x, at("e", [[0, -1], [3, 2]]), g.input("u", normal(1, 2, 2)), axis=1, reduction=reduction
        ),
        g.op("ScatterND", x, at("n", [0, 1], [-1, 3]), g.input("v", normal(2, 5, seed=3)), reduction=reduction),
        g.op("ScatterND", x, at("m", [2], [0]), g.input("w", normal(2, 4, 5, seed=4)), reduction=reduction),
    ]
    assert_same(g, outputs, tmp_path)


@pytest.mark.parametrize(
    "op", ["ReduceSum", "ReduceMean", "ReduceProd", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceLogSumExp"]
)
@pytest.mark.parametrize(("axes", "keepdims"), [((1,), 1), ((0, -1), 0), ((), 1)], ids=str)
def test_reductions(tmp_path: Path, op: str, axes: tuple[int, ...], keepdims: int) -> None:
    g = Graph()
    g.op(op, g.input("x", normal(3, 4, 5)), *([g.const(ints(*axes))] if axes else []), out="y", keepdims=keepdims)
    assert_same(g, ["y"], tmp_path)


@pytest.mark.parametrize(
    ("op", "want"),
    [("ReduceSum", 0), ("ReduceProd", 1), ("ReduceMax", -np.inf), ("ReduceMin", np.inf), ("ReduceL2", 0)],
)
def test_of_nothing(tmp_path: Path, op: str, want: float) -> None:
    """The runtime itself gives uninitialised memory."""
    g = Graph()
    g.op(op, g.input("x", np.zeros((2, 0, 3), np.float32)), g.const(ints(1)), out="y", keepdims=1)
    np.testing.assert_array_equal(run(g, ["y"], tmp_path)["y"], np.full((2, 1, 3), want))


@pytest.mark.parametrize("select_last_index", [0, 1])
@pytest.mark.parametrize("dtype", ["float32", "int32", "uint8"])
def test_places_of_extremes(tmp_path: Path, dtype: str, select_last_index: int) -> None:
    g = Graph()
    x = g.input("x", np.asarray([[3, 1, 3, 0], [0, 0, 5, 5]], dtype))
    outputs = [
        g.op(op, x, axis=axis, keepdims=axis, select_last_index=select_last_index)
        for op in ("ArgMax", "ArgMin")
        for axis in (0, 1)
    ]
    assert_same(g, outputs, tmp_path)


def test_orders(tmp_path: Path) -> None:
    g = Graph()
    x, k = g.input("x", np.asarray([[3, 1, 3, 0, 2], [0, 7, 5, 5, -1]], np.float32)), g.const(ints(3))
    outputs = [*g.op("TopK", x, k, out=["a", "b"]), *g.op("TopK", x, k, out=["c", "d"], largest=0)]
    outputs += [
        g.op("CumSum", x, g.const(np.int64(1)), exclusive=exclusive, reverse=reverse)
        for exclusive in (0, 1)
        for reverse in (0, 1)
    ]
    assert_same(g, outputs, tmp_path)


def test_views(tmp_path: Path) -> None:
    g = Graph()
    x = g.input("x", normal(2, 8, 4, 6))
    outputs = [
        g.op("Reshape", x, g.const(ints(0, -1, 12))),
        g.op("Transpose", x, perm=[3, 1, 0, 2]),
        g.op("Flatten", x, axis=2),
        g.op("Expand", g.input("e", normal(4, 1)), g.const(ints(3, 1, 5))),
        g.op("Tile", x, g.const(ints(1, 2, 1, 3))),
        g.op("DepthToSpace", x, blocksize=2),
        g.op("DepthToSpace", x, blocksize=2, mode="CRD"),
        g.op("SpaceToDepth", x, blocksize=2),
        g.op("Trilu", x, g.const(np.int64(-1)), upper=0),
        g.op("Concat", x, x, axis=-2),
        *g.op("Split", x, g.const(ints(3, 1, 4)), out=["p", "q", "r"], axis=1),
        g.op(
            "OneHot",
            g.input("i", ints(1, -1, 5)),
            g.const(np.int64(4)),
            g.const(np.asarray([2, 3], np.float32)),
            axis=0,
        ),
        g.op("ReverseSequence", x, g.input("l", ints(2, 7)), time_axis=1, batch_axis=0),
    ]
    assert_same(g, outputs, tmp_path)
