"""Recurrent weights in 8 and 16 bits: the plan, its simulation in ONNX Runtime, and the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_integers import plan_of
from tflite_graphs import Graph, normal, reference

from edgeport.quantize.qdq import write_qdq
from edgeport.targets.tflite.target import TFLITE
from edgeport.validate.onnx_runner import OnnxRunner

HIDDEN, INPUTS = 48, 32
FORMS: list[tuple[str, int, int, dict[str, Any]]] = [
    ("LSTM", 4, 6, {}),
    ("LSTM", 4, 40, {"direction": "bidirectional"}),
    ("GRU", 3, 40, {"linear_before_reset": 1}),
    ("GRU", 3, 6, {"direction": "bidirectional"}),
    ("RNN", 1, 6, {"direction": "reverse"}),
]


def graph(op: str, gates: int, steps: int, attributes: dict[str, Any]) -> Graph:
    directions = 2 if attributes.get("direction") == "bidirectional" else 1
    g = Graph()
    scale = np.float32(HIDDEN**-0.5)  # as frameworks initialize: the states neither die nor explode
    g.op(
        op,
        g.input("x", normal(steps, 1, INPUTS)),
        g.const(normal(directions, gates * HIDDEN, INPUTS, seed=1) * scale, "W"),
        g.const(normal(directions, gates * HIDDEN, HIDDEN, seed=2) * scale, "R"),
        g.const(normal(directions, 2 * gates * HIDDEN, seed=3) * scale, "B"),
        out=["y", "yh"],
        hidden_size=HIDDEN,
        **attributes,
    )
    return g


def ratio(got: np.ndarray, want: np.ndarray) -> float:
    """Signal to noise in decibels."""
    return float(10 * np.log10((want**2).sum() / ((got - want) ** 2).sum()))


@pytest.mark.parametrize("precision", ["fp16", "int8-weights", "int8-dynamic", "int8"])
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_weights_are_stored_as_planned(
    tmp_path: Path, precision: str, form: tuple[str, int, int, dict[str, Any]]
) -> None:
    g = graph(*form)
    model, plan = plan_of(g, ["y", "yh"], precision)
    (node,) = plan.nodes.values()
    kernels = {"fp16": "fp16-weights", "int8": "int8-dynamic"}
    assert node.kernel == kernels.get(precision, precision)
    artifact = TFLITE.lower(model, plan, tmp_path, "m")
    got = TFLITE.runner(artifact, model).run(g.inputs)
    simulated = OnnxRunner(write_qdq(model, plan, TFLITE.scheme(precision, None)), simulate=True).run(g.inputs)
    exact = reference(g.proto("y", "yh"), g.inputs)
    for name in ("y", "yh"):
        if node.kernel == "int8-dynamic":
            # Inputs and states are quantized at run time, which the simulation leaves out: 8 bits a product.
            assert ratio(got[name], exact[name]) > 30
        else:
            # The simulation holds the same weights; both compute in float32.
            np.testing.assert_allclose(got[name], simulated[name], atol=1e-5)
    # One copy of the weights, whatever the number of steps, beside at most a kilobyte a step that is written out.
    weights = sum(v.const_value.size for v in model.graph.initializers.values() if v.const_value is not None)
    steps = form[2] * (2 if form[3].get("direction") == "bidirectional" else 1)
    assert artifact.facts["bytes"] < weights * (2 if precision == "fp16" else 1) + 20_000 + 1_500 * min(steps, 32)


def test_the_plan_says_why_an_integer_export_keeps_states_in_float() -> None:
    _, plan = plan_of(graph(*FORMS[0]), ["y", "yh"])
    (node,) = plan.nodes.values()
    assert "LSTM" in node.reason
    assert "int8" in node.reason
