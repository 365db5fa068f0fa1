"""Shapes and element types of all values, from ONNX's own shape inference.

onnx_ir's ShapeInferencePass does the same but gives a value of sequence type the type of its elements.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import onnx
import onnx_ir as ir

_LIKE_THEIR_INPUT = frozenset({"GroupNormalization"})
_SMALL = 1024  # bytes; constants up to this size may be shapes, which data propagation needs to see


def infer_shapes(model: ir.Model, *, discard: bool = False) -> None:
    """Runs shape inference with data propagation over all graphs, unless it has nothing left to find.

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
    if not _is_open(model):
        return
    _infer(model)
    while _fill_in(model.graph):
        _infer(model)
    for value, shape in recorded.items():
        if value.shape is None:
            value.shape = shape


def _is_open(model: ir.Model) -> bool:
    """Whether a value has no type, or no static shape."""
    values = (value for node in model.graph.all_nodes() for value in node.outputs if value.name)
    return any(v.type is None or v.shape is None or not v.shape.is_static() for v in values)


def _infer(model: ir.Model) -> None:
    with _without_weights(model.graph):
        proto = ir.serde.serialize_model(model)
    _repeat_constants(proto.graph, {})
    _take(model.graph, _inferred(proto).graph)


def _repeat_constants(graph: onnx.GraphProto, outer: Mapping[str, onnx.TensorProto]) -> None:
    """Small constants stand in every subgraph that reads them: inference looks for shapes in its own graph only."""
    read = {name for node in graph.node for name in node.input}
    held = {tensor.name: tensor for tensor in graph.initializer}
    graph.initializer.extend(tensor for name, tensor in outer.items() if name in read and name not in held)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _repeat_constants(attribute.g, {**outer, **held})


def _fill_in(graph: ir.Graph) -> bool:
    """Shapes that ONNX's inference leaves out although they follow; True if there is one more than before."""
    found = False
    for node in graph:
        if node.op_type in _LIKE_THEIR_INPUT and not node.domain:
            x, y = node.inputs[0], node.outputs[0]
            if x is not None and x.shape is not None and y.shape is None:
                y.shape, y.type = x.shape, x.type
                found = True
    return found


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


def _take(graph: ir.Graph, found: onnx.GraphProto) -> None:
    known = {info.name: info.type for info in (*found.value_info, *found.output)}
    for node, node_proto in zip(graph, found.node, strict=True):
        for value in node.outputs:
            type_ = known.get(value.name or "")
            if type_ is not None:
                inferred = ir.serde.deserialize_type_proto_for_type(type_)
                shape = ir.serde.deserialize_type_proto_for_shape(type_)
                value.type = value.type if inferred is None else inferred
                value.shape = value.shape if shape is None else shape  # a scalar's shape is empty, which is falsy
        for attribute in node_proto.attribute:
            if attribute.HasField("g"):
                _take(node.attributes[attribute.name].as_graph(), attribute.g)
