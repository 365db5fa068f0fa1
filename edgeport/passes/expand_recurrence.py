"""LSTM, GRU and RNN are written out step by step, for targets without a kernel for them or for a form of theirs.

    X --> MatMul(W) --> Add(b) --> Split --+--> step --> step --> ... --> Concat --> Y
                                           |      h ------^  h                  \\-> Y_h

Everything that ONNX defines is covered: directions, initial states, lengths of sequences, peepholes, coupled gates,
clipping, the reset gate before or behind the product, and all activations. What would become more than 1200 nodes is a
Scan over the steps instead. Left alone: sizes that are not known.

    expand_recurrence            all of them
    expand_uncommon_recurrence   those that no runtime's kernel takes: computed weights, lengths, odd activations, ...
    expand_late_reset            GRUs whose reset gate stands behind the product, as PyTorch's
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import Array, insert_before, nodes, sweep
from edgeport.passes.recurrence import STEP, Recurrence, is_common, recurrence_of, resets_late
from edgeport.passes.recurrence_cells import Direction, State, cell
from edgeport.passes.registry import register
from edgeport.passes.site import Site, is_read

_MOST_NODES = 1200
_STEP_NODES = 20
"""About as many has a step."""


@register("expand_recurrence")
def expand_recurrence(model: ir.Model) -> bool:
    """Writes out every recurrent node."""
    return _expand(model, lambda found: True)


@register("expand_uncommon_recurrence")
def expand_uncommon_recurrence(model: ir.Model) -> bool:
    """Writes out the nodes that are no common form."""
    return _expand(model, lambda found: not is_common(found))


@register("expand_late_reset")
def expand_late_reset(model: ir.Model) -> bool:
    """Writes out GRUs whose reset gate stands behind the product."""
    return _expand(model, resets_late)


def _expand(model: ir.Model, wanted: Callable[[Recurrence], bool]) -> bool:
    changed = False
    for node in nodes(model, "LSTM", "GRU", "RNN"):
        found = recurrence_of(node)
        if found is not None and wanted(found):
            _write_out(model, found)
            changed = True
    return changed


def _write_out(model: ir.Model, found: Recurrence) -> None:
    node = found.node
    site = Site(model, node)
    sequences, finals = [], []
    run = _scanned if found.steps * len(found.backwards) * _STEP_NODES > _MOST_NODES else _unrolled
    for number in range(len(found.backwards)):
        sequence, states = run(Direction(site, found, number))
        sequences.append(sequence)
        finals.append(states)
    if is_read(node, 0):  # [steps, batch, hidden] a direction -> [steps, directions, batch, hidden]
        axis = site.constant("axis", np.asarray([1], np.int64))
        _replace(node, 0, [site.op("Unsqueeze", [sequence, axis], "sequence") for sequence in sequences], axis=1)
    for offset in range(len(finals[0])):
        if is_read(node, 1 + offset):
            _replace(node, 1 + offset, [states[offset] for states in finals], axis=0)
    sweep(node)


def _fed(at: Direction, bias: State) -> ir.Value:
    """What the inputs of all steps add to the gates."""
    product = at.op("MatMul", [at.found.node.inputs[0], at.matrix(1, 0, at.found.gates)], "product")
    fed = at.added([product, bias], "fed")
    assert fed is not None
    return fed


def _unrolled(at: Direction) -> tuple[ir.Value, tuple[ir.Value, ...]]:
    """All steps of a direction: outputs [steps, batch, hidden], last states [1, batch, hidden]."""
    found = at.found
    bias, step = cell(at)
    pieces = [_fed(at, bias)]
    if found.steps > 1:
        pieces = at.split(pieces[0], [f"fed{t}" for t in range(found.steps)], axis=0)
    states = tuple(_initial(at, index) for index in _STATES[found.node.op_type])
    outputs: dict[int, ir.Value] = {}
    order = range(found.steps)
    for t in reversed(order) if found.backwards[at.number] else order:
        new = step(at, pieces[t], states)
        outputs[t], states = _while_alive(at, _alive(at, t), new, states)
    last = _ended(at, tuple(state for state in states if state is not None))
    parts: list[ir.Value | None] = [outputs[t] for t in order]
    sequence = outputs[0] if found.steps == 1 else at.op("Concat", parts, "steps", axis=0)
    return sequence, last


def _scanned(at: Direction) -> tuple[ir.Value, tuple[ir.Value, ...]]:
    """As `_unrolled`, by a Scan whose body is one step."""
    found, back = at.found, int(at.found.backwards[at.number])
    bias, step = cell(at)
    size = [found.batch, found.hidden]
    zeros = np.zeros(size, np.float32)
    initial = [_initial(at, index) for index in _STATES[found.node.op_type]]
    start = [
        at.site.constant("zeros", zeros) if state is None else at.site.reshape(state, size, f"first/{at.number}")
        for state in initial
    ]
    inputs = [_fed(at, bias)]
    if found.lengths is not None:
        inputs.append(_all_alive(at, found.lengths))
    held = [_input(f"state{i}", ir.DataType.FLOAT, size) for i in range(len(start))]
    element = _input("step", ir.DataType.FLOAT, [found.batch, found.gates * found.hidden])
    alive = None if found.lengths is None else _input("alive", ir.DataType.BOOL, [found.batch, 1])
    end = ir.node("Identity", [element])
    body = ir.Graph([*held, element, *([] if alive is None else [alive])], [], nodes=[end], name="step")
    inner = Direction(Site(at.site.model, end), found, at.number)
    output, states = _while_alive(inner, alive, step(inner, element, tuple(held)), tuple(held))
    results = [inner.op("Identity", [state], f"next{i}") for i, state in enumerate(states)]
    body.outputs.extend([*results, inner.op("Identity", [output], "output")])
    body.remove(end, safe=True)
    outputs = [ir.Value(name=at.site.name(f"scan{i}/{at.number}")) for i in range(len(start) + 1)]
    attributes = [
        ir.AttrGraph("body", body),
        ir.AttrInt64("num_scan_inputs", len(inputs)),
        ir.AttrInt64s("scan_input_directions", [back] * len(inputs)),
        ir.AttrInt64s("scan_output_directions", [back]),
    ]
    name = at.site.name(f"scan/{at.number}")
    graph = found.node.graph
    assert graph is not None
    scan = ir.Node("", "Scan", [*start, *inputs], attributes, outputs=outputs, name=name)
    scan.metadata_props[STEP] = "Scan"
    graph.insert_before(found.node, scan)
    whole = tuple(at.site.reshape(state, [1, *size], f"last/{at.number}") for state in outputs[:-1])
    return outputs[-1], _ended(at, whole)


_STATES = {"LSTM": (5, 6), "GRU": (5,), "RNN": (5,)}
"""Inputs with the initial states."""


def _input(name: str, dtype: ir.DataType, shape: list[int]) -> ir.Value:
    return ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape(shape))


def _while_alive(
    at: Direction, alive: ir.Value | None, new: tuple[ir.Value, ...], old: tuple[State, ...]
) -> tuple[ir.Value, tuple[ir.Value, ...]]:
    """The output and the states of a step: behind a sequence's end 0, and those of the step before."""
    if alive is None:
        return new[0], new
    zero = at.number_of(0)
    pairs = zip(new, old, strict=True)
    kept = tuple(at.op("Where", [alive, n, zero if o is None else o], "alive") for n, o in pairs)
    return at.op("Where", [alive, new[0], zero], "output"), kept


def _ended(at: Direction, states: tuple[ir.Value, ...]) -> tuple[ir.Value, ...]:
    """The last states; a sequence without steps ends in zeros, as in ONNX Runtime."""
    alive = _alive(at, 0)
    if alive is None:
        return states
    return tuple(at.op("Where", [alive, state, at.number_of(0)], "last") for state in states)


def _initial(at: Direction, index: int) -> State:
    """The state that a direction starts from, [1, batch, hidden]; None where it is zero."""
    value = at.found.operand(index)
    if value is None or len(at.found.backwards) == 1:
        return value
    return at.op("Gather", [value, at.site.constant("initial", np.asarray([at.number], np.int64))], "initial", axis=0)


def _alive(at: Direction, t: int) -> ir.Value | None:
    """Which sequences have step t, bool [1, batch, 1]; None if all have."""
    lengths = at.found.lengths
    if lengths is None:
        return None
    if not isinstance(lengths, ir.Value):
        known = (lengths > t).reshape(1, -1, 1)
        return None if known.all() else at.site.constant("alive", known)
    column = at.site.reshape(lengths, (1, at.found.batch, 1), f"lengths/{at.number}")
    return at.op("Greater", [column, at.site.constant("step", np.asarray(t, np.int32))], "alive")


def _all_alive(at: Direction, lengths: Array | ir.Value) -> ir.Value:
    """Which sequences have each step, bool [steps, batch, 1]."""
    steps = np.arange(at.found.steps, dtype=np.int32).reshape(-1, 1, 1)
    if not isinstance(lengths, ir.Value):
        return at.site.constant("alive", lengths.reshape(1, -1, 1) > steps)
    column = at.site.reshape(lengths, (1, at.found.batch, 1), f"lengths/{at.number}")
    return at.op("Greater", [column, at.site.constant("steps", steps)], "alive")


def _replace(node: ir.Node, output: int, parts: list[ir.Value], axis: int) -> None:
    """One part takes the place of an output, two are joined there."""
    old = node.outputs[output]
    op_type, attributes = ("Concat", {"axis": axis}) if len(parts) > 1 else ("Identity", {})
    new = insert_before(node, op_type, parts, attributes, name=old.name or "output", like=old)
    old.name = None
    old.replace_all_uses_with(new, replace_graph_outputs=True)
