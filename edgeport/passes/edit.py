"""Graph editing shared by all passes: reading constants, inserting nodes, taking over a value.

Rules that hold after every edit: graph inputs and outputs keep their names, a value that replaces another keeps
the other's name, a node whose outputs nobody reads is gone together with everything that only fed it. Values read
inside subgraphs count as consumed, because onnx_ir tracks uses across graphs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

Array = npt.NDArray[Any]
Attribute = int | float | str | Sequence[int] | Sequence[float] | Sequence[str]


def nodes(model: ir.Model, *op_types: str) -> Iterator[ir.Node]:
    """Nodes of the standard domain in all graphs, in order, filtered by type; safe while the graph is edited."""
    for node in tuple(model.graph.all_nodes()):
        if node.graph is not None and node.domain == "" and (not op_types or node.op_type in op_types):
            yield node


def constant(value: ir.Value | None) -> Array | None:
    """The array behind an initializer or a Constant node; None when the value is computed, fed or a string."""
    if value is None or value.is_graph_input():
        return None
    tensor = value.const_value if value.is_initializer() else None
    if tensor is None:
        producer = value.producer()
        if producer is None or producer.domain != "" or producer.op_type != "Constant":
            return None
        if "sparse_value" in producer.attributes:
            return None
        tensor = ir.convenience.get_const_tensor(value)
    if tensor is None or tensor.dtype == ir.DataType.STRING:
        return None
    return np.asarray(tensor.numpy())


def scalar(value: ir.Value | None) -> float | None:
    """The number behind a constant with exactly one element, whatever its rank; None otherwise."""
    array = constant(value)
    if array is None or array.size != 1:
        return None
    return float(array.reshape(()).astype(np.float64))


def ints(value: ir.Value | None) -> list[int] | None:
    """The elements of a constant integer tensor; None when it is not one."""
    array = constant(value)
    if array is None or array.dtype.kind not in "iu":
        return None
    return [int(x) for x in array.reshape(-1)]


def producer(value: ir.Value | None, *op_types: str) -> ir.Node | None:
    """The standard-domain node that makes this value, if it is of one of these types."""
    node = None if value is None else value.producer()
    if node is None or node.domain != "" or node.op_type not in op_types:
        return None
    return node


def used_once(value: ir.Value) -> bool:
    """True when exactly one input of one node reads the value and it is not a graph output."""
    return not value.is_graph_output() and len(value.uses()) == 1


def input_of(node: ir.Node, index: int) -> ir.Value | None:
    """Input at this position, None when it is omitted."""
    return node.inputs[index] if index < len(node.inputs) else None


def rank(value: ir.Value | None) -> int | None:
    """Number of dimensions, None when unknown."""
    return None if value is None or value.shape is None else len(value.shape)


def static_shape(value: ir.Value | None) -> tuple[int, ...] | None:
    """The shape if every dimension is a number."""
    if value is None or value.shape is None:
        return None
    dims = tuple(value.shape)
    return tuple(int(d) for d in dims if isinstance(d, int)) if all(isinstance(d, int) for d in dims) else None


def reshape_target(value: ir.Value) -> Array | None:
    """Constant target that reshapes to this value's shape, if at most one of its dimensions is not known."""
    if value.shape is None:
        return None
    target = [d if isinstance(d, int) else -1 for d in value.shape]
    return None if target.count(-1) > 1 or 0 in target else np.asarray(target, np.int64)


def get_int(node: ir.Node, name: str, default: int) -> int:
    """Integer attribute with its default."""
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_int()


def get_float(node: ir.Node, name: str, default: float) -> float:
    """Float attribute with its default."""
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_float()


def get_str(node: ir.Node, name: str, default: str) -> str:
    """String attribute with its default."""
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_string()


def get_ints(node: ir.Node, name: str) -> list[int] | None:
    """Integer list attribute, None when absent."""
    attribute = node.attributes.get(name)
    return None if attribute is None else [int(i) for i in attribute.as_ints()]


def add_initializer(model: ir.Model, name: str, array: npt.ArrayLike) -> ir.Value:
    """Registers a constant on the main graph (subgraphs see it too) under `name`, or `name_1` if that is taken."""
    graph = model.graph
    unique, count = name, 0
    while unique in graph.initializers:
        count += 1
        unique = f"{name}_{count}"
    data = np.ascontiguousarray(array) if np.ndim(array) else np.asarray(array)
    tensor = ir.tensor(data, name=unique)
    value = ir.Value(name=unique, type=ir.TensorType(tensor.dtype), shape=ir.Shape(data.shape), const_value=tensor)
    graph.register_initializer(value)
    return value


def insert_before(
    anchor: ir.Node,
    op_type: str,
    inputs: Sequence[ir.Value | None],
    attributes: Mapping[str, Attribute] | None = None,
    *,
    name: str,
    like: ir.Value | None = None,
) -> ir.Value:
    """Inserts a node with one output called `name` before `anchor`.

    Args:
        anchor: the node to insert before; the new node goes into the same graph.
        op_type: standard-domain operator.
        inputs: its inputs, None for an omitted one.
        attributes: its attributes.
        name: name of the output and of the node.
        like: a value whose type and shape the output has.
    """
    graph = anchor.graph
    assert graph is not None, "the anchor stands in a graph"
    output = ir.Value(name=name, type=None if like is None else like.type, shape=None if like is None else like.shape)
    graph.insert_before(
        anchor, ir.node(op_type, list(inputs), dict(attributes or {}), outputs=[output], name=f"{name}/{op_type}")
    )
    return output


def take_over(
    old: ir.Value,
    op_type: str,
    inputs: Sequence[ir.Value | None],
    attributes: Mapping[str, Attribute] | None = None,
) -> ir.Value:
    """A new node computes what `old` held: its output gets old's name, type, shape and all its consumers.

    The node keeps the name of old's producer. What is no longer read is removed.
    """
    node = old.producer()
    assert node is not None, "only a computed value can be taken over"
    assert node.graph is not None, "its node stands in a graph"
    output = ir.Value(name=old.name, type=old.type, shape=old.shape)
    new = ir.node(op_type, list(inputs), dict(attributes or {}), outputs=[output], name=node.name)
    new.metadata_props.update(node.metadata_props)
    node.graph.insert_before(node, new)
    old.replace_all_uses_with(output, replace_graph_outputs=True)
    sweep(node)
    return output


def bypass(old: ir.Value, new: ir.Value) -> bool:
    """Lets every consumer of `old` read `new` instead; True if that was possible.

    A graph output keeps its name: it is moved onto `new` only if `new` is computed in the same graph and is not an
    output itself, so input -> output and constant -> output keep the node between them.
    """
    node = old.producer()
    assert node is not None, "only a computed value can be bypassed"
    if old.is_graph_output():
        source = new.producer()
        if source is None or source.graph is not node.graph or new.is_graph_output():
            if not old.uses():
                return False
            for user, index in old.uses():
                user.replace_input_with(index, new)
            return True
        old_name = old.name
        old.name = None
        new.name = old_name
        new.type = new.type if old.type is None else old.type
        new.shape = new.shape if old.shape is None else old.shape
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    sweep(node)
    return True


def sweep(node: ir.Node | None) -> None:
    """Removes the node if nobody reads its outputs, then whatever only fed it."""
    pending = [node]
    while pending:
        dead = pending.pop()
        if dead is None or dead.graph is None:
            continue
        if any(output.is_graph_output() or output.uses() for output in dead.outputs):
            continue
        feeding = [value.producer() for value in dead.inputs if value is not None]
        dead.graph.remove(dead, safe=True)
        pending.extend(feeding)
