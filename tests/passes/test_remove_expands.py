"""Expand before an operator that broadcasts by itself."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnxruntime as ort

from edgeport.passes.pipeline import canonicalize

_MODEL = """
<ir_version: 8, opset_import: ["": 18]>
g (float[1,1,4] x, float[1,3,4] b) => (float[1,3,4] sum, float[1,3,4] alone, float[2,3,4] wider) {
  to = Constant <value = int64[3] {1, 3, 4}> ()
  more = Constant <value = int64[3] {2, 3, 4}> ()
  e = Expand(x, to)
  sum = Add(e, b)
  alone = Neg(e)
  f = Expand(x, more)
  wider = Mul(f, b)
}
"""


def test_only_readers_that_broadcast_to_the_same_shape_lose_it() -> None:
    model = ir.from_onnx_text(_MODEL)
    graph = canonicalize(model)
    expanded = {use.node.op_type for node in graph.graph if node.op_type == "Expand" for use in node.outputs[0].uses()}
    assert expanded == {"Neg", "Mul"}, "Neg does not broadcast, and the product would be smaller without"
    feeds = {"x": np.arange(4, dtype=np.float32).reshape(1, 1, 4), "b": np.ones((1, 3, 4), np.float32)}
    both = [ort.InferenceSession(ir.to_proto(m).SerializeToString()).run(None, feeds) for m in (model, graph)]
    for before, after in zip(*both, strict=True):
        np.testing.assert_array_equal(after, before)


_MASK = """
<ir_version: 8, opset_import: ["": 18]>
g (int64[1,1,1,4] m, bool[1,1,1,4] c, float[1,2,4,4] b) => (float[1,2,4,4] scores, float[1,1,4,4] z) {
  yes = Constant <value = bool[1,1,4,1] {1, 1, 1, 1}> ()
  low = Constant <value = float[1] {-1e4}> ()
  zero = Constant <value = float[1] {0}> ()
  k = Cast <to = 9> (m)
  both = And(yes, k)
  out = Not(both)
  mask = Where(out, low, zero)
  scores = Add(b, mask)
  either = Or(c, out)
  z = Where(either, zero, low)
}
"""


def test_masks_are_computed_for_their_keys_only() -> None:
    model = ir.from_onnx_text(_MASK)
    graph = canonicalize(model)
    assert [node.op_type for node in graph.graph].count("And") == 0
    where = next(node for node in graph.graph if node.op_type == "Where")
    feeds = {
        "m": np.asarray([1, 0, 1, 0]).reshape(1, 1, 1, 4),
        "c": np.asarray([0, 1, 0, 0], bool).reshape(1, 1, 1, 4),
        "b": np.random.default_rng(0).normal(size=(1, 2, 4, 4)).astype(np.float32),
    }
    assert tuple(where.outputs[0].shape or ()) == (1, 1, 1, 4)
    both = [ort.InferenceSession(ir.to_proto(m).SerializeToString()).run(None, feeds) for m in (model, graph)]
    for before, after in zip(*both, strict=True):
        np.testing.assert_array_equal(after, before)
