"""Gathers of consecutive elements."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

from edgeport.passes.pipeline import canonicalize

CASES = [
    ("Gather <axis = 1> (x, i)", np.arange(4).reshape(1, 4, 1), {"Reshape": 1}),
    ("Gather <axis = 1> (x, i)", np.arange(-4, 0), {}),
    ("Gather <axis = -1> (x, i)", np.asarray([1, 2, 3]), {"Slice": 1}),
    ("Gather <axis = 2> (x, i)", np.asarray([[1, 2], [3, -1]]), {"Slice": 1, "Reshape": 1}),
    ("Gather <axis = 2> (x, i)", np.asarray([1, 3]), {"Gather": 1}),
    ("Gather <axis = 2> (x, i)", np.asarray([2]), {"Gather": 1}),
    ("GatherND (x, i)", np.moveaxis(np.indices((3, 4)), 0, -1).reshape(2, 3, 2, 2), {"Reshape": 1}),
    ("GatherND (x, i)", np.moveaxis(np.indices((3, 4)), 0, -1)[::-1], {"GatherND": 1}),
    ("GatherND (x, i)", np.asarray([[0], [1]]), {"Slice": 1}),
    ("GatherND (x, i)", np.asarray([[2], [0]]), {"Gather": 1}),
]


@pytest.mark.parametrize(("call", "indices", "operators"), CASES)
def test_ranges_become_slices_and_reshapes(call: str, indices: np.ndarray, operators: dict[str, int]) -> None:
    head = '<ir_version: 8, opset_import: ["": 18]> g (float[3,4,5] x) => (float y) '
    model = ir.from_onnx_text(
        head.replace("float y", "float z") + "{ y = " + call + " z = Neg(y) }",
        [ir.tensor(indices.astype(np.int64), name="i")],
    )
    graph = canonicalize(model)
    found = [node.op_type for node in graph.graph if node.op_type != "Neg"]
    assert {op: found.count(op) for op in found} == operators
    feeds = {"x": np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)}
    both = [ort.InferenceSession(ir.to_proto(m).SerializeToString()).run(None, feeds)[0] for m in (model, graph)]
    np.testing.assert_array_equal(both[1], both[0])


def test_rows_by_one_coordinate(check):
    """`x[:, order]` as PyTorch exports it, beside what needs its GatherND."""
    arrays = {"order": np.array([[2], [0], [-1]]), "pairs": np.array([[0, 1], [1, 0]])}
    text = """<ir_version: 10, opset_import: ["": 24]> g (float[4,3,2] x, int64[5,1] at) =>
        (float[4,3,2] y, float[2,2] p, float[5,3,2] r, float[4,5,2] s) {
        t = Transpose<perm = [1, 0, 2]>(x) o = GatherND(t, order) y = Transpose<perm = [1, 0, 2]>(o)
        p = GatherND(x, pairs)
        r = GatherND(x, at)
        u = Transpose<perm = [1, 2, 0]>(x) v = GatherND(u, at) s = Transpose<perm = [2, 0, 1]>(v)
    }"""
    feeds = {"x": np.random.default_rng(0).normal(size=(4, 3, 2)).astype(np.float32)}
    checked = check(text, initializers=arrays, feeds=feeds | {"at": np.array([[0], [2], [1], [-1], [1]])})
    assert checked.ops == {"Gather": 3, "GatherND": 1, "Reshape": 1}
