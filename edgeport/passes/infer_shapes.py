"""Shapes and element types of all values, from ONNX's own shape inference."""

from __future__ import annotations

import onnx_ir as ir
import onnx_ir.passes.common as common


def infer_shapes(model: ir.Model, *, discard: bool = False) -> None:
    """Runs shape inference with data propagation over all graphs.

    Args:
        model: changed in place.
        discard: forget recorded shapes of computed values first, which may be stale once input dimensions were fixed;
            what inference cannot find again is restored.
    """
    recorded: dict[ir.Value, ir.Shape] = {}
    if discard:
        for node in model.graph.all_nodes():
            for value in node.outputs:
                if value.shape is not None and not value.is_graph_output():
                    recorded[value] = value.shape
                    value.shape = None
    for value in model.graph.initializers.values():
        if value.const_value is not None and value.shape is None:
            value.shape = ir.Shape([d for d in value.const_value.shape if isinstance(d, int)])
            value.type = value.type or ir.TensorType(value.const_value.dtype)
    common.ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(model)
    for value, shape in recorded.items():
        if value.shape is None:
            value.shape = shape
