"""What the passes of `FORMS` leave to the lowering, against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from coreml_graphs import Graph, assert_same, normal


def test_a_layer_on_six_axes_is_one_linear(tmp_path: Path) -> None:
    """As in windows of images whose axes stay apart: views, one transposition before and behind."""
    g = Graph()
    x = g.op("Reshape", g.input("x", normal(24, 6)), g.const(np.asarray([2, 3, 4, 1, 1, 6])))
    moved = g.op("Transpose", x, perm=[2, 1, 0, 3, 4, 5])
    layer = g.op("Add", g.op("MatMul", moved, g.const(normal(6, 8, seed=1))), g.const(normal(8, seed=2)))
    back = g.op("Transpose", g.op("Relu", layer), perm=[2, 1, 0, 3, 4, 5])
    g.op("Reshape", back, g.const(np.asarray([24, 8])), out="y")
    kinds = assert_same(g, ["y"], tmp_path)
    assert (kinds["linear"], kinds["transpose"], kinds["add"]) == (1, 2, 0)


def test_depth_to_space_written_out(tmp_path: Path) -> None:
    """Six axes, two of which stay neighbours."""
    g = Graph()
    x = g.op("Reshape", g.input("x", normal(2, 12, 3, 5)), g.const(np.asarray([2, 2, 2, 3, 3, 5])))
    g.op("Reshape", g.op("Transpose", x, perm=[0, 3, 4, 1, 5, 2]), g.const(np.asarray([2, 3, 6, 10])), out="y")
    kinds = assert_same(g, ["y"], tmp_path)
    assert kinds["transpose"] == 1


def test_six_axes_that_all_come_apart(tmp_path: Path) -> None:
    g = Graph()
    x = g.op("Reshape", g.input("x", normal(12, 60)), g.const(np.asarray([2, 2, 3, 3, 2, 10])))
    g.op("Reshape", g.op("Transpose", x), g.const(np.asarray([60, 12])), out="y")
    kinds = assert_same(g, ["y"], tmp_path)
    assert kinds["transpose"] == 2
