"""On a Mac the runner hands samples to Core ML. Core ML is not here: the evaluator answers in its place."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from coreml_graphs import Graph, normal

from edgeport.quantize.plan import Plan
from edgeport.targets.coreml import mil
from edgeport.targets.coreml.evaluator.run import Evaluator
from edgeport.targets.coreml.target import COREML

pytest.importorskip("coremltools")


class Stand:
    """What `coremltools.models.MLModel` does, as far as the runner asks for it."""

    def __init__(self, path: str, function_name: str | None) -> None:
        self._evaluator = Evaluator(path, function_name)

    def predict(self, feeds: dict[str, Any]) -> dict[str, np.ndarray]:
        return dict(self._evaluator.run(feeds).outputs)


def test_the_runner_asks_core_ml_on_a_mac(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    g = Graph()
    g.op("Tanh", g.input("in:0", normal(2, 3)), out="out")
    model = g.model("out")
    artifact = COREML.lower(model, Plan("fp32"), tmp_path, "m")
    monkeypatch.setattr("sys.platform", "linux")
    assert COREML.runner(artifact, model).verdict == "reference-verified"
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr(mil, "coremltools", lambda: SimpleNamespace(models=SimpleNamespace(MLModel=Stand)))
    runner = COREML.runner(artifact, model)
    assert runner.verdict == "measured"
    np.testing.assert_allclose(runner.run(g.inputs)["out"], np.tanh(g.inputs["in:0"]), rtol=1e-6)
