"""Tensors that are not in the canonical graph, observed in the one run over the samples.

What another form of the graph computes by other nodes is computed beside the canonical graph, by the same names:

    canonical graph  x --> LayerNormalization --> y
    side branch      x --> ReduceMean --> y/mean --> Sub --> y/deviation --> ...

A pass gives one name to one thing, so that a name stands for the same tensor in the forms of all targets.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import onnx_ir as ir


def with_branches(canonical: ir.Model, forms: Sequence[ir.Model], names: Iterable[str]) -> ir.Model:
    """A canonical graph that also computes what forms of it compute by other nodes.

    Args:
        canonical: the graph; not changed, and returned itself where nothing is to be added.
        forms: other forms of it.
        names: the tensors that are wanted.
    """
    wanted: set[str | None] = set(names)
    wanted -= {v.name for v in computed(canonical)}
    if not wanted or not forms:
        return canonical
    result = canonical.clone()
    values = {v.name: v for v in (*computed(result), *result.graph.initializers.values())}
    for form in forms:
        for node in _needed(form.graph, wanted, values.keys()):
            _graft(node, result.graph, values)
    return result


def computed(model: ir.Model) -> list[ir.Value]:
    """The inputs of a graph and the named outputs of its nodes, in order."""
    return [*model.graph.inputs, *(v for node in model.graph for v in node.outputs if v.name)]


def _needed(graph: ir.Graph, wanted: set[str | None], known: Iterable[str | None]) -> list[ir.Node]:
    """The nodes behind the wanted tensors that are not known, in order; those with graphs inside are left out."""
    missing, have, found = set(wanted), set(known), []
    for node in reversed(graph):
        if not any(v.name in missing and v.name not in have for v in node.outputs):
            continue
        if any(a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for a in node.attributes.values()):
            continue
        found.append(node)
        missing |= {v.name for v in node.inputs if v is not None and v.producer() is not None}
    return found[::-1]


def _graft(node: ir.Node, graph: ir.Graph, values: dict[str | None, ir.Value]) -> None:
    inputs: list[ir.Value | None] = []
    for value in node.inputs:
        if value is None or (value.name in values and not _another(value, values[value.name])):
            inputs.append(None if value is None else values[value.name])
        elif value.const_value is not None:
            inputs.append(_constant(value, graph, values))
        else:
            return  # behind a node that was left out
    outputs = [
        ir.Value(name=v.name if v.name and v.name not in values else "", type=v.type, shape=v.shape)
        for v in node.outputs
    ]
    taken = {n.name for n in graph}
    name = node.name or ""
    while name in taken:
        name += "/beside"
    attributes = list(node.attributes.values())
    graph.append(ir.Node(node.domain, node.op_type, inputs, attributes, outputs=outputs, name=name))
    values.update({v.name: v for v in outputs if v.name})


def _another(value: ir.Value, known: ir.Value) -> bool:
    """Whether a constant of a form has its name in common with another value of the canonical graph."""
    return value.const_value is not None and value.const_value is not known.const_value


def _constant(value: ir.Value, graph: ir.Graph, values: dict[str | None, ir.Value]) -> ir.Value:
    name = value.name or ""
    while name in values:
        name += "/beside"
    copy = ir.Value(name=name, type=value.type, shape=value.shape, const_value=value.const_value)
    graph.register_initializer(copy)
    values[name] = copy
    return copy
