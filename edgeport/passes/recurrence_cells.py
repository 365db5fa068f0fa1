"""One time step of LSTM, GRU and RNN in plain operators, on tensors [..., batch, size].

A cell gets what the inputs add to the gates (X W^T and biases, computed for all steps at once) and the states of the
step before; a state of None is all zeros. Equations: ONNX operators LSTM, GRU and RNN.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import constant, get_int
from edgeport.passes.recurrence import STEP, Recurrence, resets_late
from edgeport.passes.recurrent_activations import Activation
from edgeport.passes.site import Site

State = ir.Value | None


@dataclass(frozen=True)
class Direction:
    """One direction of a recurrent node being written out.

    Attributes:
        site: where.
        found: the node.
        number: the direction's.
    """

    site: Site
    found: Recurrence
    number: int

    def op(self, op_type: str, inputs: list[ir.Value | None], role: str, **attributes: int | float) -> ir.Value:
        """A new node; its output."""
        output = self.site.op(op_type, inputs, f"{role}/{self.number}", **attributes)
        node = output.producer()
        if node is not None and op_type != "MatMul":
            node.metadata_props[STEP] = op_type
        return output

    def rows(self, index: int, first: int, last: int) -> State:
        """Rows (in blocks of a state's size) of an operand for this direction; None if it adds nothing."""
        value, width = self.found.operand(index), self.found.hidden
        if value is None:
            return None
        data, begin, end = constant(value), first * width, last * width
        if data is not None:
            return self.site.constant(f"rows/{index}", np.ascontiguousarray(data[self.number, begin:end]))
        own = self.op("Gather", [value, self.site.constant("direction", np.int64(self.number))], "own", axis=0)
        limits = [self.site.constant("limit", np.asarray([v], np.int64)) for v in (begin, end, 0)]
        return self.op("Slice", [own, *limits], "rows")

    def matrix(self, index: int, first: int, last: int) -> ir.Value:
        """Rows of W or R, transposed for a product."""
        value, width = self.found.operand(index), self.found.hidden
        data = constant(value)
        if data is not None:
            part = data[self.number, first * width : last * width]
            return self.site.constant(f"matrix/{index}", np.ascontiguousarray(part.T))
        part_value = self.rows(index, first, last)
        return self.op("Transpose", [part_value], "matrix")

    def added(self, parts: list[State], role: str) -> State:
        """The sum of what is not zero."""
        present = [part for part in parts if part is not None]
        total = present[0] if present else None
        for part in present[1:]:
            total = self.op("Add", [total, part], role)
        return total

    def recurrent(self, h: State, weights: ir.Value) -> State:
        """h R^T, None where it is zero."""
        return None if h is None else self.op("MatMul", [h, weights], "recurrent")

    def parts(self, x: ir.Value, count: int) -> list[ir.Value]:
        """Gates apart."""
        if count == 1:
            return [x]
        return self.split(x, [f"gate{i}" for i in range(count)], axis=-1)

    def split(self, x: ir.Value, roles: list[str], axis: int) -> list[ir.Value]:
        """Equal parts along an axis."""
        names = [f"{role}/{self.number}" for role in roles]
        parts = list(self.site.several("Split", [x], names, axis=axis, num_outputs=len(roles)))
        node = parts[0].producer()
        assert node is not None
        node.metadata_props[STEP] = "Split"
        return parts

    def activate(self, x: ir.Value, function: Activation, clip: bool = True) -> ir.Value:
        """The function of x, bounded first as the attribute `clip` says."""
        limit = self.found.clip
        if limit and clip:
            low, high = (self.number_of(sign * limit) for sign in (-1, 1))
            x = self.op("Clip", [x, low, high], "clipped")
        return _activate(self, x, function)

    def number_of(self, value: float) -> ir.Value:
        """A constant number."""
        return self.site.constant("number", np.float32(value))


Step = Callable[[Direction, ir.Value, tuple[State, ...]], tuple[ir.Value, ...]]
"""From where to write, what the inputs add and the states to the next states, of which the first is the output."""

_SAME = {"sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "Relu", "softsign": "Softsign", "softplus": "Softplus"}
_WITH_ALPHA = {"leakyrelu": "LeakyRelu", "thresholdedrelu": "ThresholdedRelu", "elu": "Elu"}


def _activate(at: Direction, x: ir.Value, function: Activation) -> ir.Value:
    name, alpha, beta = function
    if name in _SAME:
        return at.op(_SAME[name], [x], name)
    if name in _WITH_ALPHA:
        return at.op(_WITH_ALPHA[name], [x], name, alpha=alpha)
    if name == "hardsigmoid":
        return at.op("HardSigmoid", [x], name, alpha=alpha, beta=beta)
    if name == "affine":
        return at.op("Add", [at.op("Mul", [x, at.number_of(alpha)], "scaled"), at.number_of(beta)], name)
    assert name == "scaledtanh", name
    bent = at.op("Tanh", [at.op("Mul", [x, at.number_of(beta)], "scaled")], "tanh")
    return at.op("Mul", [bent, at.number_of(alpha)], name)


def cell(at: Direction) -> tuple[State, Step]:
    """What is added to X W^T for all steps, [gates * hidden], and one step."""
    make = {"LSTM": _lstm, "GRU": _late_gru if resets_late(at.found) else _gru, "RNN": _rnn}
    return make[at.found.node.op_type](at)


def _biases(at: Direction) -> State:
    count = at.found.gates
    return at.added([at.rows(3, 0, count), at.rows(3, count, 2 * count)], "bias")


def _lstm(at: Direction) -> tuple[State, Step]:
    """i, o, f = s(x + h R + p * c), c' = f * c + i * g(...), h' = o * k(c'); blocks in the order i o f c."""
    gate, new, output = at.found.functions[at.number]
    weights, peepholes = at.matrix(2, 0, 4), [at.rows(7, i, i + 1) for i in range(3)]
    coupled = bool(get_int(at.found.node, "input_forget", 0))

    def seen(at: Direction, x: ir.Value, index: int, c: State) -> ir.Value:
        weight = peepholes[index]
        if weight is None or c is None:
            return x
        return at.op("Add", [x, at.op("Mul", [c, weight], "seen")], "peephole")

    def step(at: Direction, x: ir.Value, states: tuple[State, ...]) -> tuple[ir.Value, ...]:
        h, c = states
        total = at.added([x, at.recurrent(h, weights)], "gates")
        assert total is not None
        i, o, f, g = at.parts(total, 4)
        i = at.activate(seen(at, i, 0, c), gate)
        cell_state = at.op("Mul", [i, at.activate(g, new)], "taken")
        if c is not None:
            f = at.op("Sub", [at.number_of(1), i], "forgotten") if coupled else at.activate(seen(at, f, 2, c), gate)
            cell_state = at.op("Add", [at.op("Mul", [f, c], "kept"), cell_state], "cell")
        o = at.activate(seen(at, o, 1, cell_state), gate)
        return at.op("Mul", [o, at.activate(cell_state, output, clip=False)], "state"), cell_state

    return _biases(at), step


def _mixed(at: Direction, n: ir.Value, z: ir.Value, h: State) -> ir.Value:
    """(1 - z) * n + z * h."""
    if h is None:
        return at.op("Mul", [n, at.op("Sub", [at.number_of(1), z], "opened")], "state")
    return at.op("Add", [n, at.op("Mul", [z, at.op("Sub", [h, n], "change")], "kept")], "state")


def _gru(at: Direction) -> tuple[State, Step]:
    """z, r = s(x + h R), n = g(x + (r * h) R), h' = (1 - z) n + z h; blocks in the order z r n."""
    gate, new = at.found.functions[at.number]
    early, late = at.matrix(2, 0, 2), at.matrix(2, 2, 3)

    def step(at: Direction, x: ir.Value, states: tuple[State, ...]) -> tuple[ir.Value, ...]:
        (h,) = states
        z, r, n = at.parts(x, 3)
        if h is not None:
            hz, hr = at.parts(at.op("MatMul", [h, early], "recurrent"), 2)
            z, r = at.op("Add", [z, hz], "update"), at.op("Add", [r, hr], "reset")
            left = at.op("Mul", [at.activate(r, gate), h], "left")
            n = at.op("Add", [n, at.op("MatMul", [left, late], "recurrent")], "new")
        return (_mixed(at, at.activate(n, new), at.activate(z, gate), h),)

    return _biases(at), step


def _late_gru(at: Direction) -> tuple[State, Step]:
    """As `_gru`, but n = g(x + b + r * (h R + b')): PyTorch's and cuDNN's."""
    gate, new = at.found.functions[at.number]
    weights, late, width = at.matrix(2, 0, 3), at.rows(3, 5, 6), 2 * at.found.hidden
    both = at.added([at.rows(3, 0, 2), at.rows(3, 3, 5)], "bias")
    own = at.rows(3, 2, 3)
    bias: State = None
    if both is not None or own is not None:
        both = at.site.constant("none", np.zeros(width, np.float32)) if both is None else both
        own = at.site.constant("none", np.zeros(at.found.hidden, np.float32)) if own is None else own
        bias = at.op("Concat", [both, own], "bias", axis=0)

    def step(at: Direction, x: ir.Value, states: tuple[State, ...]) -> tuple[ir.Value, ...]:
        (h,) = states
        z, r, n = at.parts(x, 3)
        product: State = None
        if h is not None:
            hz, hr, product = at.parts(at.op("MatMul", [h, weights], "recurrent"), 3)
            z, r = at.op("Add", [z, hz], "update"), at.op("Add", [r, hr], "reset")
        product = at.added([product, late], "late")
        if product is not None:
            n = at.op("Add", [n, at.op("Mul", [at.activate(r, gate), product], "left")], "new")
        return (_mixed(at, at.activate(n, new), at.activate(z, gate), h),)

    return bias, step


def _rnn(at: Direction) -> tuple[State, Step]:
    """h' = f(x + h R)."""
    (function,) = at.found.functions[at.number]
    weights = at.matrix(2, 0, 1)

    def step(at: Direction, x: ir.Value, states: tuple[State, ...]) -> tuple[ir.Value, ...]:
        total = at.added([x, at.recurrent(states[0], weights)], "sum")
        assert total is not None
        return (at.activate(total, function),)

    return _biases(at), step
