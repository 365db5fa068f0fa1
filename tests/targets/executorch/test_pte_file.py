"""The .pte file itself: its bytes, what it is made of, and a runtime that dies or declines."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from executorch_graphs import Graph, assert_same, normal

from edgeport.description import Description
from edgeport.errors import ModelError, UsageError
from edgeport.quantize.plan import Plan
from edgeport.targets.executorch import engine
from edgeport.targets.executorch.runner import PteRunner
from edgeport.targets.executorch.target import EXECUTORCH
from edgeport.targets.worker_process import WorkerError

_EXPORT = """
import sys
from pathlib import Path
import onnx_ir as ir
from edgeport.quantize.plan import Plan
from edgeport.targets.executorch.target import EXECUTORCH
EXECUTORCH.lower(ir.load(sys.argv[1]), Plan("fp32"), Path(sys.argv[2]), "m")
"""


def network() -> Graph:
    """A convolution, a norm that XNNPACK lacks, and a classifier."""
    g = Graph()
    x = g.op("Conv", g.input("in put:0", normal(1, 3, 8, 8)), g.const(normal(8, 3, 3, 3, seed=1)))
    x = g.op("Flatten", g.op("Relu", x))
    x = g.op("LayerNormalization", x, g.const(normal(288, seed=4)), out="normed/1")
    g.op("MatMul", x, g.const(normal(288, 5, seed=2) * 0.05, "weight"), out="out/1")
    return g


def test_the_same_bytes_from_another_process(tmp_path: Path) -> None:
    model = network().model("out/1")
    source, there = tmp_path / "m.onnx", tmp_path / "größe"
    onnx.save(network().proto("out/1"), source)
    there.mkdir()
    first = EXECUTORCH.lower(model, Plan("fp32"), tmp_path, "m").path
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", _EXPORT, str(source), str(there)], check=True, env=environment, cwd=there)
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (first, there / "m.pte")]
    assert digests[0] == digests[1]
    assert str(tmp_path).encode() not in first.read_bytes()


def test_what_xnnpack_leaves_out_is_named(tmp_path: Path) -> None:
    artifact = assert_same(network(), ["out/1"], tmp_path)
    assert artifact.facts["delegates"] == 2
    assert artifact.facts["undelegated"] == {"aten::native_layer_norm.out": 1}
    assert artifact.facts["inputs"] == [{"name": "in put:0", "dtype": "float32", "shape": [1, 3, 8, 8]}]
    (finding,) = artifact.findings
    assert finding.code == "undelegated"
    assert "1 x aten.native_layer_norm (e.g. normed/1)" in finding.message


def test_inputs_that_do_not_fit(tmp_path: Path) -> None:
    g = network()
    model = g.model("out/1")
    runner = EXECUTORCH.runner(EXECUTORCH.lower(model, Plan("fp32"), tmp_path, "m"), model)
    with pytest.raises(UsageError, match="takes"):
        runner.run({"x": normal(1, 3, 8, 8)})
    with pytest.raises(UsageError, match=r"float32\[1, 3, 9, 8\].*takes float32\[1, 3, 8, 8\]"):
        runner.run({"in put:0": normal(1, 3, 9, 8)})
    with pytest.raises(UsageError, match="float64"):
        runner.run({"in put:0": normal(1, 3, 8, 8).astype(np.float64)})


def test_a_damaged_file_and_a_runtime_that_dies(tmp_path: Path) -> None:
    g = network()
    model = g.model("out/1")
    artifact = EXECUTORCH.lower(model, Plan("fp32"), tmp_path, "m")
    bad = tmp_path / "bad.pte"
    bad.write_bytes(artifact.path.read_bytes()[:2000])
    with pytest.raises(ModelError, match="damaged"):
        PteRunner(bad, model).run(g.inputs)
    process = engine.WORKER.process
    assert process is not None
    os.kill(process.pid, signal.SIGSEGV)
    process.wait()
    assert EXECUTORCH.runner(artifact, model).run(g.inputs)["out/1"].shape == (1, 5)


def test_a_runtime_that_dies_of_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(path: Path, feeds: object) -> None:
        raise WorkerError("its process ended with SIGABRT")

    monkeypatch.setattr(engine, "run", dies)
    with pytest.raises(ModelError, match="SIGABRT"):
        EXECUTORCH.lower(network().model("out/1"), Plan("fp32"), tmp_path, "m")
    assert list(tmp_path.iterdir()) == []


def test_kernels_that_the_runtime_lacks_are_refused_with_the_node(tmp_path: Path) -> None:
    g = Graph()
    g.op("MaxPool", g.input("x", normal(1, 2, 4, 4, 4)), kernel_shape=[2, 2, 2], out=["y", "places"])
    with pytest.raises(ModelError, match="no kernel aten::max_pool3d") as raised:
        EXECUTORCH.lower(g.model("y", "places"), Plan("fp32"), tmp_path, "m")
    assert [f.op for f in raised.value.findings] == ["MaxPool"]
    assert list(tmp_path.iterdir()) == []


def test_kernels_that_decline_their_operands_are_refused_with_the_node(tmp_path: Path) -> None:
    g = Graph()
    g.op("Conv", g.input("x", normal(1, 2, 4, 4, 4)), g.const(normal(2, 2, 3, 3, 3)), out="y")
    with pytest.raises(ModelError, match="3-D or 4-D") as raised:
        EXECUTORCH.lower(g.model("y"), Plan("fp32"), tmp_path, "m")
    assert [f.op for f in raised.value.findings] == ["Conv"]


def test_labels_have_no_place_in_the_file(tmp_path: Path) -> None:
    plan = Plan("fp32", description=Description(labels=("a", "b", "c", "d", "e")))
    artifact = EXECUTORCH.lower(network().model("out/1"), plan, tmp_path, "m")
    assert "labels-not-used" in [finding.code for finding in artifact.findings]
