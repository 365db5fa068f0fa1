"""`edgeport.api.torch_view`, from an ONNX file to a module."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeport import api
from edgeport.errors import ModelError, ToolchainError

torch = pytest.importorskip("torch")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    weights = {"w": rng.normal(size=(4, 3, 3, 3)), "b": rng.normal(size=4)}
    nodes = [
        helper.make_node("Conv", ["image", "w", "b"], ["features"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["features"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", c, 8, 8]) for n, c in (("image", 3), ("y", 4))]
    constants = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], constants)
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_the_module_computes_what_the_file_does_and_learns(source: Path) -> None:
    module = api.torch_view(str(source), inputs=["image:float32[2,3,8,8]"])
    image = np.random.default_rng(1).normal(size=(2, 3, 8, 8)).astype(np.float32)
    (want,) = ort.InferenceSession(source).run(None, {"image": image})
    (got,) = module(torch.from_numpy(image))
    np.testing.assert_allclose(got.detach().numpy(), want, rtol=1e-5, atol=1e-5)  # float32 sums in another order
    got.sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())


def test_what_torch_lacks_is_refused_with_the_node(source: Path) -> None:
    model = onnx.load(source)
    model.graph.node[1].CopyFrom(helper.make_node("Cast", ["features"], ["whole"], to=TensorProto.UINT64))
    model.graph.node.append(helper.make_node("Div", ["whole", "two"], ["half"]))
    model.graph.node.append(helper.make_node("Cast", ["half"], ["y"], to=TensorProto.FLOAT))
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(2, np.uint64), "two"))
    onnx.save(model, source)
    with pytest.raises(ModelError) as caught:
        api.torch_view(str(source))
    assert [finding.op for finding in caught.value.findings if finding.severity == "error"] == ["Div"]


def test_without_torch_the_pip_line_is_named(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(ToolchainError, match=r'pip install "edgeport\[torch\]"'):
        api.torch_view(str(source))
