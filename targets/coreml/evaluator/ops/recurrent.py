"""Recurrent layers: sequence-major, one step after the other.

What the definitions leave open is as Apple's own tests of devices have it: `clip` bounds the cell state, the output
gate's peephole sees the new cell state, hard_sigmoid is 0.2 x + 0.5 between 0 and 1, scaled_tanh and linear have
factors 1, and a GRU without `reset_after` applies the reset gate before its matrix
product.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgeport.targets.coreml.evaluator.accumulate import accumulates_in_half, product
from edgeport.targets.coreml.evaluator.call import Call
from edgeport.targets.coreml.evaluator.ops.activation import sigmoid
from edgeport.targets.coreml.evaluator.registry import Array, EvaluationError, evaluates

Activation = Callable[[Array], Array]


def _hard_sigmoid(x: Array) -> Array:
    result: Array = np.clip(np.float32(0.2) * x + np.float32(0.5), 0, 1)
    return result


_ACTIVATIONS: dict[str, Activation] = {
    "hard_sigmoid": _hard_sigmoid,
    "linear": np.asarray,
    "relu": lambda x: np.maximum(x, 0),
    "scaled_tanh": np.tanh,
    "sigmoid": sigmoid,
    "sigmoid_hard": _hard_sigmoid,
    "tanh": np.tanh,
}


def _activation(call: Call, name: str, default: str) -> Activation:
    text = call.text(name, default).lower()
    if text not in _ACTIVATIONS:
        raise EvaluationError(f"unknown {name} {text!r}")
    return _ACTIVATIONS[text]


def _backwards(call: Call) -> bool:
    direction = call.text("direction", "forward")
    if direction not in ("forward", "reverse"):
        raise EvaluationError(f"unknown direction {direction!r}")
    return direction == "reverse"


def _projected(call: Call, x: Array, weight: Array, bias: Array | None) -> Array:
    """Every step's product with the input weights at once."""
    projected = product(call, x, weight.T)
    return projected if bias is None else projected + bias


def _kept(call: Call, state: Array) -> Array:
    """A state on its way to the next step: where sums run in fp16, it is stored as fp16 too."""
    return state.astype(np.float16).astype(np.float32) if accumulates_in_half(call) else state


def _sequence(steps: list[Array], backwards: bool, whole: bool) -> Array:
    """The first output: all steps in the order of time, or only the last that was computed."""
    if not whole:
        return steps[-1][None]
    return np.stack(steps[::-1] if backwards else steps)


@evaluates("rnn")
def rnn(call: Call) -> tuple[Array, ...]:
    """h = activation(W x + R h + b)."""
    activate, backwards = _activation(call, "activation", "tanh"), _backwards(call)
    inputs = _projected(call, call.array("x"), call.array("weight_ih"), call.maybe("bias"))
    recurrent, h = call.array("weight_hh").T, call.array("initial_h")
    steps = []
    for row in inputs[::-1] if backwards else inputs:
        h = _kept(call, activate(row + product(call, h, recurrent)))
        steps.append(h)
    return _sequence(steps, backwards, call.flag("output_sequence", False)), h


@evaluates("gru")
def gru(call: Call) -> tuple[Array, ...]:
    """Gates in the order reset, output (the new state), update; h = (1 - z) o + z h.

    With `reset_after` (iOS 18) the reset gate multiplies the product R_o h + b_o, `bias` being the recurrent one and
    `input_bias` the input's.
    """
    gate, activate = _activation(call, "recurrent_activation", "sigmoid"), _activation(call, "activation", "tanh")
    backwards, reset_after = _backwards(call), call.flag("reset_after", False)
    bias, input_bias = call.maybe("bias"), call.maybe("input_bias")
    weight = call.array("weight_hh")
    recurrent_bias = np.zeros(weight.shape[0], np.float32) if bias is None else bias
    inputs = _projected(call, call.array("x"), call.array("weight_ih"), input_bias)
    (to_r, to_o, to_z), (bias_r, bias_o, bias_z) = np.split(weight, 3), np.split(recurrent_bias, 3)
    h = call.array("initial_h")
    steps = []
    for row in inputs[::-1] if backwards else inputs:
        from_r, from_o, from_z = np.split(row, 3, axis=-1)
        r = gate(from_r + product(call, h, to_r.T) + bias_r)
        z = gate(from_z + product(call, h, to_z.T) + bias_z)
        from_h = product(call, h if reset_after else r * h, to_o.T) + bias_o
        candidate = r * from_h if reset_after else from_h
        h = _kept(call, (1 - z) * activate(from_o + candidate) + z * h)
        steps.append(h)
    return _sequence(steps, backwards, call.flag("output_sequence", False)), h


@dataclass(frozen=True, eq=False)
class _Direction:
    """The weights of one direction of an LSTM; gates in the order input, forget, output, cell."""

    weight_ih: Array
    weight_hh: Array
    bias: Array | None
    peephole: Array | None


@dataclass(frozen=True, eq=False)
class _Cell:
    """What both directions of an LSTM share."""

    call: Call
    gate: Activation
    cell: Activation
    output: Activation
    clip: float | None


def _run_lstm(cell: _Cell, weights: _Direction, x: Array, h: Array, c: Array) -> tuple[list[Array], Array, Array]:
    """All steps of one direction in the order of `x`: the states h, the last h, the last c."""
    call, recurrent = cell.call, weights.weight_hh.T
    inputs = _projected(call, x, weights.weight_ih, weights.bias)
    see_i, see_f, see_o = (0, 0, 0) if weights.peephole is None else np.split(weights.peephole, 3)
    steps = []
    for row in inputs:
        i, f, o, z = np.split(row + product(call, h, recurrent), 4, axis=-1)
        c = cell.gate(f + see_f * c) * c + cell.gate(i + see_i * c) * cell.cell(z)
        if cell.clip is not None:
            c = np.clip(c, -cell.clip, cell.clip)
        c = _kept(call, c)
        h = _kept(call, cell.gate(o + see_o * c) * cell.output(c))
        steps.append(h)
    return steps, h, c


def _direction(call: Call, suffix: str) -> _Direction:
    return _Direction(
        call.array("weight_ih" + suffix),
        call.array("weight_hh" + suffix),
        call.maybe("bias" + suffix),
        call.maybe("peephole" + suffix),
    )


@evaluates("lstm")
def lstm(call: Call) -> tuple[Array, ...]:
    """c = f c + i z, h = o activation(c); both directions side by side when `bidirectional`."""
    cell = _Cell(
        call,
        _activation(call, "recurrent_activation", "sigmoid"),
        _activation(call, "cell_activation", "tanh"),
        _activation(call, "activation", "tanh"),
        call.number("clip") if call.has("clip") else None,
    )
    x, h, c = call.array("x"), call.array("initial_h"), call.array("initial_c")
    whole, forward = call.flag("output_sequence", False), _direction(call, "")
    if call.text("direction", "forward") != "bidirectional":
        backwards = _backwards(call)
        steps, h, c = _run_lstm(cell, forward, x[::-1] if backwards else x, h, c)
        return _sequence(steps, backwards, whole), h, c
    (h_ahead, h_back), (c_ahead, c_back) = np.split(h, 2, axis=-1), np.split(c, 2, axis=-1)
    ahead, h_ahead, c_ahead = _run_lstm(cell, forward, x, h_ahead, c_ahead)
    back, h_back, c_back = _run_lstm(cell, _direction(call, "_back"), x[::-1], h_back, c_back)
    sequences = [_sequence(ahead, False, whole), _sequence(back, True, whole)]
    pairs = (sequences, [h_ahead, h_back], [c_ahead, c_back])
    joined = tuple(np.concatenate(pair, axis=-1) for pair in pairs)
    return joined
