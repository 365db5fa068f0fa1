"""Positions of Resize's nearest neighbours where float32's rounding decides, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from edgeport.targets.interpolation import axis_matrix

SIZES = [(7, 8), (10, 12), (14, 19), (18, 21), (26, 28), (33, 78), (38, 12), (55, 36), (24, 28), (5, 10), (12, 7)]
"""Among them ties that float32 misses by less than ONNX Runtime's 1e-6, and by more."""


@pytest.mark.parametrize("rounding", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
@pytest.mark.parametrize("coordinates", ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"])
def test_nearest_neighbours_are_those_of_onnx_runtime(coordinates: str, rounding: str) -> None:
    ends = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, "n"]),
        helper.make_tensor_value_info("sizes", TensorProto.INT64, [3]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, "m"]),
    ]
    modes = {"mode": "nearest", "coordinate_transformation_mode": coordinates, "nearest_mode": rounding}
    node = helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], **modes)
    graph = helper.make_graph([node], "g", ends[:2], ends[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    session = ort.InferenceSession(model.SerializeToString())
    for size, out in SIZES:
        x = np.arange(size, dtype=np.float32)
        (want,) = session.run(None, {"x": x[None, None], "sizes": np.asarray([1, 1, out])})
        matrix = axis_matrix(
            size,
            out,
            out / size,
            mode="nearest",
            coordinates=coordinates,
            rounding=rounding,
            cubic_a=-0.75,
            exclude_outside=False,
            antialias=False,
        )
        np.testing.assert_array_equal(matrix @ x, want[0, 0], err_msg=f"{size} to {out}")
