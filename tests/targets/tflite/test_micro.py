"""tflite-micro as a second runtime: whatever happens in it, an export ends with its report."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgeport import api
from edgeport.findings import Finding
from edgeport.preparation import prepare
from edgeport.targets.tflite import micro
from edgeport.targets.tflite.micro import MicroRunner, micro_runner
from edgeport.targets.tflite.runner import LiteRtRunner
from edgeport.validate.second import SecondRun

installed = pytest.mark.skipif(importlib.util.find_spec("tflite_micro") is None, reason="tflite-micro is not installed")


@pytest.fixture
def runner(cnn: Path, images: Path, tmp_path: Path) -> MicroRunner:
    """Over an int8 file of the small CNN."""
    api.export(cnn, calib=images, out=tmp_path / "out", validate=False)
    path = tmp_path / "out" / "tflite" / "small_cnn.tflite"
    return MicroRunner(path, LiteRtRunner(path, prepare(cnn).canonical))


def sample(images: Path, index: int) -> dict[str, np.ndarray]:
    return {"image": np.load(images)["image"][index : index + 1]}


@installed
def test_drift_and_arena_are_in_the_report(cnn: Path, images: Path, tmp_path: Path) -> None:
    (target,) = api.export(cnn, calib=images, out=tmp_path / "out").report["targets"]
    second = target["second"]
    assert second["runtime"].startswith("tflite-micro ")
    # The first convolution's input and output (int8 [16,16,3] and [8,8,16]) are alive at once, and no more than some kB
    # stand beside them: tensors and operators have records of about a hundred bytes each.
    assert 16 * 16 * 3 + 8 * 8 * 16 < second["facts"]["arena_bytes"] < 40_000
    (there,), (here,) = second["outputs"], second["first"]
    # Fixed-point and float rescaling differ by last steps: well below the rounding to int8 itself.
    assert abs(there["sqnr_db"] - here["sqnr_db"]) < 6
    assert second["apart"][0]["sqnr_db"] > here["sqnr_db"]


@installed
def test_outputs_are_those_of_its_own_interpreter(runner: MicroRunner, images: Path) -> None:
    from tflite_micro.python.tflite_micro import runtime

    taken = [sample(images, i) for i in range(3)]
    run = runner.run_all(taken)
    assert isinstance(run, SecondRun)
    for one, got in zip(taken, run.outputs, strict=True):
        engine = runtime.Interpreter.from_file(str(runner.path), arena_size=2**20)
        engine.set_input(one["image"], 0)
        engine.invoke()
        np.testing.assert_array_equal(got["logits"], engine.get_output(0))


@installed
def test_an_operator_it_lacks_is_a_finding(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 9, opset_import: ["" : 20]> g (float[1,8] x) => (float[1,8] y) { h = MatMul(x, w) y = Gelu(h) }'
    )
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.eye(8, dtype=np.float32), "w"))
    onnx.save(model, tmp_path / "m.onnx")
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).normal(size=(32, 8)).astype(np.float32))
    result = api.export(tmp_path / "m.onnx", calib=tmp_path / "x.npz", allow_suspicious_data=True, out=tmp_path / "out")
    (finding,) = (f for f in result.findings if f.code == "not-on-tflite-micro")
    assert (finding.severity, finding.op) == ("info", "GELU")
    assert result.report["targets"][0]["second"] is None


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "ended with SIGSEGV"),
        ("import sys; sys.exit(\"Didn't find op for builtin opcode 'GELU'\")", "has no operator GELU"),
        ("raise RuntimeError('arena')", "RuntimeError: arena"),
        ("pass", "exit code 0"),
    ],
)
def test_what_ends_its_process_is_a_finding(
    body: str, said: str, runner: MicroRunner, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = tmp_path / "worker.py"
    worker.write_text(body)
    monkeypatch.setattr(micro, "_WORKER", worker)
    found = runner.run_all([sample(images, 0)])
    assert isinstance(found, Finding)
    assert said in found.message


def test_without_tflite_micro_there_is_no_second_runtime(runner: MicroRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert micro_runner(runner.path, runner.first) is None
