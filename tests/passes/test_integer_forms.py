"""Operators in the forms that have integer kernels compute what they did, in ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from edgeport.passes.pipeline import canonicalize

_RANDOM = np.random.default_rng(3)
X = _RANDOM.normal(size=(2, 3, 4)).astype(np.float32)
V = _RANDOM.uniform(0.5, 2, size=(2, 3, 4)).astype(np.float32)


@pytest.mark.parametrize(
    ("body", "gone"),
    [
        ("c = Constant <value = float {3.0}> () y = Div(x, c)", "Div"),
        ("r = Sqrt(v) y = Div(x, r)", "Div"),
        ("one = Constant <value = float {1.0}> () r = Sqrt(v) y = Div(one, r)", "Div"),
        ("one = Constant <value = float[1,1,1,1] {1.0}> () r = Sqrt(v) y = Div(one, r)", "Div"),
        ("r = Sqrt(v) y = Reciprocal(r)", "Reciprocal"),
        ("y = Neg(x)", "Neg"),
        ("two = Constant <value = float {2.0}> () y = Pow(x, two)", "Pow"),
        ("y = HardSigmoid <alpha = 0.25, beta = 0.4> (x)", "HardSigmoid"),
        ("y = LayerNormalization <axis = -1> (x, s, b)", "LayerNormalization"),
        ("y = InstanceNormalization (x, t, u)", "InstanceNormalization"),
    ],
)
def test_the_form_computes_the_same(body: str, gone: str) -> None:
    text = f"""<ir_version: 8, opset_import: ["": 18]> g (float[2,3,4] x, float[2,3,4] v) => (float y)
    <float[4] s = {{1, 2, 0.5, -1}}, float[4] b = {{0, 1, -1, 2}},
     float[3] t = {{1, -2, 0.5}}, float[3] u = {{0, 1, -1}}>
    {{ {body} }}"""
    proto = onnx.parser.parse_model(text)
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    graph = canonicalize(ir.from_proto(proto), add=["integer_forms", "remove_dead_code"])
    assert gone not in {node.op_type for node in graph.graph}
    names = {value.name for value in graph.graph.inputs}
    feeds = {name: array for name, array in (("x", X), ("v", V)) if name in names}
    want, got = (
        ort.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, feeds)[0]
        for m in (proto, ir.to_proto(graph))
    )
    assert got.shape == want.shape
    # float32 in another order: a few units of 2^-24 of values up to 4.
    np.testing.assert_allclose(got, want, rtol=2e-6, atol=2e-6)
