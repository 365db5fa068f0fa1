"""The canonical graph computes in float32.

    x: float16 --> Conv(W: float16) --> y: float16
        ==>
    x: float16 --> Cast(float32) --> Conv(W: float32) --> Cast(float16) --> y: float16

Applies to float16, bfloat16 and float64: initializers are converted, Casts and attributes that name these types name
float32 instead, and graph inputs and outputs keep their types behind a Cast. Exact for the narrow types up to the
rounding that float16 arithmetic itself does; float64 loses what float32 cannot hold. Not applied when an operator of
another domain, or a sequence or optional, has such a type: nothing is known about what it would accept.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import insert_before
from edgeport.passes.registry import register

_OTHERS = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE)
_TYPE_ATTRIBUTES = ("dtype", "output_dtype", "softmax_precision", "stash_type", "to")


@register("compute_in_float32")
def compute_in_float32(model: ir.Model) -> bool:
    """Converts everything but the signature."""
    graph = model.graph
    if not any(_is_other(value) for value in _values(graph)) or not _known(graph):
        return False
    inputs = [(value, value.type) for value in graph.inputs if _is_other(value)]
    outputs = [(i, value, value.type) for i, value in enumerate(graph.outputs) if _is_other(value)]
    for value in _values(graph):
        if _is_other(value) and value not in graph.inputs:
            if value.const_value is not None:
                array = value.const_value.numpy().astype(np.float32)
                value.const_value = ir.tensor(array, name=value.name)
            value.type = ir.TensorType(ir.DataType.FLOAT)
    for node in graph.all_nodes():
        if node.domain == "":
            _name_float32(node)
    for value, _ in inputs:
        _cast_input(graph, value)
    for index, value, type_ in outputs:
        if value.producer() is not None and isinstance(type_, ir.TensorType):
            _cast_output(graph, index, value, type_.dtype)
    return True


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    yield from graph.inputs
    yield from graph.initializers.values()
    for subgraph in graph.subgraphs():
        yield from subgraph.inputs
        yield from subgraph.initializers.values()
    for node in graph.all_nodes():
        yield from node.outputs


def _is_other(value: ir.Value) -> bool:
    return value.type is not None and value.dtype in _OTHERS


def _known(graph: ir.Graph) -> bool:
    if any(_is_other(value) and not isinstance(value.type, ir.TensorType) for value in _values(graph)):
        return False
    foreign = [node for node in graph.all_nodes() if node.domain != ""]
    return not any(v is not None and _is_other(v) for node in foreign for v in (*node.inputs, *node.outputs))


def _name_float32(node: ir.Node) -> None:
    others = {dtype.value for dtype in _OTHERS}
    for name in _TYPE_ATTRIBUTES:
        attribute = node.attributes.get(name)
        if attribute is not None and attribute.type == ir.AttributeType.INT and attribute.as_int() in others:
            node.attributes[name] = ir.AttrInt64(name, ir.DataType.FLOAT.value)
    for name, attribute in tuple(node.attributes.items()):
        if attribute.type == ir.AttributeType.TENSOR and attribute.as_tensor().dtype in _OTHERS:
            node.attributes[name] = ir.AttrTensor(name, ir.tensor(attribute.as_tensor().numpy().astype(np.float32)))


def _cast_input(graph: ir.Graph, value: ir.Value) -> None:
    uses = value.uses()
    if not uses or not len(graph):
        return
    cast = insert_before(
        graph[0], "Cast", [value], {"to": ir.DataType.FLOAT.value}, name=f"{value.name}/float32", like=value
    )
    cast.type = ir.TensorType(ir.DataType.FLOAT)
    for user, index in uses:
        user.replace_input_with(index, cast)


def _cast_output(graph: ir.Graph, index: int, value: ir.Value, dtype: ir.DataType) -> None:
    node, name = value.producer(), value.name
    assert node is not None
    value.name = f"{name}/float32"
    output = ir.Value(name=name, type=ir.TensorType(dtype), shape=value.shape)
    graph.append(ir.node("Cast", [value], {"to": dtype.value}, outputs=[output], name=f"{name}/Cast"))
    graph.outputs[index] = output
