"""Views, slices, joins, gathers and scatters in saved Core ML packages, against ONNX Runtime."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coreml_graphs import Graph, assert_same, normal, run

from edgeport.errors import ModelError
from edgeport.planning import assign_for, plan_for
from edgeport.targets.coreml.evaluator.package import open_package
from edgeport.targets.coreml.scheme import coreml_scheme

MOST = np.iinfo(np.int64).max
BOOLS = normal(3, 4) > 0
NUMBERS = np.random.default_rng(3).integers(-50, 50, (3, 4)).astype(np.int64)


@pytest.mark.parametrize("x", [normal(3, 4), BOOLS, NUMBERS], ids=["float", "bool", "int64"])
@pytest.mark.parametrize(
    ("op", "operands", "attributes"),
    [
        ("Identity", [], {}),
        ("Reshape", [[2, -1, 1]], {}),
        ("Reshape", [[0, 2, 2]], {}),
        ("Flatten", [], {"axis": 0}),
        ("Unsqueeze", [[0, -1]], {}),
        ("Transpose", [], {}),
        ("Expand", [[2, 1, 4]], {}),
        ("Tile", [[2, 3]], {}),
        ("Slice", [[1], [MOST], [-1], [2]], {}),
        ("Slice", [[-1, -1], [-MOST, -4], [0, 1], [-1, -2]], {}),
        ("Slice", [[0, 1], [2, 3]], {}),
        ("Gather", [[[0, -1], [2, 1]]], {"axis": 1}),
        ("Gather", [2], {}),
        ("GatherElements", [[[0, -1, 2]]], {}),
        ("GatherND", [[[0, -1], [2, 1]]], {}),
        ("ReverseSequence", [[1, 4, 2]], {"batch_axis": 0, "time_axis": 1}),
    ],
    ids=str,
)
def test_constant_operands(
    tmp_path: Path, x: np.ndarray, op: str, operands: list[Any], attributes: dict[str, Any]
) -> None:
    g = Graph()
    constants = [g.const(np.asarray(operand, np.int64)) for operand in operands]
    g.op(op, g.input("x", x), *constants, out="y", **attributes)
    assert_same(g, ["y"], tmp_path)


@pytest.mark.parametrize("sizes", [[1, 2, 1], [2, 2]])
@pytest.mark.parametrize("x", [normal(3, 4), BOOLS], ids=["float", "bool"])
def test_parts_come_together_again(tmp_path: Path, x: np.ndarray, sizes: list[int]) -> None:
    g = Graph()
    parts = g.op(
        "Split", g.input("x", x), g.const(np.asarray(sizes)), out=[f"p{i}" for i in range(len(sizes))], axis=-1
    )
    g.op("Concat", *reversed(parts), out="y", axis=1)
    assert_same(g, ["y", "p1"], tmp_path)


def test_scalars(tmp_path: Path) -> None:
    g = Graph()
    x = g.input("x", np.asarray(1.5, np.float32))
    g.op("Unsqueeze", x, g.const(np.asarray([0, 1])), out="wide")
    g.op("Expand", x, g.const(np.asarray([2, 3])), out="many")
    g.op("Squeeze", g.op("Gather", g.input("v", normal(4)), g.const(np.asarray([-1]))), out="one")
    g.op("Identity", g.op("Concat", "wide", "wide", axis=0), out="two")
    assert_same(g, ["wide", "many", "one", "two"], tmp_path)


@pytest.mark.parametrize(
    ("op", "shape", "indices", "attributes"),
    [
        ("Gather", (5, 3), [4, -5, 0], {}),
        ("Gather", (5, 3), -2, {}),
        ("Gather", (5,), 3, {}),
        ("Gather", (2, 5), [[-1], [3]], {"axis": -1}),
        ("GatherElements", (3, 4), [[-1, 0], [3, -4]], {"axis": 1}),
        ("GatherElements", (3, 4), [[-1, 0, 2, 1]], {"axis": 0}),
        ("GatherND", (3, 4, 2), [[-1, 0], [2, -4]], {}),
        ("GatherND", (2, 3, 4, 2), [[[-1], [2]], [[0], [1]]], {"batch_dims": 1}),
        ("GatherND", (2, 2, 4), [[[-1], [2]], [[0], [1]]], {"batch_dims": 2}),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["float32", "bool"])
def test_indices_given_at_run_time(
    tmp_path: Path, op: str, shape: tuple[int, ...], indices: Any, attributes: dict[str, Any], kind: str
) -> None:
    g = Graph()
    x = normal(*shape)
    data = g.input("x", x if kind == "float32" else x > 0)
    g.op(op, data, g.input("i", np.asarray(indices, np.int64)), out="y", **attributes)
    assert_same(g, ["y"], tmp_path)


@pytest.mark.parametrize("fed", [False, True], ids=["constant", "fed"])
@pytest.mark.parametrize(
    ("reduction", "dtype"),
    [("none", "float32"), ("add", "int32"), ("mul", "float32"), ("min", "int32"), ("max", "float32")],
)
@pytest.mark.parametrize(
    ("op", "indices", "updates", "attributes"),
    [
        ("ScatterElements", [[1, -1, 0]], (1, 3), {"axis": 1}),
        ("ScatterElements", [[1, 0, -1, 2], [0, 2, 1, 0]], (2, 4), {"axis": 0}),
        ("ScatterND", [[1], [-1]], (2, 4), {}),
        ("ScatterND", [[[0, 1], [2, -1]]], (1, 2), {}),
        ("ScatterND", [[0, 1], [0, 2], [1, 1], [1, 2]], (4,), {}),
    ],
    ids=str,
)
def test_scatters(
    tmp_path: Path,
    fed: bool,
    reduction: str,
    dtype: type,
    op: str,
    indices: Any,
    updates: tuple[int, ...],
    attributes: dict[str, Any],
) -> None:
    g = Graph()
    rng = np.random.default_rng(0)
    x, u = (rng.integers(-9, 9, shape).astype(dtype) for shape in ((3, 4), updates))
    where = np.asarray(indices, np.int64)
    i = g.input("i", where) if fed else g.const(where)
    g.op(op, g.input("x", x), i, g.input("u", u), out="y", reduction=reduction, **attributes)
    assert_same(g, ["y"], tmp_path)


@pytest.mark.parametrize("reduction", ["none", "add"])
def test_several_updates_of_one_place(tmp_path: Path, reduction: str) -> None:
    g = Graph()
    indices = g.const(np.asarray([[1], [0], [1]]))
    g.op(
        "ScatterND",
        g.input("x", normal(3, 2)),
        indices,
        g.input("u", normal(3, 2, seed=1)),
        out="y",
        reduction=reduction,
    )
    assert_same(g, ["y"], tmp_path)


@pytest.mark.parametrize("mode", ["linear", "circular"])
@pytest.mark.parametrize("starts", [None, "constant", "fed"])
@pytest.mark.parametrize(
    ("cache", "new", "axis"), [((2, 3, 6, 4), (2, 3, 2, 4), -2), ((2, 6, 4), (2, 3, 4), 1)], ids=str
)
def test_caches(
    tmp_path: Path, mode: str, starts: str | None, cache: tuple[int, ...], new: tuple[int, ...], axis: int
) -> None:
    g = Graph()
    inputs = [g.input("x", normal(*cache)), g.input("u", normal(*new, seed=1))]
    if starts is not None:
        begin = np.asarray([1, 5 if mode == "circular" else 2])
        inputs.append(g.input("s", begin) if starts == "fed" else g.const(begin))
    g.op("TensorScatter", *inputs, out="y", mode=mode, axis=axis)
    assert_same(g, ["y"], tmp_path)


def test_a_box_of_constant_places_is_no_scatter(tmp_path: Path) -> None:
    g = Graph()
    places = np.asarray([[r, c] for r in (1, 2) for c in (0, 1, 2)])
    g.op("ScatterND", g.input("x", normal(4, 5, 2)), g.const(places), g.input("u", normal(6, 2, seed=1)), out="y")
    kinds = assert_same(g, ["y"], tmp_path)
    assert kinds["concat"]
    assert not kinds["scatter_nd"]


def test_lengths_given_at_run_time(tmp_path: Path) -> None:
    g = Graph()
    x, lengths = g.input("x", normal(5, 3, 2)), g.input("n", np.asarray([1, 5, 3], np.int64))
    g.op("ReverseSequence", x, lengths, out="y", batch_axis=1, time_axis=0)
    assert_same(g, ["y"], tmp_path)


@pytest.mark.parametrize(
    ("op", "operands", "problem"),
    [
        ("Gather", [np.asarray([4])], "outside"),
        ("Slice", [np.asarray([2]), np.asarray([2])], "empty"),
        ("Unsqueeze", [np.asarray([0, 1, 2, 3])], "at most 5"),
    ],
)
def test_refused(tmp_path: Path, op: str, operands: list[np.ndarray], problem: str) -> None:
    g = Graph()
    g.op(op, g.input("x", normal(4, 3)), *[g.const(operand) for operand in operands], out="y")
    with pytest.raises(ModelError, match=problem):
        assert_same(g, ["y"], tmp_path)


@pytest.mark.parametrize("precision", ["int8-weights", "int4-weights", "palettized-4", "sparse"])
@pytest.mark.parametrize("device", [{}, {"name": "phone", "deployment": "iOS17"}], ids=["newest", "iOS17"])
def test_tables_are_stored_as_planned(tmp_path: Path, precision: str, device: dict[str, Any]) -> None:
    g, table, ids = Graph(), normal(64, 32), np.array([[3, 0, 63]])
    g.op("Gather", g.const(table, "table"), g.input("ids", ids), out="y")
    model = g.model("y")
    options: dict[str, Any] = (
        {"sparsity": 0.5} if precision == "sparse" else {"group": 64} if precision == "palettized-4" and device else {}
    )
    scheme = replace(coreml_scheme(precision), **options)
    if precision == "int4-weights" and device:
        pytest.skip("blocks of 4 bits came with iOS 18")
    plan = replace(plan_for(model, assign_for(model, scheme), None, "min-max"), device=device)
    how = plan.compression("table")
    assert how is not None
    got = run(g, ["y"], tmp_path, plan)["y"]
    # the rounding of scales, of tables and of the products to float16
    np.testing.assert_allclose(got, how.restored(table)[ids], rtol=2e-3, atol=1e-4)
    operations = open_package(tmp_path / "m.mlpackage").interfaces["main"].function.block.operations
    (gather,) = [operation for operation in operations if operation.kind == "gather"]
    made = {out.name: operation.kind for operation in operations for out in operation.outputs}
    assert made[gather.inputs["x"][0]].startswith("constexpr_")
