"""Control flow that is left in a canonical graph is refused with the way out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from tflite_graphs import Graph, lower, normal

from edgeport.errors import ModelError


def branch(op: str, name: str) -> onnx.GraphProto:
    out = helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [3])
    return helper.make_graph([helper.make_node(op, ["x"], [name])], name, [], [out])


def test_an_if_is_refused_with_the_way_out(tmp_path: Path) -> None:
    g = Graph()
    condition = g.input("c", np.array(True))
    g.input("x", normal(3))
    g.op("If", condition, out="y", then_branch=branch("Relu", "a"), else_branch=branch("Neg", "b"))
    with pytest.raises(ModelError, match="If") as caught:
        lower(g, ["y"], tmp_path)
    (finding,) = caught.value.findings
    assert finding.op == "If"
    assert finding.hint == "export the model with the branch that you need"
    assert "\n" not in str(caught.value)
