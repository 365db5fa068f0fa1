"""LSTM, GRU and RNN: torch's own where it computes the same, else one product for all inputs, then step by step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor

from edgeport.passes.edit import get_int
from edgeport.passes.recurrence import Recurrence, recurrence_of
from edgeport.torch_view.context import Context
from edgeport.torch_view.dtypes import to
from edgeport.torch_view.ops.elementwise import floats
from edgeport.torch_view.recurrence import activated, one, own
from edgeport.torch_view.registry import Refused, lowers

_COMMON = ("activation_alpha", "activation_beta", "activations", "clip", "direction", "hidden_size", "layout")
_MOST_STEPS = 1024
"""Steps that are written out at most."""
States = tuple[Tensor, ...]
"""Hidden state and, of an LSTM, cell state; [batch, hidden]."""


@dataclass(frozen=True)
class _Cell:
    """One direction of a layer.

    Attributes:
        found: the layer.
        direction: the number of the direction.
        recurrent: [gates * hidden, hidden].
        bias: of the recurrent product, [gates * hidden]; None without.
        peepholes: [3 * hidden], None without.
    """

    found: Recurrence
    direction: int
    recurrent: Tensor
    bias: Tensor | None
    peepholes: Tensor | None

    def act(self, number: int, x: Tensor) -> Tensor:
        """An activation behind the clipping of its operand."""
        limit = self.found.clip
        return activated(torch.clamp(x, -limit, limit) if limit else x, self.found.functions[self.direction][number])

    def gate(self, x: Tensor, number: int, count: int = 1) -> Tensor:
        """Some gates' part of the last axis."""
        return torch.narrow(x, -1, number * self.found.hidden, count * self.found.hidden)

    def product(self, state: Tensor, number: int, count: int) -> Tensor:
        """A state's part in the sums of some gates."""
        hidden = self.found.hidden
        weights = torch.narrow(self.recurrent, 0, number * hidden, count * hidden)
        return torch.nn.functional.linear(
            state, weights, None if self.bias is None else self.gate(self.bias, number, count)
        )


_Step = Callable[[_Cell, Tensor, States], States]


def _lstm(cell: _Cell, fed: Tensor, states: States) -> States:
    """Gates in the order i, o, f, c."""
    hidden, memory = states
    sums = torch.add(fed, cell.product(hidden, 0, 4))

    def seen(number: int, peephole: int, state: Tensor) -> Tensor:
        part = cell.gate(sums, number)
        if cell.peepholes is None:
            return part
        return torch.add(part, torch.mul(state, cell.gate(cell.peepholes, peephole)))

    entry = cell.act(0, seen(0, 0, memory))
    coupled = get_int(cell.found.node, "input_forget", 0)
    kept = torch.rsub(entry, 1) if coupled else cell.act(0, seen(2, 2, memory))
    memory = torch.add(torch.mul(kept, memory), torch.mul(entry, cell.act(1, cell.gate(sums, 3))))
    last = cell.found.functions[cell.direction][2]
    return torch.mul(cell.act(0, seen(1, 1, memory)), activated(memory, last)), memory


def _gru(cell: _Cell, fed: Tensor, states: States) -> States:
    """Gates in the order z, r, h."""
    (hidden,) = states
    late = bool(get_int(cell.found.node, "linear_before_reset", 0))
    sums = cell.product(hidden, 0, 3 if late else 2)
    update = cell.act(0, torch.add(cell.gate(fed, 0), cell.gate(sums, 0)))
    reset = cell.act(0, torch.add(cell.gate(fed, 1), cell.gate(sums, 1)))
    inner = torch.mul(reset, cell.gate(sums, 2)) if late else cell.product(torch.mul(reset, hidden), 2, 1)
    new = cell.act(1, torch.add(cell.gate(fed, 2), inner))
    return (torch.add(torch.mul(torch.rsub(update, 1), new), torch.mul(update, hidden)),)


def _rnn(cell: _Cell, fed: Tensor, states: States) -> States:
    return (cell.act(0, torch.add(fed, cell.product(states[0], 0, 1))),)


@lowers("LSTM", attributes=(*_COMMON, "input_forget"), inputs=8, outputs=3)
def lstm(ctx: Context, node: ir.Node) -> None:
    """Outputs Y, Y_h, Y_c; peepholes, coupled gates, clipping and initial states included."""
    _recurrent(ctx, node, _lstm, (5, 6))


@lowers("GRU", attributes=(*_COMMON, "linear_before_reset"), inputs=6, outputs=2)
def gru(ctx: Context, node: ir.Node) -> None:
    """Outputs Y, Y_h; the reset gate before or behind the product."""
    _recurrent(ctx, node, _gru, (5,))


@lowers("RNN", attributes=_COMMON, inputs=6, outputs=2)
def rnn(ctx: Context, node: ir.Node) -> None:
    """Outputs Y, Y_h."""
    _recurrent(ctx, node, _rnn, (5,))


def _recurrent(ctx: Context, node: ir.Node, step: _Step, states: tuple[int, ...]) -> None:
    """Every direction, its outputs stacked: Y [steps, directions, batch, hidden], states [directions, batch, hidden].

    Raises:
        Refused: sizes are unknown or do not agree, or more steps than are written out.
    """
    floats(ctx, node)
    found = recurrence_of(node)
    if found is None:
        raise Refused(
            "its operands or attributes do not agree, or a size is unknown", "fix the dimensions with --input"
        )
    native = own(ctx, found, states)
    if native is not None:
        ctx.bind(node, *native)
        return
    if found.steps > _MOST_STEPS:
        raise Refused(f"{found.steps} time steps are more than the {_MOST_STEPS} that are written out")
    lengths = _lengths(ctx, found)
    sequences, last = [], []
    for number, backwards in enumerate(found.backwards):
        cell, fed = _direction(ctx, found, number)
        state = tuple(_initial(ctx, found, index, number) for index in states)
        made: dict[int, Tensor] = {}
        for t in reversed(range(found.steps)) if backwards else range(found.steps):
            new = step(cell, torch.select(fed, 0, t), state)
            made[t] = new[0]
            if lengths is not None:
                running = torch.gt(lengths, t)
                made[t] = torch.where(running, new[0], 0.0)
                new = tuple(torch.where(running, a, b) for a, b in zip(new, state, strict=True))
            state = new
        sequences.append(torch.stack([made[t] for t in range(found.steps)], 0))
        last.append(state)
    ends = [torch.stack([state[i] for state in last], 0) for i in range(len(states))]
    ctx.bind(node, torch.stack(sequences, 1), *ends)


def _lengths(ctx: Context, found: Recurrence) -> Tensor | None:
    """Steps of each sequence, [batch, 1]; None: all of them."""
    if found.lengths is None:
        return None
    if isinstance(found.lengths, ir.Value):
        return torch.reshape(to(ctx.tensor(found.lengths), torch.int64), [found.batch, 1])
    return ctx.constant(found.lengths.reshape(-1, 1).astype(np.int64), "lengths")


def _initial(ctx: Context, found: Recurrence, index: int, direction: int) -> Tensor:
    given = one(ctx, found, index, direction)
    if given is not None:
        return given
    zeros: Tensor = torch.ops.aten.new_zeros(ctx.read(found.node, 0), [found.batch, found.hidden])
    return zeros


def _direction(ctx: Context, found: Recurrence, number: int) -> tuple[_Cell, Tensor]:
    """A cell and what its input weights make of all steps: [steps, batch, gates * hidden]."""
    weights, recurrent, bias = (one(ctx, found, index, number) for index in (1, 2, 3))
    assert weights is not None
    assert recurrent is not None
    rows = found.gates * found.hidden
    first, second = (None, None) if bias is None else (torch.narrow(bias, 0, at, rows) for at in (0, rows))
    fed = torch.nn.functional.linear(ctx.read(found.node, 0), weights, first)
    peepholes = one(ctx, found, 7, number) if found.node.op_type == "LSTM" else None
    return _Cell(found, number, recurrent, second, peepholes), fed
