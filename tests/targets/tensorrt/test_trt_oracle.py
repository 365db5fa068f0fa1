"""NVIDIA's parser and builder as a check: what they say, that they stay in their process, and the engines they make."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_graphs import Graph

from edgeport.errors import ModelError, ToolchainError
from edgeport.passes.pipeline import rewritten
from edgeport.quantize.plan import Plan
from edgeport.targets.contract import facts_of
from edgeport.targets.registry import load_profile
from edgeport.targets.tensorrt import oracle
from edgeport.targets.tensorrt.board import board_of
from edgeport.targets.tensorrt.models import models_of
from edgeport.targets.tensorrt.rtx import build_rtx
from edgeport.targets.tensorrt.target import TENSORRT
from edgeport.targets.worker_process import WorkerProcess

needs_rtx = pytest.mark.skipif(not oracle.installed(), reason="tensorrt-rtx is not installed")
DESKTOP = load_profile("desktop-rtx")


def model(nodes: list[onnx.NodeProto], dims: list[int], constants: dict[str, Any], opset: int = 17) -> onnx.ModelProto:
    ends = [helper.make_tensor_value_info("x", TensorProto.FLOAT, dims), onnx.ValueInfoProto(name="y")]
    given = [
        array if isinstance(array, onnx.TensorProto) else numpy_helper.from_array(np.asarray(array), name)
        for name, array in constants.items()
    ]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], given)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    return onnx.shape_inference.infer_shapes(made)


def convolution(channels: int = 3) -> onnx.ModelProto:
    weight = np.ones((4, channels, 3, 3), np.float32)
    return model([helper.make_node("Conv", ["x", "w"], ["y"], name="first")], [1, 3, 8, 8], {"w": weight})


def fp8_product() -> onnx.ModelProto:
    fp8 = ml_dtypes.float8_e4m3fn
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["v"]),
        helper.make_node("MatMul", ["d", "v"], ["y"]),
    ]
    weight = np.linspace(-1, 1, 64 * 64, dtype=np.float32).reshape(64, 64).astype(fp8)
    return model(nodes, [4, 64], {"s": np.float32(0.02), "z": np.zeros((), fp8), "w": weight}, 21)


@needs_rtx
def test_a_good_file_leaves_it_silent(capfd: pytest.CaptureFixture[str]) -> None:
    assert oracle.parse(convolution().SerializeToString()) == ()
    assert capfd.readouterr() == ("", "")


@needs_rtx
def test_a_rejection_has_the_node_and_nvidias_words_in_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    (found,) = oracle.parse(convolution(5).SerializeToString())
    assert (found.severity, found.code, found.node, found.op) == ("warning", "tensorrt-rejects", "first", "Conv")
    assert found.message.endswith("Kernel weight dimension failed to broadcast to input.")
    assert found.hint == "TensorRT demands of Conv: windows over one to three axes"
    assert "\n" not in found.message
    assert capfd.readouterr() == ("", "")


@needs_rtx
def test_warnings_are_told_once_and_are_no_rejections() -> None:
    nodes = [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
             helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"])]  # fmt: skip
    data = model(nodes, [4], {"s": np.float32(0.1), "z": np.uint8(0)}).SerializeToString()
    (found,) = oracle.parse(data)
    assert found.code == "tensorrt-warns"
    assert "UINT8 zero_point only on DLA" in found.message
    assert oracle.rejections(data) == ()


@needs_rtx
@pytest.mark.parametrize("data", [b"", b"hello", b"\xff" * 100])
def test_what_is_no_model_is_rejected(data: bytes) -> None:
    assert [one.code for one in oracle.rejections(data)] == ["tensorrt-rejects"]


@needs_rtx
def test_constants_beside_the_file_are_read(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(convolution(), path, save_as_external_data=True, location="m.data", size_threshold=0)
    assert oracle.parse(path) == ()
    (tmp_path / "m.data").unlink()
    assert [one.code for one in oracle.rejections(path)] == ["tensorrt-rejects"]


@needs_rtx
def test_a_crash_is_a_finding_and_the_next_request_starts_it_anew() -> None:
    data = convolution().SerializeToString()
    oracle.parse(data)
    process = oracle.WORKER.process
    assert process is not None
    os.kill(process.pid, signal.SIGSTOP)
    threading.Timer(0.2, os.kill, (process.pid, signal.SIGSEGV)).start()
    threading.Timer(0.3, os.kill, (process.pid, signal.SIGCONT)).start()
    (found,) = oracle.parse(data)
    assert found.code == "tensorrt-parser-died"
    assert found.message.endswith("does not survive the file: its process ended with SIGSEGV")
    assert oracle.parse(data) == ()


def test_a_toolchain_that_does_not_load_is_a_remark(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "tensorrt_rtx.py").write_text("raise ImportError('libtensorrt_rtx.so.1: cannot open')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    worker = WorkerProcess("edgeport.targets.tensorrt.oracle_worker")
    monkeypatch.setattr(oracle, "WORKER", worker)
    (found,) = oracle.parse(convolution().SerializeToString())
    worker.stop()
    assert (found.severity, found.code) == ("info", "tensorrt-parser-absent")
    assert found.message.endswith("cannot be loaded: ImportError: libtensorrt_rtx.so.1: cannot open")


@needs_rtx
def test_an_engine_is_the_same_twice_and_a_refusal_says_why() -> None:
    data, gpus = convolution().SerializeToString(), ("SM80", "SM86", "SM89", "SM120")
    assert oracle.build(data, gpus) == oracle.build(data, gpus)
    assert oracle.build(data, gpus) != oracle.build(data, ("SM120",))
    with pytest.raises(oracle.WorkerError, match=r"its parser says at Conv 'first': .*failed to broadcast"):
        oracle.build(convolution(5).SerializeToString(), gpus)


@needs_rtx
def test_gpus_without_the_element_type_are_left_out_of_the_engine(tmp_path: Path) -> None:
    path = tmp_path / "m.fp8.onnx"
    onnx.save(fp8_product(), path)
    board = board_of(facts_of(DESKTOP))
    engine, findings = build_rtx(path, tmp_path / "m.fp8", board)
    assert engine.read_bytes() == oracle.build(path, ("SM89", "SM120"))
    assert [one.message.split(":")[0] for one in findings] == [
        "m.fp8.rtx is not for GPUs of compute capability 8.0",
        "m.fp8.rtx is not for GPUs of compute capability 8.6",
    ]
    assert all("fp8_e4m3" in one.message for one in findings)


@needs_rtx
def test_what_builds_for_no_gpu_is_refused_with_its_reason(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(convolution(5), path)
    with pytest.raises(ModelError, match=r"builds no engine of m.onnx: .*failed to broadcast") as caught:
        build_rtx(path, tmp_path / "m", board_of(facts_of(DESKTOP)))
    assert [one.code for one in caught.value.findings] == ["engine-not-built"] * 4
    assert not list(tmp_path.glob("*.rtx"))


@needs_rtx
def test_desktop_rtx_gets_its_engine_with_the_export(tmp_path: Path) -> None:
    g = Graph()
    x = g.input("x", np.linspace(-1, 1, 3 * 64, dtype=np.float32).reshape(1, 3, 8, 8))
    g.op("Relu", g.op("Conv", x, g.const(np.ones((4, 3, 3, 3), np.float32))), out="y")
    plan = Plan("fp16", device=facts_of(DESKTOP))
    written = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        artifact = TENSORRT.lower(g.model("y"), plan, folder, "m")
        assert artifact.path.name == "m.fp16.onnx"
        assert folder / "m.fp16.rtx" in artifact.files
        written.append((folder / "m.fp16.rtx").read_bytes())
    assert written[0] == written[1] == oracle.build(artifact.path, board_of(facts_of(DESKTOP)).gpus)


def gelu(g: Graph) -> None:
    """Its older form has a constant called half."""
    g.op("Gelu", g.input("x", np.ones((2, 3), np.float32)), out="y")


def lengths(g: Graph) -> None:
    """NVIDIA's parser masks what lies behind the end of a sequence in float32."""
    x = g.input("x", np.ones((5, 2, 3), np.float32))
    weights = [g.const(np.full((1, 16, columns), 0.1, np.float32)) for columns in (3, 4)]
    ends = [g.const(np.zeros((1, 32), np.float32)), g.const(np.int32([5, 3]))]
    g.op("LSTM", x, *weights, *ends, out=["y", "", ""], hidden_size=4)


@needs_rtx
@pytest.mark.parametrize("network", [gelu, lengths])
def test_the_model_with_halves_is_taken(network: Callable[[Graph], None]) -> None:
    g = Graph()
    network(g)
    made = models_of(g.model("y"), Plan("fp16"), board_of({}))["fp16"]
    assert oracle.rejections(ir.to_proto(made).SerializeToString()) == ()


def test_without_its_builder_desktop_rtx_is_refused_with_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oracle, "installed", lambda: False)
    g = Graph()
    g.op("Relu", g.input("x", np.ones(3, np.float32)), out="y")
    with pytest.raises(ToolchainError, match=r"desktop-rtx builds engines .*: pip install tensorrt-rtx=="):
        TENSORRT.check(g.model("y"), "fp16", DESKTOP)


@pytest.mark.parametrize(
    ("dims", "op_type", "constants", "attributes"),
    [
        ([3], "MatMul", {"b": np.arange(24, dtype=np.float32).reshape(2, 3, 4)}, {}),
        ([2, 5, 4, 3], "MatMul", {"b": np.arange(3, dtype=np.float32)}, {}),
        ([4, 9], "TopK", {"b": np.int64([3])}, {"largest": 0}),
        ([4, 9], "TopK", {"b": np.int64([2])}, {"largest": 0, "axis": 0}),
    ],
)
def test_what_parsers_read_otherwise_is_written_so_that_all_read_the_same(
    dims: list[int], op_type: str, constants: dict[str, Any], attributes: dict[str, Any]
) -> None:
    outputs = ["y", "i"] if op_type == "TopK" else ["y"]
    node = helper.make_node(op_type, ["x", "b"], outputs, **attributes)
    before = model([node], dims, constants)
    if len(outputs) > 1:
        before.graph.output.append(onnx.ValueInfoProto(name="i"))
        before = onnx.shape_inference.infer_shapes(before)
    after = ir.to_proto(rewritten(ir.from_proto(before), ["matrix_products", "largest_top_k"]))
    assert [end.name for end in after.graph.output] == outputs
    assert {"MatMul": "Reshape", "TopK": "Neg"}[op_type] in {node.op_type for node in after.graph.node}
    feeds = {"x": np.random.default_rng(0).integers(-3, 3, dims).astype(np.float32)}  # with ties
    for got, want in zip(run(after, feeds), run(before, feeds), strict=True):
        np.testing.assert_array_equal(got, want)  # sums of small integers are exact
    if oracle.installed():
        assert oracle.rejections(after.SerializeToString()) == ()


def run(made: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    results: list[np.ndarray] = onnxruntime.InferenceSession(made.SerializeToString()).run(None, feeds)
    return results
