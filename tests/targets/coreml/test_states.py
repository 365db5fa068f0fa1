"""What a package keeps between runs, against the loop that hands a stateless model its own outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from edge_models import parsed
from safetensors.numpy import load_file

from edgeport import api
from edgeport.errors import ModelError, UsageError
from edgeport.targets.coreml.evaluator.package import open_package
from edgeport.targets.coreml.evaluator.run import Evaluator

STATES = ["past=present", "sum.in=sum.out"]


@pytest.fixture
def cell(tmp_path: Path) -> Path:
    """A leaky recurrence over a matrix, and a running sum."""
    rng = np.random.default_rng(0)
    model = parsed(
        """net (float[1,4] x, float[1,8] past, float[1,4] sum_in) => (float[1,8] y, float[1,8] present, float[1,4] s) {
            a = MatMul(x, w)
            b = MatMul(past, v)
            c = Add(a, b)
            present = Tanh(c)
            y = MatMul(present, u)
            s = Add(sum_in, x)
        }""",
        w=rng.normal(size=(4, 8)).astype(np.float32) / 2,
        v=rng.normal(size=(8, 8)).astype(np.float32) / 3,
        u=rng.normal(size=(8, 8)).astype(np.float32) / 3,
    )
    for old, new in (("sum_in", "sum.in"), ("s", "sum.out")):
        for value in (*model.graph.input, *model.graph.output):
            value.name = new if value.name == old else value.name
        for node in model.graph.node:
            node.input[:] = [new if n == old else n for n in node.input]
            node.output[:] = [new if n == old else n for n in node.output]
    onnx.save(model, tmp_path / "cell.onnx")
    return tmp_path / "cell.onnx"


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_several_steps_are_those_of_the_stateless_loop(precision: str, cell: Path, tmp_path: Path) -> None:
    result = api.export(cell, target="coreml", precision=precision, state=STATES, out=tmp_path / "out")
    package = open_package(result.artifacts["coreml"])
    evaluator = Evaluator(package, arithmetic="declared")
    assert set(evaluator.inputs) == {"x"}
    assert set(evaluator.outputs) == {"y"}
    assert {name: str(kind) for name, kind in evaluator.states.items()} == {
        "past": "fp16[1, 8]",
        "sum_in": "fp16[1, 4]",
    }
    session = ort.InferenceSession(cell)
    rng, state = np.random.default_rng(1), {}
    past, total = np.zeros((1, 8), np.float32), np.zeros((1, 4), np.float32)
    for _ in range(6):
        x = rng.normal(size=(1, 4)).astype(np.float32)
        got = evaluator.run({"x": x}, state=state).outputs["y"]
        want, past, total = session.run(["y", "present", "sum.out"], {"x": x, "past": past, "sum.in": total})
        np.testing.assert_allclose(got, want, atol=5e-3)  # states are float16 in every precision; 8 terms of up to 1
    np.testing.assert_allclose(state["sum_in"], total, atol=0.01)
    np.testing.assert_allclose(state["past"], past, atol=5e-3)
    golden = load_file(tmp_path / "out/coreml/golden/golden.safetensors")
    kinds = {name: str(golden[f"input/0/{name}"].dtype) for name in ("x", "past", "sum.in")}
    assert kinds == {"x": "float32", "past": "float16", "sum.in": "float16"}
    facts = result.report["targets"][0]["facts"]
    assert facts["steps"]["count"] == 8
    assert all(o["sqnr_db"] > 40 for o in facts["steps"]["outputs"])  # float16: about 60
    assert facts["states"]["sum.in"] == {"coreml_name": "sum_in", "output": "sum.out"}


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("past=gone", "no output is called 'gone'"),
        ("gone=present", "no input is called 'gone'"),
        ("past", "is not INPUT=OUTPUT"),
        ("sum.in=present", "a state keeps its shape"),
    ],
)
def test_states_that_make_no_sense(state: str, said: str, cell: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        api.export(cell, target="coreml", precision="fp16", state=[state], out=tmp_path / "out")


def test_states_need_their_system_and_floats(cell: Path, tmp_path: Path) -> None:
    common = {"target": "coreml", "precision": "fp16", "out": tmp_path / "out"}
    with pytest.raises(UsageError, match="--state needs iOS18"):
        api.export(cell, state=STATES, profile="iphone-15-pro-ios17", **common)
    with pytest.raises(UsageError, match="keep nothing between runs"):
        api.export(cell, state=STATES, target="tflite", precision="fp32", out=tmp_path / "out")
    counter = parsed(
        "net (float[2] x, int64[2] n) => (float[2] y, int64[2] m) { y = Relu(x) m = Add(n, one) }", one=np.array([1])
    )
    onnx.save(counter, tmp_path / "counter.onnx")
    with pytest.raises(ModelError, match="Core ML keeps floats"):
        api.export(tmp_path / "counter.onnx", state=["n=m"], **common)
