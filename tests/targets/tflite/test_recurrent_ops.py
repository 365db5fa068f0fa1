"""LSTM, GRU and RNN in LiteRT against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tflite_graphs import Graph, assert_same, lower, normal

from edgeport.targets.tflite.target import TFLITE

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
STEPS, BATCH, INPUTS, HIDDEN = 5, 2, 6, 8


def recurrent(
    op: str,
    optional: str = "B h c",
    *,
    lengths: list[int] | None = None,
    fed: str = "",
    steps: int = STEPS,
    batch: int = BATCH,
    **attributes: Any,
) -> tuple[Graph, list[str]]:
    """One operator with random operands: `optional` names those present, `fed` those given at run time."""
    directions = 2 if attributes.get("direction") == "bidirectional" else 1
    gates, g = GATES[op], Graph()
    arrays = {
        "W": normal(directions, gates * HIDDEN, INPUTS, seed=1) * 0.4,
        "R": normal(directions, gates * HIDDEN, HIDDEN, seed=2) * 0.4,
        "B": normal(directions, 2 * gates * HIDDEN, seed=3) * 0.3,
        "h": normal(directions, batch, HIDDEN, seed=4) * 0.5,
        "c": normal(directions, batch, HIDDEN, seed=5) * 0.5,
        "P": normal(directions, 3 * HIDDEN, seed=6) * 0.5,
    }
    present = {"W", "R", *optional.split()}

    def operand(name: str) -> str:
        if name not in present:
            return ""
        return g.input(name, arrays[name]) if name in fed.split() else g.const(arrays[name], name)

    x = g.input("x", normal(steps, batch, INPUTS))
    lens = ""
    if lengths is not None:
        known = np.asarray(lengths, np.int32)
        lens = g.input("lens", known) if "lens" in fed.split() else g.const(known, "lens")
    inputs = [x, operand("W"), operand("R"), operand("B"), lens, operand("h")]
    outputs = ["y", "yh"]
    if op == "LSTM":
        inputs += [operand("c"), operand("P")]
        outputs += ["yc"]
    while not inputs[-1]:
        inputs.pop()
    g.op(op, *inputs, out=outputs, hidden_size=HIDDEN, **attributes)
    return g, outputs


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(
    ("op", "attributes"), [("LSTM", {}), ("GRU", {}), ("GRU", {"linear_before_reset": 1}), ("RNN", {})]
)
@pytest.mark.parametrize("optional", ["", "B", "h", "B h c"])
def test_directions_and_operands(
    tmp_path: Path, direction: str, batch: int, op: str, attributes: dict[str, Any], optional: str
) -> None:
    g, outputs = recurrent(op, optional, batch=batch, direction=direction, **attributes)
    assert_same(g, outputs, tmp_path)


ALPHA_BETA = {"activation_alpha": [0.7, 0.3, 1.2], "activation_beta": [0.4, 0.6]}


@pytest.mark.parametrize(
    ("op", "optional", "attributes"),
    [
        ("LSTM", "B h c P", {}),
        ("LSTM", "P", {}),
        ("LSTM", "B h c P", {"direction": "bidirectional"}),
        ("LSTM", "B h c", {"input_forget": 1}),
        ("LSTM", "B h c", {"clip": 0.3}),
        ("LSTM", "B h c P", {"clip": 0.3}),
        ("GRU", "B h", {"clip": 0.3}),
        ("GRU", "B h", {"clip": 0.3, "linear_before_reset": 1}),
        ("RNN", "B h", {"clip": 0.3}),
        ("LSTM", "B h c", {"activations": ["HardSigmoid", "Relu", "ScaledTanh"], **ALPHA_BETA}),
        ("LSTM", "B h c", {"activations": ["Sigmoid", "LeakyRelu", "Elu"]}),
        ("LSTM", "B h c", {"activations": ["Sigmoid", "Softsign", "Softplus"]}),
        ("GRU", "B h", {"activations": ["HardSigmoid", "Softsign"]}),
        ("GRU", "B h", {"activations": ["HardSigmoid", "ThresholdedRelu"], **ALPHA_BETA}),
        ("RNN", "B h", {"activations": ["Affine"], "activation_alpha": [0.5], "activation_beta": [0.1]}),
        ("RNN", "B h", {"activations": ["Relu", "Tanh"], "direction": "bidirectional"}),
        ("RNN", "B h", {"activations": ["Elu"], "activation_alpha": [0.5]}),
    ],
    ids=str,
)
def test_attributes(tmp_path: Path, op: str, optional: str, attributes: dict[str, Any]) -> None:
    g, outputs = recurrent(op, optional, **attributes)
    assert_same(g, outputs, tmp_path)


@pytest.mark.parametrize("op", list(GATES))
@pytest.mark.parametrize("fed", ["", "lens", "lens W R B h c"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_sequences_of_several_lengths(tmp_path: Path, op: str, fed: str, direction: str) -> None:
    g, outputs = recurrent(op, lengths=[5, 3, 1, 0], batch=4, fed=fed, direction=direction)
    assert_same(g, outputs, tmp_path)


@pytest.mark.parametrize(
    ("op", "attributes"), [("LSTM", {}), ("GRU", {"linear_before_reset": 1}), ("GRU", {}), ("RNN", {})]
)
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(
    ("batch", "lengths", "fed"), [(1, None, ""), (2, None, ""), (2, [203, 90], ""), (2, [41, 203], "lens")]
)
def test_long_sequences_run_in_a_loop(
    tmp_path: Path, op: str, attributes: dict[str, Any], direction: str, batch: int, lengths: list[int] | None, fed: str
) -> None:
    g, outputs = recurrent(op, steps=203, batch=batch, lengths=lengths, fed=fed, direction=direction, **attributes)
    artifact = assert_same(g, outputs, tmp_path)
    assert artifact.facts["ops"]["WHILE"] == (2 if direction == "bidirectional" else 1)
    assert "WHILE" not in artifact.facts["not_on_xnnpack"]


def test_a_run_leaves_no_state_behind(tmp_path: Path) -> None:
    g, outputs = recurrent("LSTM", steps=80)
    artifact, model = lower(g, outputs, tmp_path)
    runner = TFLITE.runner(artifact, model)
    first = runner.run(g.inputs)
    runner.run({name: array * 2 + 1 for name, array in g.inputs.items()})
    for name, array in runner.run(g.inputs).items():
        np.testing.assert_array_equal(array, first[name])


def test_a_long_sequence_costs_no_file_size(tmp_path: Path) -> None:
    short, long = (lower(recurrent("LSTM", steps=steps)[0], ["yh"], tmp_path)[0] for steps in (96, 960))
    assert long.facts["bytes"] < short.facts["bytes"] + 40_000  # 864 more steps written out are over a megabyte
