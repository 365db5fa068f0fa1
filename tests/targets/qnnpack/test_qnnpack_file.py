"""The .ptl file itself: its bytes, versions and names, the two runtimes, and what is refused."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import textwrap
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from qnnpack_engine import torch
from qnnpack_graphs import Graph, Planned, normal, planned, samples

from edgeport import api
from edgeport.description import Description
from edgeport.environment import targets
from edgeport.errors import ModelError, ToolchainError, UsageError
from edgeport.quantize.plan import Plan
from edgeport.targets.contract import Artifact
from edgeport.targets.qnnpack import engine as engines
from edgeport.targets.qnnpack import reference
from edgeport.targets.qnnpack.context import unsigned
from edgeport.targets.qnnpack.target import QNNPACK


def network() -> Graph:
    """A convolution, a residual sum, a normalization and a classifier; names that no identifier can have."""
    g = Graph()
    x = g.op("Conv", g.input("in put:0", normal(1, 3, 8, 8)), g.const(normal(8, 3, 3, 3, seed=1) * 0.2), out="a/b")
    x = g.op("Relu", x, out="a/c")
    x = g.op("Add", x, g.op("Conv", x, g.const(normal(8, 8, 1, 1, seed=3) * 0.2)), out="sum")
    x = g.op("Flatten", g.op("Conv", x, g.const(normal(4, 8, 1, 1, seed=4) * 0.2)))
    x = g.op("LayerNormalization", x, g.const(np.ones(144, np.float32)), out="norm")
    g.op("MatMul", x, g.const(normal(144, 5, seed=2) * 0.05, "weight"), out="out/1")
    return g


@pytest.fixture(scope="module")
def net() -> Planned:
    return planned(network(), "out/1")


def test_the_same_bytes_from_another_process_and_folder(tmp_path: Path, net: Planned) -> None:
    onnx.save(network().proto("out/1"), tmp_path / "m.onnx")
    script = """
        import sys, pathlib, hashlib
        from dataclasses import replace
        from edgeport.preparation import prepare
        from edgeport.quantize.plan import Plan
        from edgeport.targets.qnnpack.target import QNNPACK
        graph = prepare(sys.argv[1]).canonical
        for bytecode in (8, 5):
            plan = replace(Plan("fp32"), device={"bytecode": bytecode})
            pathlib.Path(sys.argv[2]).mkdir(exist_ok=True)
            artifact = QNNPACK.lower(graph, plan, pathlib.Path(sys.argv[2]), "m")
            print(hashlib.sha256(artifact.path.read_bytes()).hexdigest())
    """
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script), str(tmp_path / "m.onnx")]
    ran = subprocess.run(
        [*command, str(tmp_path / "elsewhere")],
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    here = []
    for bytecode in (8, 5):
        plan = replace(Plan("fp32"), device={"bytecode": bytecode})
        here.append(hashlib.sha256(QNNPACK.lower(net.prepared.canonical, plan, tmp_path, "m").path.read_bytes()))
    assert ran.stdout.split() == [digest.hexdigest() for digest in here]
    first = net.lower(tmp_path).path.read_bytes()
    assert net.lower(tmp_path).path.read_bytes() == first


def test_nothing_of_this_machine_is_in_the_file(tmp_path: Path, net: Planned) -> None:
    with zipfile.ZipFile(net.lower(tmp_path).path) as archive:
        names = archive.namelist()
        written = b"".join(archive.read(name) for name in names)
    assert not any(name.endswith("debug_pkl") for name in names)
    assert str(Path(torch.__file__).parent).encode() not in written
    assert str(tmp_path).encode() not in written
    assert b"mangle" not in written


def test_bytecodes_of_older_runtimes_compute_the_same(tmp_path: Path, net: Planned) -> None:
    want, sizes = None, {}
    for bytecode in (8, 7, 6, 5, 4):
        plan = replace(net.plan, device={"bytecode": bytecode})
        artifact = QNNPACK.lower(net.prepared.canonical, plan, tmp_path, f"m{bytecode}")
        assert torch.jit.mobile._get_model_bytecode_version(str(artifact.path)) == bytecode
        assert artifact.facts["bytecode"] == bytecode
        run: Any = QNNPACK.second_runner(artifact, net.prepared.canonical).run_all(net.held)
        (got,) = run.outputs[0].values()
        want = got if want is None else want
        np.testing.assert_array_equal(got, want)
        sizes[bytecode] = artifact.facts["bytes"]
    assert sizes[5] < sizes[8] * 1.1  # a backport writes its constants twice; here both read one record


def test_inner_tensors_by_name(tmp_path: Path, net: Planned) -> None:
    runner = QNNPACK.runner(net.lower(tmp_path), net.prepared.canonical)
    sample = net.held[0]
    found = runner.intermediates(sample, ["a/c", "sum", "nothing"])
    assert set(found) == {"a/c", "sum"}
    want = net.prepared.runner.intermediates(sample, ["a/c", "sum"])
    for name, array in found.items():
        np.testing.assert_allclose(array, want[name], atol=0.03 * np.abs(want[name]).max())  # a few steps of 1/255
    assert runner.intermediates(sample, []) == {}


def test_floats_are_rounded_as_on_phones(tmp_path: Path) -> None:
    """Half steps under an odd zero point: the two machines round every second one to different sides."""
    g = Graph()
    x = g.input("x", normal(1, 4, 8, 8))
    g.op("Conv", x, g.const(np.eye(4, dtype=np.float32).reshape(4, 4, 1, 1)), out="y")
    net = planned(g, "y")
    q = net.plan.qparams("x")
    assert q is not None
    scale, _ = unsigned(q)
    zero = np.asarray(2 * (int(q.zero_point) // 2) + 1, np.int32)
    odd = replace(net.plan.tensors["x"], qparams=replace(q, scale=np.float32(2.0**-6), zero_point=zero))
    plan = replace(net.plan, tensors={**net.plan.tensors, "x": odd})
    sample = {"x": ((np.arange(256) % 100 - 50 + 0.5) / 64).astype(np.float32).reshape(1, 4, 8, 8)}
    artifact = QNNPACK.lower(net.prepared.canonical, plan, tmp_path, "m")
    phone = QNNPACK.runner(artifact, net.prepared.canonical).run(sample)["y"]
    desktop: Any = QNNPACK.second_runner(artifact, net.prepared.canonical).run_all([sample])
    x_q = replace(odd.qparams, dtype="uint8", zero_point=zero + 128)
    by_machine = {m: reference.dequantize(reference.quantize(sample["x"], x_q, machine=m), x_q) for m in MACHINES}
    step = float(net.plan.tensors["y"].qparams.scale)
    np.testing.assert_allclose(phone, by_machine["phone"], atol=step)  # the output's own rounding
    assert np.abs(by_machine["phone"] - by_machine["desktop"]).max() > 0
    moved = by_machine["phone"] != by_machine["desktop"]
    assert ((phone != desktop.outputs[0]["y"]) <= moved).all()
    assert (phone != desktop.outputs[0]["y"]).any()


MACHINES: tuple[Any, ...] = ("phone", "desktop")


def test_a_file_says_what_it_is_about(tmp_path: Path, net: Planned) -> None:
    plan = replace(net.plan, description=Description(labels=("cat", "dog")))
    path = QNNPACK.lower(net.prepared.canonical, plan, tmp_path, "m").path
    extra = {"labels.json": ""}
    torch.jit.load(str(path), _extra_files=extra)
    assert extra["labels.json"] == b'["cat", "dog"]'


def test_the_engine_is_put_back_and_nothing_is_warned_about(tmp_path: Path, net: Planned) -> None:
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = "fbgemm"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            artifact = net.lower(tmp_path)
            QNNPACK.runner(artifact, net.prepared.canonical).run(net.held[0])
            QNNPACK.second_runner(artifact, net.prepared.canonical).run_all(net.held)
        assert torch.backends.quantized.engine == "fbgemm"
    finally:
        torch.backends.quantized.engine = before


def test_a_torch_without_the_engine(tmp_path: Path, net: Planned, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "ENGINE", "qnnpick")
    with pytest.raises(ToolchainError, match="was built without the engine qnnpick"):
        QNNPACK.check(net.prepared.canonical, "int8", None)
    with pytest.raises(ToolchainError):
        net.lower(tmp_path)


def test_a_file_without_integers_is_refused(tmp_path: Path) -> None:
    g = Graph()
    g.op("Softmax", g.input("x", normal(1, 4)), out="y")
    onnx.save(g.proto("y"), tmp_path / "m.onnx")
    with pytest.raises(ModelError, match="nothing in the model runs in integers"):
        api.export(
            str(tmp_path / "m.onnx"),
            target="qnnpack",
            calib=samples(g),
            out=tmp_path / "out",
            cache=False,
            validate=False,
        )
    assert not (tmp_path / "out").exists()


def test_a_damaged_file(tmp_path: Path, net: Planned) -> None:
    artifact = net.lower(tmp_path)
    artifact.path.write_bytes(artifact.path.read_bytes()[:-2000])
    with pytest.raises(ModelError, match="damaged"):
        QNNPACK.runner(artifact, net.prepared.canonical).run(net.held[0])
    finding: Any = QNNPACK.second_runner(artifact, net.prepared.canonical).run_all(net.held)
    assert finding.severity == "error"
    other = Artifact("qnnpack", "int8", tmp_path / "none.ptl", ())
    with pytest.raises(ModelError):
        QNNPACK.runner(other, net.prepared.canonical).run(net.held[0])


def test_samples_that_do_not_fit(tmp_path: Path, net: Planned) -> None:
    runner = QNNPACK.runner(net.lower(tmp_path), net.prepared.canonical)
    with pytest.raises(UsageError, match="has shape"):
        runner.run({"in put:0": np.zeros((1, 3, 9, 8), np.float32)})
    with pytest.raises(UsageError, match="takes"):
        runner.run({"x": np.zeros((1, 3, 8, 8), np.float32)})


def test_every_node_that_cannot_be_lowered_is_found_at_once() -> None:
    g = Graph()
    x = g.input("x", np.ones((2, 3), np.float32))
    g.op("Cast", g.op("Cast", x, to=onnx.TensorProto.BFLOAT16, out="a"), to=onnx.TensorProto.FLOAT, out="y")
    g.op("Cast", g.op("Cast", x, to=onnx.TensorProto.FLOAT8E5M2, out="b"), to=onnx.TensorProto.FLOAT, out="z")
    findings = QNNPACK.check(g.model("y", "z"), "int8", None)
    assert [f.code for f in findings[:1]] == ["legacy"]
    assert {f.code for f in findings[1:]} == {"unsupported-dtype"}
    assert len(findings) == 5


def test_it_is_marked_as_legacy() -> None:
    assert [f.code for f in targets().findings if "qnnpack" in f.message] == ["legacy"]


def test_the_archive_is_one_that_torch_reads_as_a_whole(tmp_path: Path, net: Planned) -> None:
    data = net.lower(tmp_path).path.read_bytes()
    module: Any = torch.jit.load(io.BytesIO(data))
    assert "quantized.conv2d" in module.code
