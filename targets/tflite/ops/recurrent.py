"""LSTM, GRU, RNN: one FULLY_CONNECTED for the inputs of all time steps, then the steps one by one.

LiteRT's own sequence operators (UNIDIRECTIONAL_SEQUENCE_LSTM and its kin) are not used: they keep their states from
one run to the next, take no initial states and return no last ones. docs/decisions/ has the figures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgeport.passes.recurrent_activations import Activation, activations
from edgeport.targets.tflite.attributes import int_attr, string_attr
from edgeport.targets.tflite.builder import Tensor
from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.layout import Layout, stored_shape
from edgeport.targets.tflite.layout_choice import cheaper
from edgeport.targets.tflite.ops.recurrent_cells import Cell, gru_cell, lstm_cell, product, rnn_cell
from edgeport.targets.tflite.ops.recurrent_operands import (
    as_tensor,
    initial_state,
    matrix,
    name_giver,
    operand,
)
from edgeport.targets.tflite.ops.recurrent_steps import Lengths, Run, run_steps
from edgeport.targets.tflite.pieces import shaped
from edgeport.targets.tflite.registry import Refused, lowers

_COMMON = ("activation_alpha", "activation_beta", "activations", "clip", "direction", "hidden_size", "layout")
_DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}

CellOf = Callable[[Context, ir.Node, int, int, tuple[Activation, ...]], Cell]


@lowers("LSTM", attributes=(*_COMMON, "input_forget"), inputs=8, outputs=3)
def lstm(ctx: Context, node: ir.Node) -> None:
    """Outputs Y, Y_h, Y_c; peepholes, coupled gates, clipping and initial states included."""
    _recurrent(ctx, node, lstm_cell, gates=4, states=(5, 6))


@lowers("GRU", attributes=(*_COMMON, "linear_before_reset"), inputs=6, outputs=2)
def gru(ctx: Context, node: ir.Node) -> None:
    """Outputs Y, Y_h; the reset gate before or behind the product."""
    _recurrent(ctx, node, gru_cell, gates=3, states=(5,))


@lowers("RNN", attributes=_COMMON, inputs=6, outputs=2)
def rnn(ctx: Context, node: ir.Node) -> None:
    """Outputs Y, Y_h."""
    _recurrent(ctx, node, rnn_cell, gates=1, states=(5,))


@dataclass(frozen=True)
class _Sizes:
    steps: int
    batch: int
    inputs: int
    hidden: int
    directions: int


def _recurrent(ctx: Context, node: ir.Node, cell_of: CellOf, gates: int, states: Sequence[int]) -> None:
    reversals, sizes = _checked(ctx, node, gates)
    try:
        functions = activations(node, sizes.directions)
    except ValueError as error:
        raise Refused(str(error)) from error
    lengths = _lengths(ctx, node, sizes)
    rows = _input_rows(ctx, node, sizes)
    like = name_giver(node)
    w = node.inputs[1]
    assert w is not None
    sequences: list[Tensor | None] = []
    last: list[tuple[Tensor | None, ...]] = []
    wanted = _used(node, 0)
    step_bytes = _step_bytes(ctx, node)
    for direction, backwards in enumerate(reversals):
        cell = cell_of(ctx, node, direction, sizes.hidden, functions[direction])
        weights = matrix(ctx, node, w, direction, 0, gates * sizes.hidden)
        fed = product(ctx, like, rows, weights, cell.bias)
        parts = [initial_state(ctx, node, index, direction) for index in states]
        initial = tuple(None if part is None else as_tensor(ctx, part, "state") for part in parts)
        run = Run(like, cell, sizes.steps, backwards, lengths, wanted, step_bytes)
        sequence, final = run_steps(ctx, run, fed, initial)
        sequences.append(sequence)
        last.append(final)
    if wanted:
        _bind_sequence(ctx, node, [s for s in sequences if s is not None], sizes)
    for offset in range(len(states)):
        if _used(node, 1 + offset):
            parts_of = [state[offset] for state in last]
            _bind_state(ctx, node, node.outputs[1 + offset], [p for p in parts_of if p is not None], sizes)


def _checked(ctx: Context, node: ir.Node, gates: int) -> tuple[tuple[bool, ...], _Sizes]:
    """Which directions run backwards, and the sizes, on which all operands must agree."""
    direction = string_attr(node, "direction", "forward")
    if direction not in _DIRECTIONS:
        raise Refused(f"direction={direction!r} is unknown")
    if int_attr(node, "layout", 0):
        raise Refused("layout=1 is not supported here", "run the pass 'time_major_recurrence'", "unsupported-attribute")
    x, w, r = node.inputs[:3]
    assert x is not None
    assert w is not None
    assert r is not None
    steps, batch, inputs = ctx.shape(x)
    directions, hidden = len(_DIRECTIONS[direction]), ctx.shape(r)[-1]
    expected: dict[int, tuple[int, ...]] = {
        1: (directions, gates * hidden, inputs),
        2: (directions, gates * hidden, hidden),
    }
    expected |= {3: (directions, 2 * gates * hidden), 7: (directions, 3 * hidden), 4: (batch,)}
    expected |= dict.fromkeys((5, 6), (directions, batch, hidden))
    for index, shape in expected.items():
        value = operand(node, index)
        if value is not None and ctx.shape(value) != shape:
            message = f"input {index} of shape {list(ctx.shape(value))} does not fit {list(shape)}"
            raise Refused(message, "export the model again")
    if int_attr(node, "hidden_size", hidden) != hidden:
        raise Refused(f"hidden_size does not fit weights for {hidden}", "export the model again")
    return _DIRECTIONS[direction], _Sizes(steps, batch, inputs, hidden, directions)


def _used(node: ir.Node, index: int) -> bool:
    return index < len(node.outputs) and (bool(node.outputs[index].uses()) or node.outputs[index].is_graph_output())


def _step_bytes(ctx: Context, node: ir.Node) -> int | None:
    """Bytes of the recurrent weights of one direction; None if a step reads anything that is computed."""
    if any(v is not None and ctx.constant(v) is None for v in (operand(node, index) for index in (2, 3, 7))):
        return None
    r = node.inputs[2]
    assert r is not None
    integers = ctx.plan.kernel(node.name) == "int8-dynamic"
    return math.prod(ctx.shape(r)[1:]) * (1 if integers else 4)


def _lengths(ctx: Context, node: ir.Node, sizes: _Sizes) -> Lengths | None:
    """`sequence_lens`, None where every sequence has all steps."""
    value = operand(node, 4)
    if value is None:
        return None
    known = ctx.constant(value)
    if known is None:
        return ctx.read(node, value)
    if known.min() < 0 or known.max() > sizes.steps:
        raise Refused(f"sequence_lens must lie in 0 .. {sizes.steps}")
    return None if (known == sizes.steps).all() else np.asarray(known)


def _input_rows(ctx: Context, node: ir.Node, sizes: _Sizes) -> Tensor:
    """The inputs as [batch, steps, inputs], or in the order in which they are stored where that is the same."""
    x = node.inputs[0]
    assert x is not None
    layout: Layout = (1, 0, 2)
    if sizes.batch == 1:
        layout = cheaper(ctx, x, layout, (0, 1, 2))
    return ctx.read(node, x, layout)


def _bind_sequence(ctx: Context, node: ir.Node, parts: list[Tensor], sizes: _Sizes) -> None:
    """Y [steps, directions, batch, hidden] from [batch, steps * hidden] a direction ([steps, hidden] for batch 1)."""
    y = node.outputs[0]
    if sizes.directions == 1:
        layout: Layout = (0, 3) if sizes.batch == 1 else (2, 0, 3)
    else:
        layout = (0, 1, 3) if sizes.batch == 1 else (2, 0, 1, 3)
    shape = stored_shape(ctx.shape(y), layout)
    single = (*shape[: -1 - (sizes.directions > 1)], sizes.hidden)
    _bind_joined(ctx, node, y, [shaped(ctx, y, part, single) for part in parts], layout)


def _bind_state(ctx: Context, node: ir.Node, value: ir.Value, parts: list[Tensor], sizes: _Sizes) -> None:
    """Y_h or Y_c [directions, batch, hidden] from [batch, hidden] a direction."""
    _bind_joined(ctx, node, value, parts, (1, 2) if sizes.directions == 1 else (1, 0, 2))


def _bind_joined(ctx: Context, node: ir.Node, value: ir.Value, parts: list[Tensor], layout: Layout) -> None:
    """One part as it is; two side by side."""
    data = parts[0]
    if len(parts) > 1:
        shape = (*data.shape[:-1], 2 * data.shape[-1])
        axis = len(shape) - 1
        data = ctx.step(value, "CONCATENATION", parts, "ConcatenationOptions", shape=shape, axis=axis)
    ctx.bind(node, value, shaped(ctx, value, data, stored_shape(ctx.shape(value), layout)), layout)
