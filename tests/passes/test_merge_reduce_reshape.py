"""A reduction whose kept axes a Reshape drops."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

from edgeport.passes.pipeline import canonicalize

_MODEL = """
<ir_version: 8, opset_import: ["": 18]>
g (float[2,3,4,5] x) => (float[OUT] y) {
  axes = Constant <value = int64[2] {-1, -2}> ()
  shape = Constant <value = int64[RANK] {OUT}> ()
  m = ReduceMean(x, axes)
  y = Reshape(m, shape)
}
"""


@pytest.mark.parametrize(("shape", "operators"), [("2,3", ["ReduceMean"]), ("3,2", ["ReduceMean", "Reshape"])])
def test_only_a_reshape_that_drops_the_reduced_axes_goes(shape: str, operators: list[str]) -> None:
    model = ir.from_onnx_text(_MODEL.replace("OUT", shape).replace("RANK", "2"))
    graph = canonicalize(model)
    assert [node.op_type for node in graph.graph] == operators
    feeds = {"x": np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)}
    both = [ort.InferenceSession(ir.to_proto(m).SerializeToString()).run(None, feeds)[0] for m in (model, graph)]
    np.testing.assert_array_equal(both[1], both[0])
