"""The file with float16 tensors, for strongly typed networks: there the types of a file decide, and no flag does.

    x: float --> Conv(W, b) --> LayerNormalization --> y: float

    x: float --> Cast --> Conv(half W, half b) --> Cast --> LayerNormalization --> Cast ... --> Cast --> y: float

Inputs and outputs keep their types. Norms, what float16 cannot hold (`edgeport.targets.halves`), operators without
float16 in the file's opset and control flow compute in float32; so does what stands in for a norm that an older opset
lacks. TensorRT's guide to strongly typed networks asks for the same (inference-library/strongly-typed). Q/DQ give and
take float16, with scales in float16, from opset 19 on; where a scale is below what float16 holds precisely they do not.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import constant
from edgeport.passes.pipeline import rewritten
from edgeport.quantize.plan import Plan
from edgeport.targets.halves import MOST_HALF, wide_nodes
from edgeport.targets.opset.schema import schema_of

_FLOAT, _HALF = ir.DataType.FLOAT, ir.DataType.FLOAT16
_NORMS = frozenset(
    {"LayerNormalization", "RMSNormalization", "GroupNormalization", "InstanceNormalization", "LpNormalization"}
)
_RECURRENT = frozenset({"GRU", "LSTM", "RNN"})
_LENGTHS = 4
"""Input of the recurrent operators; TensorRT's parser masks what lies behind a sequence's end with float32 zeros."""
_LEAST_SCALE = 2.0**-14
"""The smallest float16 with all of its bits; a scale that is rounded further makes other numbers of the integers."""


def with_halves(model: ir.Model, canonical: ir.Graph, plan: Plan, opset: int) -> ir.Model:
    """A copy of a graph in which all floats that can be are float16.

    Args:
        model: the graph in the target's forms, quantized or not, at the canonical opset.
        canonical: the graph before them, whose norms are still single nodes.
        plan: nodes for which it has fp32 keep float32.
        opset: of the file that it becomes.
    """
    result = rewritten(model, ())
    graph = result.graph
    wide = wide_nodes(graph, plan) | _norms(graph, canonical) | {node for node in graph if _fine_scale(node)}
    narrow = [node for node in graph if node not in wide and _takes_halves(node, opset)]
    halves = {
        out
        for node in narrow
        for i, out in enumerate(node.outputs)
        if out.dtype == _FLOAT and _half_out(node, i, opset)
    }
    for value in halves:
        value.type = ir.TensorType(_HALF)
    casts = _Casts(graph)
    chosen = frozenset(narrow)
    for node in list(graph):
        _retype(node, halves)
        for reader, index, value in _reads(node):
            half = reader in chosen and _half_in(reader, index, opset)
            if half and value not in halves and value.dtype == _FLOAT:
                reader.replace_input_with(index, casts.to(value, _HALF))
            elif not half and value in halves:
                reader.replace_input_with(index, casts.to(value, _FLOAT))
    for index, value in enumerate(graph.outputs):
        if value in halves:
            name, value.name = value.name, casts.name(value, _HALF)
            graph.outputs[index] = casts.to(value, _FLOAT)
            graph.outputs[index].name = name
    return result


def _norms(graph: ir.Graph, canonical: ir.Graph) -> frozenset[ir.Node]:
    """The norms, and every node of what stands in for one."""
    known = {out.name for node in canonical for out in node.outputs} | {value.name for value in canonical.inputs}
    made = {out.name: node for node in graph for out in node.outputs}
    pending = [
        made[out.name] for node in canonical if node.op_type in _NORMS for out in node.outputs if out.name in made
    ]
    found: set[ir.Node] = set()
    while pending:
        node = pending.pop()
        found.add(node)
        feeding = (value.producer() for value in node.inputs if value is not None and value.name not in known)
        pending += [other for other in feeding if other is not None and other not in found]
    return frozenset(found)


def _fine_scale(node: ir.Node) -> bool:
    """Whether a Q or DQ has a scale that float16 does not hold precisely."""
    if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
        return False
    scale = constant(node.inputs[1])
    return scale is None or bool(scale.min() < _LEAST_SCALE) or bool(scale.max() > MOST_HALF)


def _reads(node: ir.Node) -> Iterator[tuple[ir.Node, int, ir.Value]]:
    """What a node reads, and what its subgraphs do: the reading node, the index of the input, the value."""
    yield from ((node, index, value) for index, value in enumerate(tuple(node.inputs)) if value is not None)
    for attribute in node.attributes.values():
        graphs = [attribute.as_graph()] if attribute.type == ir.AttributeType.GRAPH else []
        for inner in (other for graph in graphs for other in graph):
            yield from _reads(inner)


def _takes_halves(node: ir.Node, opset: int) -> bool:
    """Whether a node can compute in float16: all that it reads or makes in float can be."""
    if node.domain != "" or "dtype" in node.attributes:
        return False
    if any(attribute.type == ir.AttributeType.GRAPH for attribute in node.attributes.values()):
        return False
    if node.op_type in _RECURRENT and len(node.inputs) > _LENGTHS and node.inputs[_LENGTHS] is not None:
        return False
    ends = [(value, _half_in(node, i, opset)) for i, value in enumerate(node.inputs) if value is not None]
    floats = [half for value, half in ends if value.dtype == _FLOAT]
    made = [_half_out(node, i, opset) for i, out in enumerate(node.outputs) if out.dtype == _FLOAT]
    return all(made) and (any(floats) or bool(made))


def _half_in(node: ir.Node, index: int, opset: int) -> bool:
    schema = schema_of(node.op_type, opset)
    return schema is not None and "tensor(float16)" in schema.inputs[min(index, len(schema.inputs) - 1)].types


def _half_out(node: ir.Node, index: int, opset: int) -> bool:
    schema = schema_of(node.op_type, opset)
    return schema is not None and "tensor(float16)" in schema.outputs[min(index, len(schema.outputs) - 1)].types


def _retype(node: ir.Node, halves: set[ir.Value]) -> None:
    """Makes a node whose output type is written in an attribute give float16."""
    if not any(out in halves for out in node.outputs):
        return
    if node.op_type == "Cast":
        node.attributes["to"] = ir.AttrInt64("to", int(_HALF))
    if node.op_type == "ConstantOfShape":
        given = node.attributes.get("value")
        data = np.zeros(1, np.float32) if given is None else given.as_tensor().numpy()
        node.attributes["value"] = ir.AttrTensor("value", ir.tensor(data.astype(np.float16)))


class _Casts:
    """Values in the other type, each made once; constants are stored in it."""

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._made: dict[ir.Value, ir.Value] = {}
        nodes = graph.all_nodes()
        self._names = {value.name for node in nodes for value in (*node.inputs, *node.outputs) if value is not None}

    def name(self, value: ir.Value, dtype: ir.DataType) -> str:
        """A name that nothing has for a value in another type."""
        name = f"{value.name}/{'half' if dtype == _HALF else 'float'}"
        while name in self._names:
            name += "_"
        self._names.add(name)
        return name

    def to(self, value: ir.Value, dtype: ir.DataType) -> ir.Value:
        if value not in self._made:
            self._made[value] = self._stored(value) if value.is_initializer() else self._cast(value, dtype)
        return self._made[value]

    def _stored(self, value: ir.Value) -> ir.Value:
        assert value.const_value is not None
        with np.errstate(over="ignore"):  # limits that no number reaches
            data = value.const_value.numpy().astype(np.float16)
        tensor = ir.tensor(data, name=self.name(value, _HALF))
        made = ir.Value(name=tensor.name, shape=value.shape, type=ir.TensorType(_HALF), const_value=tensor)
        self._graph.initializers.add(made)
        return made

    def _cast(self, value: ir.Value, dtype: ir.DataType) -> ir.Value:
        name = self.name(value, dtype)
        made = ir.Value(name=name, shape=value.shape, type=ir.TensorType(dtype))
        node = ir.node("Cast", [value], {"to": int(dtype)}, outputs=[made], name=f"{name}/Cast")
        producer = value.producer()
        if producer is None:
            self._graph.insert_before(self._graph[0], node)
        else:
            self._graph.insert_after(producer, node)
        return made
