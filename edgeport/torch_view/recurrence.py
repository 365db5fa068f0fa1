"""What recurrent lowerings share: parts of their operands, activations, and torch's own recurrent functions."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from edgeport.passes.recurrence import Recurrence, is_common, resets_late
from edgeport.passes.recurrent_activations import Activation
from edgeport.torch_view.context import Context

_ORDER = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}
"""Gates of ONNX in torch's order: i, f, c, o out of i, o, f, c; r, z, h out of z, r, h."""
_PLAIN = {"LSTM": ("sigmoid", "tanh", "tanh"), "GRU": ("sigmoid", "tanh")}


def one(ctx: Context, found: Recurrence, index: int, direction: int) -> Tensor | None:
    """A direction's part of an operand, None if it is absent or adds nothing."""
    value = found.operand(index)
    return None if value is None else torch.select(ctx.tensor(value), 0, direction)


def activated(x: Tensor, function: Activation) -> Tensor:
    """A function that recurrent operators name."""
    alpha, beta = function.alpha, function.beta
    match function.name:
        case "sigmoid":
            return torch.sigmoid(x)
        case "tanh":
            return torch.tanh(x)
        case "relu":
            return torch.relu(x)
        case "leakyrelu":
            return functional.leaky_relu(x, alpha)
        case "affine":
            return torch.add(torch.mul(x, alpha), beta)
        case "scaledtanh":
            return torch.mul(torch.tanh(torch.mul(x, beta)), alpha)
        case "hardsigmoid":
            return torch.clamp(torch.add(torch.mul(x, alpha), beta), 0, 1)
        case "elu":
            return functional.elu(x, alpha)
        case "thresholdedrelu":
            return torch.where(torch.gt(x, alpha), x, 0.0)
        case "softsign":
            return torch.div(x, torch.add(torch.abs(x), 1))
        case "softplus":
            return functional.softplus(x)
        case _:
            raise AssertionError(function.name)


def own(ctx: Context, found: Recurrence, states: tuple[int, ...]) -> list[Tensor] | None:
    """torch's recurrent function: Y and the last states, or None where it computes something else.

    Args:
        ctx: the lowering's state.
        found: the layer.
        states: places of the initial states among the inputs.
    """
    kind, names = found.node.op_type, tuple(f.name for f in found.functions[0])
    late = kind != "GRU" or resets_late(found)
    peepholes = kind == "LSTM" and found.operand(7) is not None
    known = names == _PLAIN[kind] if kind in _PLAIN else names in (("tanh",), ("relu",))
    if not (is_common(found) and late and known) or peepholes:
        return None
    reverse, count = found.backwards == (True,), len(found.backwards)
    x = ctx.read(found.node, 0)
    zeros = torch.ops.aten.new_zeros(x, [count, found.batch, found.hidden])
    first = [zeros if (given := found.operand(index)) is None else ctx.tensor(given) for index in states]
    weights = _weights(ctx, found)
    options = (found.operand(3) is not None, 1, 0.0, False, count == 2, False)
    x = torch.flip(x, [0]) if reverse else x
    if kind == "LSTM":
        sequence, *last = _parts(torch.lstm(x, first, weights, *options), 3)
    else:
        form = {"GRU": torch.gru, "tanh": torch.rnn_tanh, "relu": torch.rnn_relu}["GRU" if kind == "GRU" else names[0]]
        sequence, *last = _parts(form(x, first[0], weights, *options), 2)
    sequence = torch.flip(sequence, [0]) if reverse else sequence
    split = torch.reshape(sequence, [found.steps, found.batch, count, found.hidden])
    return [torch.permute(split, [0, 2, 1, 3]), *last]


def _parts(made: tuple[Tensor, ...], count: int) -> list[Tensor]:
    """The results of a function, which the view knows as one."""
    return [made[i] for i in range(count)]


def _weights(ctx: Context, found: Recurrence) -> list[Tensor]:
    """Input and recurrent weights and biases of each direction, gates in torch's order."""
    result = []
    rows = found.gates * found.hidden
    for direction in range(len(found.backwards)):
        given, recurrent, bias = (one(ctx, found, index, direction) for index in (1, 2, 3))
        assert given is not None
        assert recurrent is not None
        parts = [given, recurrent]
        if bias is not None:
            parts += [torch.narrow(bias, 0, start, rows) for start in (0, rows)]
        result += [_ordered(part, found) for part in parts]
    return result


def _ordered(weights: Tensor, found: Recurrence) -> Tensor:
    """Blocks of rows in torch's order."""
    order, hidden = _ORDER[found.node.op_type], found.hidden
    if len(order) == 1:
        return weights
    return torch.cat([torch.narrow(weights, 0, block * hidden, hidden) for block in order], 0)
