"""Shapes and element types of all values, from ONNX's own shape inference.

onnx_ir's ShapeInferencePass does the same but gives a value of sequence type the type of its elements.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import onnx
import onnx_ir as ir

_SMALL = 1024  # bytes; constants up to this size may be shapes, which data propagation needs to see


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
    with _without_weights(model.graph):
        proto = ir.serde.serialize_model(model)
    inferred = ir.serde.deserialize_model(_inferred(proto))
    for graph, found in zip(model.graphs(), inferred.graphs(), strict=True):
        _take(graph, found)
    for value, shape in recorded.items():
        if value.shape is None:
            value.shape = shape


def _inferred(proto: onnx.ModelProto) -> onnx.ModelProto:
    try:
        return onnx.shape_inference.infer_shapes(proto, check_type=False, strict_mode=False, data_prop=True)
    except Exception:  # an inconsistent model raises many types; the runtime says what is wrong with it, better
        return proto


@contextmanager
def _without_weights(graph: ir.Graph) -> Iterator[None]:
    """Large initializers stand among the inputs meanwhile: inference needs their shapes, not two gigabytes of data."""
    initializers, inputs = list(graph.initializers.values()), list(graph.inputs)
    weights = [(v, v.const_value) for v in initializers if v.const_value is not None and v.const_value.nbytes > _SMALL]
    for value, _ in weights:
        del graph.initializers[value.name or ""]
        value.const_value = None
    graph.inputs.extend(value for value, _ in weights if not value.is_graph_input())
    try:
        yield
    finally:
        graph.inputs[:] = inputs
        graph.initializers.clear()
        for value, tensor in weights:
            value.const_value = tensor
        for value in initializers:
            graph.initializers.add(value)


def _take(graph: ir.Graph, found: ir.Graph) -> None:
    known = {value.name: value for node in found for value in node.outputs}
    for node in graph:
        for value in node.outputs:
            result = known.get(value.name)
            if result is None or not value.name:
                continue
            value.type = result.type if result.type is not None else value.type
            value.shape = result.shape if result.shape is not None else value.shape
