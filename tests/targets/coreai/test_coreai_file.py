"""The .aimodel folder itself: its bytes, its names, and a toolchain that dies or declines."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
from coreai_graphs import Graph, normal

from edgeport import api
from edgeport.description import Description, ImageInput
from edgeport.errors import ModelError, UsageError
from edgeport.quantize.plan import Plan
from edgeport.targets.coreai import engine
from edgeport.targets.coreai.program import Builder, Program
from edgeport.targets.coreai.runner import AimodelRunner
from edgeport.targets.coreai.target import COREAI
from edgeport.targets.worker_process import WorkerError


def network() -> Graph:
    """A convolution, an activation and a classifier."""
    g = Graph()
    x = g.op("Conv", g.input("in put:0", normal(1, 3, 8, 8)), g.const(normal(8, 3, 3, 3, seed=1)), out="a/b")
    x = g.op("Flatten", g.op("Relu", x))
    g.op("MatMul", x, g.const(normal(288, 5, seed=2) * 0.05, "weight"), out="out/1")
    return g


def digest(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


def test_the_same_bytes_twice_from_another_process(tmp_path: Path) -> None:
    model = network().model("out/1")
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = COREAI.lower(model, Plan("fp32"), tmp_path / "a", "m")
    engine.WORKER.stop()
    second = COREAI.lower(model, Plan("fp32"), tmp_path / "b", "m")
    assert digest(first.path) == digest(second.path)
    assert set(digest(first.path)) == {"main.hash", "main.mlirb", "metadata.json"}
    written = b"".join(p.read_bytes() for p in first.files)
    assert str(tmp_path).encode() not in written
    assert b"creationDate" not in written


def test_names_and_inner_tensors(tmp_path: Path) -> None:
    g = network()
    model = g.model("out/1")
    artifact = COREAI.lower(model, Plan("fp32"), tmp_path, "m")
    assert artifact.facts["inputs"] == [{"name": "in put:0", "dtype": "float32", "shape": [1, 3, 8, 8]}]
    runner = COREAI.runner(artifact, model)
    assert runner.outputs == ("out/1",)
    assert runner.verdict == "measured"
    inner = runner.intermediates(g.inputs, ["a/b", "out/1", "nothing"])
    assert set(inner) == {"a/b", "out/1"}
    np.testing.assert_array_equal(inner["out/1"], runner.run(g.inputs)["out/1"])
    assert inner["a/b"].shape == (1, 8, 6, 6)


@pytest.mark.parametrize("name", ["音/声:0", 'a"b\\', "@%#", "main", "x\ny"])
def test_any_name_will_do(tmp_path: Path, name: str) -> None:
    g = Graph()
    y = g.op("Relu", g.input(f"in{name}", normal(2, 3)), out=name)
    model = g.model(g.op("Exp", y, out=f"out{name}"))
    (tmp_path / "größe").mkdir()
    runner = COREAI.runner(COREAI.lower(model, Plan("fp32"), tmp_path / "größe", "m"), model)
    np.testing.assert_array_equal(runner.intermediates(g.inputs, [name])[name], np.maximum(normal(2, 3), 0))


def test_ends_that_are_one_another(tmp_path: Path) -> None:
    g = Graph()
    x = g.input("x", normal(2, 3))
    outputs = [
        g.op("Identity", x, out="y"),
        g.op("Identity", g.const(normal(2)), out="z"),
        g.op("Identity", x, out="w"),
    ]
    model = g.model(*outputs)
    got = COREAI.runner(COREAI.lower(model, Plan("fp32"), tmp_path, "m"), model).run(g.inputs)
    np.testing.assert_array_equal(got["y"], g.inputs["x"])
    np.testing.assert_array_equal(got["w"], g.inputs["x"])
    np.testing.assert_array_equal(got["z"], normal(2))


def test_labels_are_in_the_metadata(tmp_path: Path) -> None:
    image = ImageInput("RGB", (1.0, 2.0, 3.0), (4.0, 5.0, 6.0), (8, 8))
    plan = Plan("fp32", description=Description({"in put:0": image}, ("cat", "dog", "häuser", "x", "y")))
    artifact = COREAI.lower(network().model("out/1"), plan, tmp_path, "m")
    text = (artifact.path / "metadata.json").read_text(encoding="utf-8")
    assert all(label in json.dumps(json.loads(text), ensure_ascii=False) for label in plan.description.labels)
    assert "edgeport.images" in text
    assert engine.inspect(artifact.path).outputs


def test_samples_that_do_not_fit_are_refused_before_the_runtime_sees_them(tmp_path: Path) -> None:
    g = network()
    model = g.model("out/1")
    runner = COREAI.runner(COREAI.lower(model, Plan("fp32"), tmp_path, "m"), model)
    with pytest.raises(UsageError, match=r"has shape \(3, 8, 8\)"):
        runner.run({"in put:0": np.zeros((3, 8, 8), np.float32)})
    with pytest.raises(UsageError, match="has inputs"):
        runner.run({})


def test_a_death_of_the_toolchain_is_an_error_and_the_next_request_starts_it_anew(tmp_path: Path) -> None:
    g = network()
    model = g.model("out/1")
    artifact = COREAI.lower(model, Plan("fp32"), tmp_path, "m")
    runner = COREAI.runner(artifact, model)
    want = runner.run(g.inputs)["out/1"]
    process = engine.WORKER.process
    assert process is not None
    os.kill(process.pid, signal.SIGSTOP)
    threading.Timer(0.2, os.kill, (process.pid, signal.SIGKILL)).start()  # it dies with the request in hand
    with pytest.raises(ModelError, match=r"does not run m.aimodel: its process ended with SIGKILL"):
        runner.run(g.inputs)
    np.testing.assert_array_equal(runner.run(g.inputs)["out/1"], want)
    process = engine.WORKER.process
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)  # one that is found dead is replaced
    process.wait()
    np.testing.assert_array_equal(runner.run(g.inputs)["out/1"], want)


def test_a_feed_that_does_not_fit_ends_in_an_error_only(tmp_path: Path) -> None:
    g = network()
    artifact = COREAI.lower(g.model("out/1"), Plan("fp32"), tmp_path, "m")
    for wrong in (np.zeros((2, 2), np.float32), np.zeros((1, 3, 8, 8), np.int8), np.zeros((), np.float32)):
        with pytest.raises(WorkerError):
            engine.run(artifact.path, {"in put:0": wrong})
    assert engine.run(artifact.path, g.inputs)["out/1"].shape == (1, 5)


def test_a_program_that_the_toolchain_declines(tmp_path: Path) -> None:
    builder = Builder()
    x = builder.input("x", (2, 3), "float32")
    y = builder.step("relu", [x], (3, 2), "float32")  # it keeps the shape
    program = Program(builder.program.inputs, {}, builder.program.steps, {"y": y.number})
    with pytest.raises(WorkerError, match="relu of tensor<2x3xf32> gives tensor<2x3xf32>, not tensor<3x2xf32>"):
        engine.write(program, tmp_path / "m.aimodel")
    assert not (tmp_path / "m.aimodel").exists()


@pytest.mark.parametrize("harm", ["cut", "zeros", "gone", "file"])
def test_damaged_files_are_refused_in_one_line(tmp_path: Path, harm: str) -> None:
    g = network()
    model = g.model("out/1")
    artifact = COREAI.lower(model, Plan("fp32"), tmp_path, "m")
    path = tmp_path / "harmed.aimodel"
    artifact.path.rename(path)
    body = path / "main.mlirb"
    if harm == "cut":
        body.write_bytes(body.read_bytes()[: body.stat().st_size // 2])
    elif harm == "zeros":
        body.write_bytes(bytes(body.stat().st_size))
    elif harm == "gone":
        body.unlink()
    else:
        for inner in path.iterdir():
            inner.unlink()
        path.rmdir()
        path.write_bytes(b"no folder")
    runner = AimodelRunner(path, model)
    with pytest.raises(ModelError, match=r"is no .aimodel that Core AI's runtime loads") as caught:
        runner.run(g.inputs)
    assert "\n" not in str(caught.value)


def test_every_refusal_comes_at_once() -> None:
    g = Graph()
    x = g.input("x", np.ones((2, 3), np.float32))
    shape = g.input("s", np.asarray([3, 2], np.int64))
    a = g.op("NonZero", x)
    b = g.op("Pad", x, g.input("p", np.zeros(4, np.int64)))
    model = g.model(a, b, g.op("Identity", shape))
    findings = COREAI.check(model, "fp32", None)
    assert {f.op for f in findings} == {"NonZero", "Pad"}
    assert all(f.severity == "error" and f.node for f in findings)


def test_export_leaves_nothing_behind_when_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnx

    source = tmp_path / "m.onnx"
    onnx.save(network().proto("out/1"), source)

    def dies(path: Path) -> engine.Inspected:
        raise WorkerError("its process ended with SIGILL")

    monkeypatch.setattr(engine, "inspect", dies)
    with pytest.raises(ModelError, match="coreai-core does not take the program: its process ended with SIGILL"):
        api.export(str(source), target=["coreai"], precision="fp32", out=tmp_path / "out", cache=False)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.onnx"]
