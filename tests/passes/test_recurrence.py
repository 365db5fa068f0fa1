"""Recurrent operators with the batch first, against ONNX's own evaluator: ONNX Runtime has none."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.reference
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper

from edgeport.passes import canonicalize


@pytest.mark.parametrize(("op", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
@pytest.mark.parametrize("outputs", ["y yh", "y", "yh"])
def test_batch_first_becomes_time_first(op: str, gates: int, outputs: str) -> None:
    rng = np.random.default_rng(0)
    shapes = {"W": (1, gates * 5, 3), "R": (1, gates * 5, 5), "B": (1, 2 * gates * 5), "h": (2, 1, 5)}
    arrays = {name: rng.standard_normal(shape).astype(np.float32) * 0.5 for name, shape in shapes.items()}
    names = [name if name in outputs.split() else "" for name in ("y", "yh")]
    node = helper.make_node(op, ["x", "W", "R", "B", "", "h"], names, hidden_size=5, layout=1)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, (2, 4, 3))],
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names if name],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    x = rng.standard_normal((2, 4, 3)).astype(np.float32)
    want = onnx.reference.ReferenceEvaluator(proto).run(None, {"x": x})

    canonical = ir.serde.serialize_model(canonicalize(ir.serde.deserialize_model(proto)))
    session = ort.InferenceSession(canonical.SerializeToString(), providers=["CPUExecutionProvider"])
    for got, expected in zip(session.run(None, {"x": x}), want, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)  # both float32, of sums of at most 8 terms
