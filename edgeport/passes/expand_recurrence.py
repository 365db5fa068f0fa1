"""LSTM, GRU and RNN are written out step by step, for targets without a kernel for them or for a form of theirs.

    X --> MatMul(W) --> Add(b) --> Split --+--> step --> step --> ... --> Concat --> Y
                                           |      h ------^  h                  \\-> Y_h

Everything that ONNX defines is covered: directions, initial states, lengths of sequences, peepholes, coupled gates,
clipping, the reset gate before or behind the product, and all activations. Left alone: sizes that are not known, and
what would become more than 12000 nodes.

    expand_recurrence            all of them
    expand_uncommon_recurrence   those that no runtime's kernel takes: computed weights, lengths, odd activations, ...
    expand_late_reset            GRUs whose reset gate stands behind the product, as PyTorch's
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import insert_before, nodes, sweep
from edgeport.passes.recurrence import Recurrence, is_common, recurrence_of, resets_late
from edgeport.passes.recurrence_cells import Direction, State, cell
from edgeport.passes.registry import register
from edgeport.passes.site import Site, is_read

_MOST_NODES = 12000
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
        if found is None or not wanted(found):
            continue
        if found.steps * len(found.backwards) * _STEP_NODES <= _MOST_NODES:
            _write_out(model, found)
            changed = True
    return changed


def _write_out(model: ir.Model, found: Recurrence) -> None:
    node = found.node
    site = Site(model, node)
    sequences, finals = [], []
    for number in range(len(found.backwards)):
        sequence, states = _run(Direction(site, found, number))
        sequences.append(sequence)
        finals.append(states)
    if is_read(node, 0):  # [steps, batch, hidden] a direction -> [steps, directions, batch, hidden]
        axis = site.constant("axis", np.asarray([1], np.int64))
        _replace(node, 0, [site.op("Unsqueeze", [sequence, axis], "sequence") for sequence in sequences], axis=1)
    for offset in range(len(finals[0])):
        if is_read(node, 1 + offset):
            _replace(node, 1 + offset, [states[offset] for states in finals], axis=0)
    sweep(node)


def _run(at: Direction) -> tuple[ir.Value, tuple[ir.Value, ...]]:
    """All steps of a direction: outputs [steps, batch, hidden], last states [1, batch, hidden]."""
    found = at.found
    bias, step = cell(at)
    product = at.op("MatMul", [found.node.inputs[0], at.matrix(1, 0, found.gates)], "product")
    fed = at.added([product, bias], "fed")
    assert fed is not None
    pieces = [fed]
    if found.steps > 1:
        roles = [f"fed/{at.number}/{t}" for t in range(found.steps)]
        pieces = list(at.site.several("Split", [fed], roles, axis=0, num_outputs=found.steps))
    states = tuple(_initial(at, index) for index in ((5, 6) if found.node.op_type == "LSTM" else (5,)))
    outputs: dict[int, ir.Value] = {}
    order = range(found.steps)
    for t in reversed(order) if found.backwards[at.number] else order:
        new = step(pieces[t], states)
        alive = _alive(at, t)
        outputs[t] = new[0]
        if alive is not None:
            zero = at.number_of(0)
            outputs[t] = at.op("Where", [alive, new[0], zero], "output")
            kept = zip(new, states, strict=True)
            new = tuple(at.op("Where", [alive, n, zero if old is None else old], "alive") for n, old in kept)
        states = new
    last = tuple(state for state in states if state is not None)
    alive = _alive(at, 0)
    if alive is not None:  # a sequence without steps ends in zeros, as in ONNX Runtime
        last = tuple(at.op("Where", [alive, state, at.number_of(0)], "last") for state in last)
    parts: list[ir.Value | None] = [outputs[t] for t in order]
    sequence = outputs[0] if found.steps == 1 else at.op("Concat", parts, "steps", axis=0)
    return sequence, last


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


def _replace(node: ir.Node, output: int, parts: list[ir.Value], axis: int) -> None:
    """One part takes the place of an output, two are joined there."""
    old = node.outputs[output]
    op_type, attributes = ("Concat", {"axis": axis}) if len(parts) > 1 else ("Identity", {})
    new = insert_before(node, op_type, parts, attributes, name=old.name or "output", like=old)
    old.name = None
    old.replace_all_uses_with(new, replace_graph_outputs=True)
