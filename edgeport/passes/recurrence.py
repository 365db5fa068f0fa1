"""What LSTM, GRU and RNN nodes say, read once for those who rewrite or lower them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import onnx_ir as ir

from edgeport.passes.edit import Array, constant, get_float, get_int, get_str, input_of, static_shape

_DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_DEFAULT = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
_FACTORS: dict[str, tuple[float | None, float | None]] = {
    "relu": (None, None),
    "tanh": (None, None),
    "sigmoid": (None, None),
    "softsign": (None, None),
    "softplus": (None, None),
    "leakyrelu": (0.01, None),
    "thresholdedrelu": (1.0, None),
    "elu": (1.0, None),
    "hardsigmoid": (0.2, 0.5),
    "affine": (None, None),
    "scaledtanh": (None, None),
}
"""Default alpha and beta of each function; None: it has no such factor, or (the last two) needs it given."""
_BOTH_NEEDED = frozenset({"affine", "scaledtanh"})


STEP = "edgeport.recurrence"
"""Metadata of nodes, products aside, in a recurrence written out: what they round, later ones carry on."""


class Activation(NamedTuple):
    """A function, its name in lower case, with its factors; they are 0 where the function has none."""

    name: str
    alpha: float = 0.0
    beta: float = 0.0


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
    functions = _activations(node, count)
    if functions is None or 0 in (steps, batch) or get_int(node, "hidden_size", hidden) != hidden:
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


def _activations(node: ir.Node, directions: int) -> tuple[tuple[Activation, ...], ...] | None:
    """Factors are consumed in the order of the functions that have such a factor."""
    attribute, default = node.attributes.get("activations"), _DEFAULT[node.op_type]
    names = list(default) * directions if attribute is None else list(attribute.as_strings())
    if len(names) != len(default) * directions:
        return None
    alphas, betas = _given(node, "activation_alpha"), _given(node, "activation_beta")
    found = []
    for name in map(str.lower, names):
        if name not in _FACTORS:
            return None
        factors = []
        for given, fallback in zip((alphas, betas), _FACTORS[name], strict=True):
            factor = next(given, fallback) if fallback is not None or name in _BOTH_NEEDED else 0.0
            if factor is None:
                return None
            factors.append(factor)
        found.append(Activation(name, *factors))
    width = len(default)
    return tuple(tuple(found[d * width : (d + 1) * width]) for d in range(directions))


def _given(node: ir.Node, name: str) -> Iterator[float]:
    attribute = node.attributes.get(name)
    return iter(()) if attribute is None else iter(attribute.as_floats())


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
