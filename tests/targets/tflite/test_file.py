"""What the file itself must be: the same bytes again, aligned, small, named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from tflite_graphs import Graph, assert_same, lower, normal

from edgeport.errors import ModelError
from edgeport.quantize.plan import Plan
from edgeport.targets.tflite.target import TFLITE


def parsed(path: Path) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0))


def small(g: Graph) -> str:
    w = g.const(normal(8, 3, 3, 3))
    a = g.op("Relu", g.op("Conv", g.input("image", normal(1, 3, 9, 9)), w, g.const(normal(8)), pads=[1, 1, 1, 1]))
    return str(g.op("Conv", a, g.const(normal(5, 8, 1, 1)), out="heat:map"))


def test_same_graph_same_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        folder.mkdir()
        g = Graph()
        lower(g, [small(g)], folder)
    assert (first / "m.tflite").read_bytes() == (second / "m.tflite").read_bytes()
    assert str(tmp_path).encode() not in (first / "m.tflite").read_bytes()


def test_buffers_are_aligned_and_written_once(tmp_path: Path) -> None:
    from ai_edge_litert import schema_py_generated as schema

    g = Graph()
    x = g.input("x", normal(1, 16))
    w = normal(16, 16)
    for _ in range(3):
        x = g.op("MatMul", x, g.const(w.copy()))
    artifact, _ = lower(g, [x], tmp_path)
    data = artifact.path.read_bytes()
    model = schema.Model.GetRootAs(data, 0)
    starts = []
    for i in range(model.BuffersLength()):
        array = model.Buffers(i).DataAsNumpy()
        if not isinstance(array, int):
            starts.append(
                array.__array_interface__["data"][0] - np.frombuffer(data, np.uint8).__array_interface__["data"][0]
            )
    assert len(starts) >= 2
    assert all(s % 16 == 0 for s in starts)
    assert len(data) < 2 * w.nbytes


def test_signature_and_names(tmp_path: Path) -> None:
    g = Graph()
    artifact, _ = lower(g, [small(g)], tmp_path)
    model = parsed(artifact.path)
    (signature,) = model.signatureDefs
    assert signature.signatureKey == b"serving_default"
    assert [t.name for t in signature.inputs] == [b"image"]
    assert [t.name for t in signature.outputs] == [b"heat:map"]
    names = [t.name for t in model.subgraphs[0].tensors]
    assert len(set(names)) == len(names)
    assert b"heat:map" in names
    tensor = model.subgraphs[0].tensors[signature.outputs[0].tensorIndex]
    assert list(tensor.shape) == [1, 5, 9, 9]


def test_minimum_runtime_is_the_newest_operator_s(tmp_path: Path) -> None:
    def runtime(op: str, **attributes: Any) -> str:
        g = Graph()
        x = g.op(op, g.input("x", normal(1, 4, 6, 6)), *attributes.pop("more", lambda g: [])(g), **attributes)
        artifact, _ = lower(g, [x], tmp_path)
        model = parsed(artifact.path)
        (entry,) = [m for m in model.metadata if m.name == b"min_runtime_version"]
        return bytes(model.buffers[entry.buffer].data).rstrip(b"\0").decode()

    assert runtime("Relu") == "1.15.0"
    assert runtime("Gelu") == "2.9.0"
    assert runtime("Conv", group=2, more=lambda g: [g.const(normal(4, 2, 1, 1))]) == "2.9.0"


def test_float64_and_dynamic_shapes_are_findings(tmp_path: Path) -> None:
    g = Graph()
    g.op("Abs", g.input("x", np.zeros((2, 3), np.float64)), out="y")
    (finding,) = TFLITE.check(g.model("y"), "fp32", None)
    assert (finding.severity, finding.code) == ("error", "unsupported-dtype")
    g = Graph()
    g.op("Abs", g.input("x", normal(2, 3)), out="y")
    proto = g.proto("y")
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    import onnx_ir as ir

    (finding,) = TFLITE.check(ir.serde.deserialize_model(proto), "fp32", None)
    assert finding.code == "dynamic-shape"
    assert "--input" in (finding.hint or "")


def test_float64_ends_are_cast(tmp_path: Path) -> None:
    """An image in and out: elements move in float32, since no other kernel has float64."""
    g = Graph()
    x = g.op("Cast", g.input("x", normal(1, 3, 4, 4).astype(np.float64)), to=onnx.TensorProto.FLOAT)
    pooled = g.op("MaxPool", x, kernel_shape=[2, 2])
    artifact = assert_same(g, [g.op("Cast", pooled, to=onnx.TensorProto.DOUBLE, out="y")], tmp_path)
    from ai_edge_litert import schema_py_generated as schema

    codes = parsed(artifact.path).operatorCodes
    (version,) = [c.version for c in codes if c.builtinCode == schema.BuiltinOperator.CAST]
    assert version == 5  # the first whose kernels take float64


def test_a_wrong_sample_is_named(tmp_path: Path) -> None:
    from edgeport.errors import UsageError

    g = Graph()
    artifact, model = lower(g, [small(g)], tmp_path)
    runner = TFLITE.runner(artifact, model)
    with pytest.raises(UsageError, match="shape"):
        runner.run({"image": normal(1, 3, 8, 9)})
    with pytest.raises(UsageError, match="image"):
        runner.run({"picture": normal(1, 3, 9, 9)})


def test_more_than_two_gigabytes_are_refused() -> None:
    from edgeport.targets.tflite.builder import Builder

    builder = Builder()
    builder.limit = 1000
    builder.constant("w", np.zeros(2000, np.float32))
    with pytest.raises(ModelError, match="2 GB"):
        builder.pack({}, {}, "")


def test_a_plan_that_asks_for_a_missing_integer_kernel_is_refused(tmp_path: Path) -> None:
    from edgeport.quantize.plan import NodePlan

    g = Graph()
    g.op("Erf", g.input("x", normal(4)), out="y")
    plan = Plan("int8", {}, {"n0_Erf": NodePlan("n0_Erf", "Erf", "int8", "by hand")})
    with pytest.raises(ModelError, match="no kernel"):
        lower(g, ["y"], tmp_path, plan)
