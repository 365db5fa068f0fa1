"""LSTM, GRU and RNN in the torch view, against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from view_graphs import Graph, assert_same, normal, targets

from edgeport.errors import ModelError
from edgeport.torch_view.view import torch_view

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_STEPS, _BATCH, _INPUTS, _HIDDEN = 5, 3, 4, 6


def layer(op: str, *, states: bool = True, lengths: Any = None, peepholes: bool = False, **attributes: Any) -> Any:
    """A graph with one layer, and its outputs."""
    g = Graph()
    count = 2 if attributes.get("direction") == "bidirectional" else 1
    rows = _GATES[op] * _HIDDEN
    operands = [
        g.input("x", normal(_STEPS, _BATCH, _INPUTS)),
        g.const(normal(count, rows, _INPUTS, seed=1) * 0.5, "w"),
        g.const(normal(count, rows, _HIDDEN, seed=2) * 0.5, "r"),
        g.const(normal(count, 2 * rows, seed=3) * 0.3, "b"),
        "",
        g.input("h", normal(count, _BATCH, _HIDDEN, seed=4)) if states else "",
    ]
    if lengths is not None:
        array = np.asarray(lengths[1], np.int32)
        operands[4] = g.const(array, "lengths") if lengths[0] == "constant" else g.input("lengths", array)
    if op == "LSTM":
        operands.append(g.input("c", normal(count, _BATCH, _HIDDEN, seed=5)) if states else "")
        operands.append(g.const(normal(count, 3 * _HIDDEN, seed=6), "p") if peepholes else "")
    outputs = ["y", "last", "memory"] if op == "LSTM" else ["y", "last"]
    g.op(op, *operands, out=outputs, hidden_size=_HIDDEN, **attributes)
    return g, outputs


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("states", [True, False])
@pytest.mark.parametrize(
    ("op", "attributes", "function"),
    [
        ("LSTM", {}, "lstm"),
        ("GRU", {"linear_before_reset": 1}, "gru"),
        ("RNN", {}, "rnn_tanh"),
        ("RNN", {"activations": ["Relu"]}, "rnn_relu"),
    ],
    ids=str,
)
def test_torchs_own(op: str, attributes: dict[str, Any], function: str, direction: str, states: bool) -> None:
    if "activations" in attributes and direction == "bidirectional":
        attributes = attributes | {"activations": attributes["activations"] * 2}
    g, outputs = layer(op, states=states, direction=direction, **attributes)
    assert function in targets(assert_same(g.model(*outputs), g.inputs))


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("kind", ["constant", "computed"])
@pytest.mark.parametrize("op", ["LSTM", "GRU", "RNN"])
def test_sequences_of_own_lengths(op: str, kind: str, direction: str) -> None:
    g, outputs = layer(op, lengths=(kind, [2, 5, 1]), direction=direction)
    assert "lstm" not in targets(assert_same(g.model(*outputs), g.inputs))


@pytest.mark.parametrize(
    ("op", "attributes"),
    [
        ("LSTM", {"input_forget": 1}),
        ("LSTM", {"clip": 0.4}),
        ("LSTM", {"peepholes": True}),
        ("LSTM", {"peepholes": True, "direction": "bidirectional", "clip": 0.7}),
        ("GRU", {}),
        ("GRU", {"clip": 0.3, "linear_before_reset": 1}),
        ("RNN", {"clip": 0.3}),
        ("LSTM", {"activations": ["HardSigmoid", "Softsign", "Relu"]}),
        ("GRU", {"activations": ["Sigmoid", "LeakyRelu"], "activation_alpha": [0.2]}),
        ("RNN", {"activations": ["Affine"], "activation_alpha": [0.5], "activation_beta": [0.2]}),
        ("RNN", {"activations": ["ScaledTanh"], "activation_alpha": [0.8], "activation_beta": [1.2]}),
        ("RNN", {"activations": ["ThresholdedRelu"], "activation_alpha": [0.3]}),
        ("RNN", {"activations": ["Elu"], "activation_alpha": [0.7]}),
        ("RNN", {"activations": ["Softplus"]}),
    ],
    ids=str,
)
def test_written_out(op: str, attributes: dict[str, Any]) -> None:
    g, outputs = layer(op, **attributes)
    assert_same(g.model(*outputs), g.inputs)


def test_gradients_reach_the_weights() -> None:
    """The weights keep their names, though torch's function reads them in another order."""
    g, outputs = layer("LSTM", states=False)
    view = torch_view(g.model(*outputs))
    assert {"w", "r", "b"} <= dict(view.named_parameters()).keys()
    view(torch.from_numpy(g.inputs["x"]))[0].sum().backward()
    for parameter in view.parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() > 0


def test_both_forms_agree_on_gradients() -> None:
    """The derivative of the loop written out is that of torch's own function, to float32's rounding."""
    found = []
    for lengths in (None, ("computed", [_STEPS] * _BATCH)):
        g, outputs = layer("LSTM", states=False, lengths=lengths)
        view = torch_view(g.model(*outputs))
        view(*(torch.from_numpy(a) for a in g.inputs.values()))[0].square().sum().backward()
        found.append({name: parameter.grad for name, parameter in view.named_parameters()})
    for name, gradient in found[0].items():
        torch.testing.assert_close(gradient, found[1][name], rtol=1e-4, atol=1e-4)


def test_weights_that_do_not_fit_are_refused() -> None:
    g = Graph()
    x = g.input("x", normal(2, 1, 3))
    w, r = g.const(normal(1, 8, 3)), g.const(normal(1, 8, 2))
    g.op("LSTM", x, w, r, out=["y"], hidden_size=2, activations=["Sigmoid", "Tanh"])
    with pytest.raises(ModelError, match="do not agree"):
        torch_view(g.model("y"))
