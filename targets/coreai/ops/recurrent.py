"""LSTM, GRU and RNN: one product for the inputs of all time steps, then the steps one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_float, get_int, get_str
from edgeport.passes.recurrent_activations import Activation, activations
from edgeport.targets.coreai import elements as e
from edgeport.targets.coreai.context import Context
from edgeport.targets.coreai.folds import matmul
from edgeport.targets.coreai.ops.elementwise import floats
from edgeport.targets.coreai.ops.select import places
from edgeport.targets.coreai.program import Tensor
from edgeport.targets.coreai.registry import Refused, lowers
from edgeport.targets.coreai.views import broadcast, cut, reshape, squeeze, stack, transpose, unsqueeze

_COMMON = ("activation_alpha", "activation_beta", "activations", "clip", "direction", "hidden_size", "layout")
_DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
_MOST_STEPS = 1024
"""Steps that are written out at most."""


@dataclass(frozen=True)
class _Cell:
    """One direction of a layer.

    Attributes:
        node: its node.
        hidden: size of a state.
        recurrent: [hidden, gates * hidden].
        recurrent_bias: [gates * hidden], None where it is part of what is fed.
        peepholes: [3 * hidden], None without.
        functions: activations, in ONNX's order.
    """

    node: ir.Node
    hidden: int
    recurrent: Tensor
    recurrent_bias: Tensor | None
    peepholes: Tensor | None
    functions: tuple[Activation, ...]

    def act(self, number: int, x: Tensor) -> Tensor:
        """An activation behind the clipping of its operand."""
        limit = get_float(self.node, "clip", 0.0)
        return activated(e.clamp(x, -limit, limit) if limit else x, self.functions[number])

    def gate(self, x: Tensor, number: int) -> Tensor:
        """One gate's part of the last axis."""
        return cut(x, -1, number * self.hidden, (number + 1) * self.hidden)


States = tuple[Tensor, ...]
"""Hidden state and, of an LSTM, cell state; [batch, hidden]."""
_Step = Callable[[_Cell, Tensor, States], States]


def activated(x: Tensor, function: Activation) -> Tensor:
    """A function that recurrent operators name."""
    alpha, beta = function.alpha, function.beta
    match function.name:
        case "sigmoid":
            return e.sigmoid(x)
        case "tanh":
            return e.tanh(x)
        case "relu":
            return e.relu(x)
        case "leakyrelu":
            return e.where(x > 0, x, x * alpha)
        case "affine":
            return x * alpha + beta
        case "scaledtanh":
            return e.tanh(x * beta) * alpha
        case "hardsigmoid":
            return e.clamp(x * alpha + beta, 0, 1)
        case "elu":
            return e.relu(x) + e.expm1(e.minimum(x, 0)) * alpha
        case "thresholdedrelu":
            return e.where(x > alpha, x, 0)
        case "softsign":
            return x / (e.absolute(x) + 1)
        case "softplus":
            return e.softplus(x)
        case _:
            raise AssertionError(function.name)


def _lstm(cell: _Cell, fed: Tensor, states: States) -> States:
    """Gates in the order i, o, f, c."""
    hidden, memory = states
    sums = fed + matmul(hidden, cell.recurrent)

    def seen(number: int, peephole: int, state: Tensor) -> Tensor:
        part = cell.gate(sums, number)
        return part if cell.peepholes is None else part + state * cell.gate(cell.peepholes, peephole)

    entry = cell.act(0, seen(0, 0, memory))
    coupled = get_int(cell.node, "input_forget", 0)
    kept = 1.0 - entry if coupled else cell.act(0, seen(2, 2, memory))
    memory = kept * memory + entry * cell.act(1, cell.gate(sums, 3))
    return cell.act(0, seen(1, 1, memory)) * activated(memory, cell.functions[2]), memory


def _gru(cell: _Cell, fed: Tensor, states: States) -> States:
    """Gates in the order z, r, h."""
    (hidden,) = states
    bias = cell.recurrent_bias
    assert bias is not None
    if get_int(cell.node, "linear_before_reset", 0):
        sums = matmul(hidden, cell.recurrent) + unsqueeze(bias, 0)
        update = cell.act(0, cell.gate(fed, 0) + cell.gate(sums, 0))
        reset = cell.act(0, cell.gate(fed, 1) + cell.gate(sums, 1))
        inner = reset * cell.gate(sums, 2)
    else:
        split = 2 * cell.hidden
        sums = matmul(hidden, cut(cell.recurrent, 1, 0, split)) + unsqueeze(cut(bias, 0, 0, split), 0)
        update = cell.act(0, cell.gate(fed, 0) + cell.gate(sums, 0))
        reset = cell.act(0, cell.gate(fed, 1) + cell.gate(sums, 1))
        inner = matmul(reset * hidden, cut(cell.recurrent, 1, split, 3 * cell.hidden))
        inner = inner + unsqueeze(cell.gate(bias, 2), 0)
    new = cell.act(1, cell.gate(fed, 2) + inner)
    return ((1.0 - update) * new + update * hidden,)


def _rnn(cell: _Cell, fed: Tensor, states: States) -> States:
    return (cell.act(0, fed + matmul(states[0], cell.recurrent)),)


@lowers("LSTM", attributes=(*_COMMON, "input_forget"), inputs=8, outputs=3)
def lstm(ctx: Context, node: ir.Node) -> None:
    """Outputs Y, Y_h, Y_c; peepholes, coupled gates, clipping and initial states included."""
    _recurrent(ctx, node, _lstm, gates=4, states=(5, 6))


@lowers("GRU", attributes=(*_COMMON, "linear_before_reset"), inputs=6, outputs=2)
def gru(ctx: Context, node: ir.Node) -> None:
    """Outputs Y, Y_h; the reset gate before or behind the product."""
    _recurrent(ctx, node, _gru, gates=3, states=(5,))


@lowers("RNN", attributes=_COMMON, inputs=6, outputs=2)
def rnn(ctx: Context, node: ir.Node) -> None:
    """Outputs Y, Y_h."""
    _recurrent(ctx, node, _rnn, gates=1, states=(5,))


def _recurrent(ctx: Context, node: ir.Node, step: _Step, gates: int, states: Sequence[int]) -> None:
    x, reversals = ctx.read(node, 0), _DIRECTIONS.get(get_str(node, "direction", "forward"))
    floats(node, x)
    if reversals is None:
        raise Refused(f"direction={get_str(node, 'direction', '')!r} is unknown")
    if get_int(node, "layout", 0):
        raise Refused("layout=1 is not supported here", "run the pass 'time_major_recurrence'", "unsupported-attribute")
    steps, batch, inputs = x.shape
    hidden = ctx.read(node, 2).shape[-1]
    _check(ctx, node, len(reversals), gates * hidden, batch, inputs, hidden)
    if steps > _MOST_STEPS:
        raise Refused(f"{steps} time steps are too many, {_MOST_STEPS} are written out at most", "split the sequence")
    try:
        functions = activations(node, len(reversals))
    except ValueError as error:
        raise Refused(str(error)) from error
    lengths = None if not ctx.has(node, 4) else unsqueeze(places(ctx.read(node, 4)), 1)
    sequences, last = [], []
    for number, backwards in enumerate(reversals):
        cell, fed = _direction(ctx, node, x, number, gates, functions[number])
        state = tuple(_initial(ctx, node, index, number, (batch, hidden), x.dtype) for index in states)
        made: dict[int, Tensor] = {}
        for t in reversed(range(steps)) if backwards else range(steps):
            new = step(cell, squeeze(cut(fed, 0, t, t + 1), 0), state)
            made[t] = new[0]
            if lengths is not None:
                running = lengths > t
                made[t] = e.where(running, new[0], 0)
                new = tuple(e.where(running, a, b) for a, b in zip(new, state, strict=True))
            state = new
        sequences.append(stack([made[t] for t in range(steps)], 0))
        last.append(state)
    ends = [stack([state[i] for state in last], 0) for i in range(len(states))]
    ctx.bind(node, stack(sequences, 1), *ends)


def _check(ctx: Context, node: ir.Node, directions: int, rows: int, batch: int, inputs: int, hidden: int) -> None:
    """All operands must agree."""
    expected: dict[int, tuple[int, ...]] = {1: (directions, rows, inputs), 2: (directions, rows, hidden)}
    expected |= {3: (directions, 2 * rows), 7: (directions, 3 * hidden), 4: (batch,)}
    expected |= dict.fromkeys((5, 6), (directions, batch, hidden))
    for index, shape in expected.items():
        if ctx.has(node, index) and ctx.read(node, index).shape != shape:
            message = f"input {index} of shape {list(ctx.read(node, index).shape)} does not fit {list(shape)}"
            raise Refused(message, "export the model again")
    if get_int(node, "hidden_size", hidden) != hidden:
        raise Refused(f"hidden_size does not fit weights for {hidden}", "export the model again")


def _one(ctx: Context, node: ir.Node, index: int, direction: int) -> Tensor | None:
    """A direction's part of an operand; constants are cut here."""
    whole = ctx.optional(node, index)
    if whole is None:
        return None
    if whole.data is not None:
        return ctx.builder.constant(whole.data[direction])
    return squeeze(cut(whole, 0, direction, direction + 1), 0)


def _initial(ctx: Context, node: ir.Node, index: int, direction: int, shape: tuple[int, ...], dtype: str) -> Tensor:
    given = _one(ctx, node, index, direction)
    if given is None:
        given = broadcast(ctx.builder.constant(np.zeros((), dtype)), shape)
    return given


def _direction(
    ctx: Context, node: ir.Node, x: Tensor, number: int, gates: int, functions: tuple[Activation, ...]
) -> tuple[_Cell, Tensor]:
    """A cell and what its input weights make of all steps: [steps, batch, gates * hidden]."""
    weights, recurrent = _one(ctx, node, 1, number), _one(ctx, node, 2, number)
    assert weights is not None
    assert recurrent is not None
    rows, hidden = recurrent.shape
    bias = _one(ctx, node, 3, number)
    own, other = (None, None) if bias is None else (cut(bias, 0, 0, rows), cut(bias, 0, rows, 2 * rows))
    if node.op_type == "GRU":
        other = other or broadcast(ctx.builder.constant(np.zeros((), x.dtype)), (rows,))
    elif own is not None and other is not None:
        own, other = own + other, None
    steps, batch, inputs = x.shape
    fed = matmul(reshape(x, (steps * batch, inputs)), transpose(weights, (1, 0)))
    fed = fed if own is None else fed + unsqueeze(own, 0)
    peepholes = _one(ctx, node, 7, number) if node.op_type == "LSTM" else None
    cell = _Cell(node, hidden, transpose(recurrent, (1, 0)), other, peepholes, functions)
    return cell, reshape(fed, (steps, batch, gates * hidden))
