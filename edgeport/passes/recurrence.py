"""What LSTM, GRU and RNN nodes say, read once for those who rewrite or lower them."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from edgeport.passes.edit import Array, constant, get_float, get_int, get_str, input_of, static_shape
from edgeport.passes.recurrent_activations import Activation, activations

_DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}

STEP = "edgeport.recurrence"
"""Metadata of nodes, products aside, in a recurrence written out: what they round, later ones carry on."""


@dataclass(frozen=True)
class Recurrence:
    """A recurrent node.

    Attributes:
        node: the node; time stands first.
        gates: how many blocks of `hidden` rows its weights have.
        steps: length of the longest sequence.
        batch: number of sequences.
        hidden: size of a state.
        backwards: for each direction whether it runs from the end.
        functions: activations of each direction, in the order of ONNX.
        lengths: steps of each sequence: a constant that is not the same as all, or a value; None: all of them.
        clip: bound of what goes into activations, 0 for none.
    """

    node: ir.Node
    gates: int
    steps: int
    batch: int
    hidden: int
    backwards: tuple[bool, ...]
    functions: tuple[tuple[Activation, ...], ...]
    lengths: Array | ir.Value | None
    clip: float

    def operand(self, index: int) -> ir.Value | None:
        """An input, None if it is absent or a constant of zeros that adds nothing."""
        value = input_of(self.node, index)
        data = constant(value)
        return None if index >= 3 and data is not None and not data.any() else value


def recurrence_of(node: ir.Node) -> Recurrence | None:
    """Reads a node; None if its sizes are unknown or do not agree, or an attribute has an unknown value."""
    direction, gates = _DIRECTIONS.get(get_str(node, "direction", "forward")), _GATES[node.op_type]
    shapes = [static_shape(value) for value in node.inputs[:3]]
    if direction is None or get_int(node, "layout", 0) or any(s is None or len(s) != 3 for s in shapes):
        return None
    (steps, batch, inputs), _, (_, _, hidden) = (s for s in shapes if s is not None)
    count = len(direction)
    expected: dict[int, tuple[int, ...]] = {
        1: (count, gates * hidden, inputs),
        2: (count, gates * hidden, hidden),
        3: (count, 2 * gates * hidden),
        4: (batch,),
        5: (count, batch, hidden),
        6: (count, batch, hidden),
        7: (count, 3 * hidden),
    }
    for index, shape in expected.items():
        value = input_of(node, index)
        if value is not None and static_shape(value) != shape:
            return None
    try:
        functions = activations(node, count)
    except ValueError:
        return None
    if 0 in (steps, batch) or get_int(node, "hidden_size", hidden) != hidden:
        return None
    value = input_of(node, 4)
    known = constant(value)
    lengths: Array | ir.Value | None = value
    if known is not None:
        if known.min() < 0 or known.max() > steps:
            return None
        lengths = None if (known == steps).all() else known
    return Recurrence(
        node, gates, steps, batch, hidden, direction, functions, lengths, max(get_float(node, "clip", 0.0), 0.0)
    )


_PLAIN = frozenset({"sigmoid", "tanh", "relu"})


def is_common(found: Recurrence) -> bool:
    """Whether a runtime's own recurrent kernel computes it: constant weights, whole sequences, plain activations."""
    node = found.node
    weights = [input_of(node, index) for index in (1, 2, 3, 7)]
    same = len(set(found.functions)) == 1 and all(f.name in _PLAIN for f in found.functions[0])
    whole = found.lengths is None and not found.clip and not get_int(node, "input_forget", 0)
    return whole and same and all(w is None or constant(w) is not None for w in weights)


def resets_late(found: Recurrence) -> bool:
    """Whether it is a GRU as PyTorch's, whose reset gate multiplies the recurrent product and not the state."""
    return found.node.op_type == "GRU" and bool(get_int(found.node, "linear_before_reset", 0))
