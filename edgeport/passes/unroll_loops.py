"""Loop and Scan with a known, small number of rounds are written out.

    Loop(3, true, a) { a' = f(a, i); y = g(a) }     ==>     f(., 0) --> f(., 1) --> f(., 2) --> a
                                                            g(.) --> Unsqueeze --> Concat --> y (one element a round)

A Loop qualifies if its count is constant and its body never ends it early; a Scan if the axis it runs over is known.
Left alone: bodies with control flow that itself stays, and what would become more than 2000 nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import (
    Array,
    add_initializer,
    constant,
    get_int,
    get_ints,
    input_of,
    insert_before,
    nodes,
    producer,
    static_shape,
    sweep,
)
from edgeport.passes.registry import register

_MOST_NODES = 2000

Feed = Callable[[int], list[ir.Value]]
"""From a round's number to the values of the body's inputs that are no states."""


@register("unroll_loops")
def unroll_loops(model: ir.Model) -> bool:
    """Writes out every such Loop and Scan, inner ones first."""
    changed = False
    while any(_loop(model, n) if n.op_type == "Loop" else _scan(model, n) for n in nodes(model, "Loop", "Scan")):
        changed = True
    return changed


def _loop(model: ir.Model, node: ir.Node) -> bool:
    body, count = node.attributes["body"].as_graph(), constant(input_of(node, 0))
    if count is None or count.size != 1 or not _goes_on(body, input_of(node, 1)):
        return False
    rounds = int(count.item())
    if not _affordable(body, rounds):
        return False
    name = node.name or "loop"

    def feed(k: int) -> list[ir.Value]:
        return [add_initializer(model, f"{name}/round", _like(np.int64(k), body.inputs[0])), _true(model, name, body)]

    states = [value for value in node.inputs[2:] if value is not None]
    if len(states) != len(node.inputs[2:]):
        return False
    written = _write_out(model, node, body, rounds, states, feed, inputs_first=True, skipped=1)
    collected = [(values, 0, False) for values in written[1]]
    _finish(model, node, written[0], collected)
    return True


def _scan(model: ir.Model, node: ir.Node) -> bool:
    body, scanned = node.attributes["body"].as_graph(), get_int(node, "num_scan_inputs", 0)
    first = len(node.inputs) - scanned
    values = [value for value in node.inputs if value is not None]
    if len(values) != len(node.inputs) or not scanned:
        return False
    shapes = [static_shape(value) for value in values[first:]]
    if any(shape is None for shape in shapes):
        return False
    ranks = [len(shape) for shape in shapes if shape is not None]
    axes = [a % r for a, r in zip(get_ints(node, "scan_input_axes") or [0] * scanned, ranks, strict=True)]
    backwards = get_ints(node, "scan_input_directions") or [0] * scanned
    rounds = {shape[axis] for shape, axis in zip(shapes, axes, strict=True) if shape is not None}
    if len(rounds) != 1 or not _affordable(body, (steps := rounds.pop())):
        return False
    name = node.name or "scan"

    def feed(k: int) -> list[ir.Value]:
        elements = []
        for value, axis, back in zip(values[first:], axes, backwards, strict=True):
            at = add_initializer(model, f"{name}/element", np.asarray(steps - 1 - k if back else k, np.int64))
            elements.append(insert_before(node, "Gather", [value, at], {"axis": axis}, name=f"{name}/{value.name}/{k}"))
        return elements

    states, outputs = _write_out(model, node, body, steps, values[:first], feed, inputs_first=False, skipped=0)
    made = len(outputs)
    out_axes = get_ints(node, "scan_output_axes") or [0] * made
    out_back = get_ints(node, "scan_output_directions") or [0] * made
    collected = [(v, axis, bool(back)) for v, axis, back in zip(outputs, out_axes, out_back, strict=True)]
    _finish(model, node, states, collected)
    return True


def _affordable(body: ir.Graph, rounds: int) -> bool:
    flat = not any(
        a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for n in body for a in n.attributes.values()
    )
    return flat and rounds >= 1 and rounds * max(1, len(body)) <= _MOST_NODES


def _goes_on(body: ir.Graph, condition: ir.Value | None) -> bool:
    """Whether the loop starts for certain and its body hands `true` on."""
    start = constant(condition)
    if condition is not None and (start is None or not start.all()):
        return False
    value: ir.Value | None = body.outputs[0]
    while (node := producer(value, "Identity", "Cast")) is not None:
        value = node.inputs[0]
    known = constant(value)
    return value is body.inputs[1] or (known is not None and bool(known.all()))


def _like(number: np.int64, value: ir.Value) -> Array:
    """A count in the shape, () or (1,), that the body declares for it."""
    return np.asarray(number).reshape(static_shape(value) or ())


def _true(model: ir.Model, name: str, body: ir.Graph) -> ir.Value:
    return add_initializer(model, f"{name}/condition", np.ones(static_shape(body.inputs[1]) or (), bool))


def _write_out(
    model: ir.Model,
    node: ir.Node,
    body: ir.Graph,
    rounds: int,
    states: list[ir.Value],
    feed: Feed,
    *,
    inputs_first: bool,
    skipped: int,
) -> tuple[list[ir.Value], list[list[ir.Value]]]:
    """Copies the body in front of the node, once a round; gives the last states and, by output, each round's value."""
    for name, value in tuple(body.initializers.items()):
        if value.const_value is not None:
            array = value.const_value.numpy()
            value.replace_all_uses_with(add_initializer(model, name, array), replace_graph_outputs=True)
            del body.initializers[name]
    kept = len(states)
    made: list[list[ir.Value]] = [[] for _ in body.outputs[skipped + kept :]]
    for k in range(rounds):
        fed = feed(k)
        given = [*fed, *states] if inputs_first else [*states, *fed]
        results = _copied(node, body, dict(zip(body.inputs, given, strict=True)), k)[skipped:]
        states = results[:kept]
        for values, value in zip(made, results[kept:], strict=True):
            values.append(value)
    return states, made


def _copied(node: ir.Node, body: ir.Graph, known: dict[ir.Value, ir.Value], k: int) -> list[ir.Value]:
    """One round's copy of the body, reading `known` in place of the body's inputs."""
    assert node.graph is not None
    for inner in body:
        inputs = [None if v is None else known.get(v, v) for v in inner.inputs]
        outputs = [ir.Value(name=f"{v.name}/{k}" if v.name else "", type=v.type, shape=v.shape) for v in inner.outputs]
        attributes = list(inner.attributes.values())
        copy = ir.Node(inner.domain, inner.op_type, inputs, attributes, outputs=outputs, name=f"{inner.name}/{k}")
        node.graph.insert_before(node, copy)
        known.update(zip(inner.outputs, outputs, strict=True))
    return [known.get(value, value) for value in body.outputs]


def _finish(
    model: ir.Model, node: ir.Node, states: Sequence[ir.Value], collected: Sequence[tuple[list[ir.Value], int, bool]]
) -> None:
    """Puts the last states and the collected values in the place of the node's outputs."""
    outputs = tuple(node.outputs)
    for old, new in zip(outputs[: len(states)], states, strict=True):
        _replace(node, old, "Identity", [new], {})
    for old, (values, axis, backwards) in zip(outputs[len(states) :], collected, strict=True):
        if not old.name or not (old.uses() or old.is_graph_output()):
            continue
        at = add_initializer(model, f"{node.name}/axis", np.asarray([axis], np.int64))
        wide = [insert_before(node, "Unsqueeze", [v, at], name=f"{v.name}/element") for v in values]
        _replace(node, old, "Concat", wide[::-1] if backwards else wide, {"axis": axis})
    sweep(node)


def _replace(node: ir.Node, old: ir.Value, op: str, inputs: list[ir.Value], attributes: dict[str, int]) -> None:
    if old.name and (old.uses() or old.is_graph_output()):
        new = insert_before(node, op, inputs, attributes, name=old.name, like=old)
        old.replace_all_uses_with(new, replace_graph_outputs=True)
