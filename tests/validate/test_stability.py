"""What float32 rounding alone does to the outputs of a model that picks the best of candidates."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgeport.validate.stability import output_motion


@pytest.mark.parametrize(("gap", "turns"), [(2e-7, True), (1e-2, False)])
def test_only_what_the_order_of_nearly_equal_scores_decides_moves(gap: float, turns: bool) -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 18]>
    best (float[1,64] x) => (float[8] rows, float[1,64] twice) <int64[1] k = {8}, int64[1] axis = {0}> {
        top, at = TopK(x, k)
        flat = Squeeze(at, axis)
        place = Range(zero, all, one)
        numbers = Cast<to=1>(place)
        rows = Gather(numbers, flat)
        twice = Add(x, x)
    }"""
    )
    for name, number in (("zero", 0), ("all", 64), ("one", 1)):
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(number), name))
    x = (1 + np.arange(64, dtype=np.float32) * np.float32(gap))[None]
    graph = ir.serde.deserialize_model(onnx.shape_inference.infer_shapes(model))
    moved = output_motion(graph, [{"x": x}])
    assert moved["twice"].identical
    assert moved["rows"].identical != turns
    assert len(list(graph.graph)) == len(model.graph.node)  # the model itself is as it was
