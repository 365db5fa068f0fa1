"""Intervals of integers hold everything that ONNX Runtime computes, and are exact where the extremes occur."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from edgeport.targets.bounds import bounds

BYTES = np.arange(256, dtype=np.uint8)


@pytest.mark.parametrize(
    ("body", "exact"),
    [
        ("y = Add(a, k)", True),
        ("y = Sub(k, a)", True),
        ("y = Mul(a, m)", True),
        ("y = Div(a, k)", False),  # towards zero: only the dividend's interval is used
        ("s = Sub(a, big) y = Div(s, k)", False),
        ("y = Mod(a, k)", True),
        ("s = Mul(a, m) y = Concat <axis = 0> (s, a)", True),
        ("c = Less(a, big) y = Where(c, a, m)", False),
        ("n = Cast <to = 3> (a) y = Cast <to = 7> (n)", True),  # wraps around in int8
        ("r = Reshape(a, shape) y = Reshape(r, flat)", True),
        ("r = Reshape(a, shape) y = ArgMax <axis = 1, keepdims = 0> (r)", True),
        ("y = Div(a, m)", None),  # a divisor that may be negative
    ],
)
def test_interval(body: str, exact: bool | None) -> None:
    proto = onnx.parser.parse_model(
        f"""<ir_version: 8, opset_import: ["": 18]> g (uint8[256] x) => (int64[n] y)
        <int64 k = {{7}}, int64 m = {{-3}}, int64 big = {{200}}, int64[2] shape = {{64, 4}}, int64[1] flat = {{-1}}>
        {{ a = Cast <to = 7> (x) {body} }}"""
    )
    model = ir.from_proto(onnx.shape_inference.infer_shapes(proto))
    found = bounds(model.graph.outputs[0])
    if exact is None:
        assert found is None
        return
    # The bytes once more, shuffled so that rows have their largest element at every place.
    shuffled = np.random.default_rng(0).permutation(BYTES)
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    values = session.run(None, {"x": shuffled})[0]
    assert found is not None
    assert found[0] <= values.min()
    assert values.max() <= found[1]
    assert not exact or found == (values.min(), values.max())
