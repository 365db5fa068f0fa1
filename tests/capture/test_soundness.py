"""What ONNX forbids and ONNX Runtime runs all the same, each kernel in its own way."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper

from edgeport.capture import capture
from edgeport.errors import ModelError


def node_model(node: onnx.NodeProto, outputs: tuple[str, ...] = ("y",)) -> onnx.ModelProto:
    x = helper.make_tensor_value_info("x", 1, [2, 3])
    graph = helper.make_graph([node], "g", [x], [onnx.ValueInfoProto(name=name) for name in outputs])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def constant_with_two_attributes() -> onnx.NodeProto:
    node = helper.make_node("Constant", [], ["y"], value=onnx.numpy_helper.from_array(np.zeros(3, np.float32)))
    node.attribute.append(helper.make_attribute("axis", 1))
    return node


CASES = {
    "keepdims is -1": node_model(helper.make_node("ReduceMax", ["x"], ["y"], axes=[1], keepdims=-1)),
    "no permutation": node_model(helper.make_node("Transpose", ["x"], ["y"], perm=[0, 0])),
    "2 attributes": node_model(constant_with_two_attributes()),
    "stands 2 times": node_model(helper.make_node("Relu", ["x"], ["y"]), ("y", "y")),
}


@pytest.mark.parametrize("said", sorted(CASES))
def test_refused_in_one_line(said: str) -> None:
    with pytest.raises(ModelError, match=said) as caught:
        capture(CASES[said], inputs=())
    assert "\n" not in str(caught.value)


def test_onnx_runtime_lets_them_pass() -> None:
    """If it refused them, edgeport would not have to."""
    session = ort.InferenceSession(CASES["keepdims is -1"].SerializeToString(), providers=["CPUExecutionProvider"])
    assert session.run(None, {"x": np.zeros((2, 3), np.float32)})[0].shape == (2,)
