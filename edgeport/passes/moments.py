"""Means over the trailing axes, the building block of decomposed normalizations."""

from __future__ import annotations

import onnx_ir as ir

from edgeport.passes.edit import get_int, input_of, ints, producer, rank, scalar


def trailing_mean(value: ir.Value | None) -> tuple[ir.Value, int, ir.Node] | None:
    """(x, first axis, node) if the value is the mean of x over its last axes, dimensions kept."""
    node = producer(value, "ReduceMean")
    if node is None or not get_int(node, "keepdims", 1):
        return None
    x, axes = node.inputs[0], ints(input_of(node, 1))
    dims = rank(x)
    if x is None or dims is None or not axes:
        return None
    reduced = sorted({axis % dims for axis in axes})
    if reduced != list(range(reduced[0], dims)):
        return None
    return x, reduced[0], node


def square_of(value: ir.Value | None) -> tuple[ir.Value, ir.Node] | None:
    """(x, node) if the value is x * x or x ** 2."""
    node = producer(value, "Mul", "Pow")
    if node is None or node.inputs[0] is None:
        return None
    squared = node.inputs[0] is node.inputs[1] if node.op_type == "Mul" else scalar(node.inputs[1]) == 2
    return (node.inputs[0], node) if squared else None


def normalized(node: ir.Node) -> list[tuple[ir.Value, ir.Value, float, list[ir.Node]]]:
    """All readings of a node as d / sqrt(v + epsilon): (d, v, epsilon, nodes).

    Also d * Reciprocal(sqrt), d * (1 / sqrt), d * (v + epsilon) ** -0.5 and d / (v + epsilon) ** 0.5.
    """
    if node.op_type not in ("Div", "Mul"):
        return []
    pairs = [(node.inputs[0], node.inputs[1])]
    if node.op_type == "Mul":
        pairs.append((node.inputs[1], node.inputs[0]))
    found = []
    for d, factor in pairs:
        root = _root(factor) if node.op_type == "Div" else _inverse_root(factor)
        if d is not None and root is not None:
            variance, epsilon, nodes = root
            found.append((d, variance, epsilon, [node, *nodes]))
    return found


def _plus_epsilon(value: ir.Value | None, nodes: list[ir.Node]) -> tuple[ir.Value, float, list[ir.Node]] | None:
    add = producer(value, "Add")
    if add is None:
        return None
    for variance, other in ((add.inputs[0], add.inputs[1]), (add.inputs[1], add.inputs[0])):
        epsilon = scalar(other)
        if variance is not None and epsilon is not None and epsilon >= 0 and scalar(variance) is None:
            return variance, epsilon, [*nodes, add]
    return None


def _root(value: ir.Value | None) -> tuple[ir.Value, float, list[ir.Node]] | None:
    power = producer(value, "Pow")
    if power is not None and scalar(power.inputs[1]) == 0.5:
        return _plus_epsilon(power.inputs[0], [power])
    root = producer(value, "Sqrt")
    return None if root is None else _plus_epsilon(root.inputs[0], [root])


def _inverse_root(value: ir.Value | None) -> tuple[ir.Value, float, list[ir.Node]] | None:
    node = producer(value, "Reciprocal", "Div", "Pow")
    if node is None:
        return None
    if node.op_type == "Pow":
        return _plus_epsilon(node.inputs[0], [node]) if scalar(node.inputs[1]) == -0.5 else None
    if node.op_type == "Div" and scalar(node.inputs[0]) != 1:
        return None
    found = _root(node.inputs[-1])
    return None if found is None else (found[0], found[1], [node, *found[2]])


def trailing_shape(x: ir.Value, axis: int) -> tuple[int, ...] | None:
    """Dimensions from `axis` on, if they are all known."""
    if x.shape is None:
        return None
    tail = tuple(x.shape)[axis:]
    known = tuple(d for d in tail if isinstance(d, int))
    return known if len(known) == len(tail) else None
