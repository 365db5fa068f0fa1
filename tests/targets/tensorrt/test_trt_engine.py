"""--build-engine: NVIDIA's builder where it runs without a GPU; older calls on fakes that lack all others."""

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from fake_tensorrt import Cudart, Log, package
from safetensors.numpy import load_file
from small_models import small_cnn

from edgeport import api
from edgeport.errors import CalibrationError, ModelError, ToolchainError, UsageError
from edgeport.targets.registry import load_profile
from edgeport.targets.tensorrt import engine
from edgeport.targets.tensorrt.engine import serialized
from edgeport.targets.tensorrt.engine_runner import EngineRunner
from edgeport.targets.tensorrt.target import TENSORRT
from edgeport.targets.tensorrt.version import Version
from edgeport.validate.onnx_runner import OnnxRunner


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts a TensorRT of some version, and a GPU, on this machine."""

    def equip(version: str, **gpu: Any) -> Log:
        log = Log()
        monkeypatch.setitem(sys.modules, "tensorrt", package(version, log))
        cudart = Cudart(**gpu)
        monkeypatch.setitem(engine.script("infer")["Cuda"].__init__.__globals__, "load_cudart", lambda: cudart)
        return log

    return equip


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_nvidias_builder_takes_these_calls_and_our_files(
    cnn: Path, images: Path, tmp_path: Path, precision: str
) -> None:
    trt = pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed: NVIDIA's builder does not run")
    api.export(cnn, target="tensorrt", precision=precision, calib=images, out=tmp_path / "out", validate=False)
    made = serialized(trt, tmp_path / f"out/tensorrt/small_cnn.{precision}.onnx", "typed", Version(11, 0))
    assert made[:4] == b"vtrt"  # so start the files of this builder
    assert len(made) > 100_000


def test_what_nvidias_parser_and_builder_say_is_the_error(tmp_path: Path) -> None:
    trt = pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed: NVIDIA's parser does not run")
    model = small_cnn()
    model.graph.node[0].op_type = "ConvInteger"
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"TensorRT 11\.0\.0 does not parse m\.onnx: .*ConvInteger"):
        serialized(trt, tmp_path / "m.onnx", "float", Version(11, 0))


FLAGS = {
    ("8.6.1", "fp32"): ["EXPLICIT_BATCH"],
    ("8.6.1", "fp16"): ["EXPLICIT_BATCH", "FP16"],
    ("8.6.1", "int8"): ["EXPLICIT_BATCH", "INT8", "FP16"],
    ("10.3.0", "fp32"): [],
    ("10.3.0", "fp16"): ["STRONGLY_TYPED"],
    ("10.3.0", "int8"): ["INT8", "FP16"],
    ("10.16.2", "int4-weights"): ["STRONGLY_TYPED"],
    ("11.4.1", "fp32"): [],
    ("11.4.1", "fp16"): [],
    ("11.4.1", "int8"): [],
}


@pytest.mark.parametrize(("version", "precision"), FLAGS)
def test_an_engine_is_built_run_and_judged(
    cnn: Path, images: Path, tmp_path: Path, machine: Any, version: str, precision: str
) -> None:
    log = machine(version)
    out = tmp_path / "out"
    # Without a device there is no opset with int4.
    device = "jetson-orin-jp7" if precision == "int4-weights" else None
    options: dict[str, Any] = {"target": "tensorrt", "precision": precision, "calib": images, "out": out}
    result = api.export(cnn, **options, profile=device, build_engine=True)
    assert log.flags == FLAGS[version, precision]
    assert set(log.calls) == {"v3"}
    path = out / f"tensorrt/small_cnn.{precision}.engine"
    assert result.artifacts["tensorrt"] == path
    (target,) = result.report["targets"]
    kind = {("8.6.1", "fp16"): "fp32", ("10.16.2", "int4-weights"): "int4-weights-fp16"}.get(
        (version, precision), precision
    )
    model = f"small_cnn.{kind}.onnx"
    assert target["verdict"] == "measured"
    assert {k: target["facts"][k] for k in ("engine", "engine_from", "tensorrt")} == {
        "engine": path.name,
        "engine_from": model,
        "tensorrt": version,
    }
    # The engine holds the file, so its outputs are those of ONNX Runtime, bit by bit.
    golden = load_file(out / "tensorrt/golden/golden.safetensors")
    expected = OnnxRunner(out / "tensorrt" / model, optimize=False).run({"image": golden["input/0/image"]})
    np.testing.assert_array_equal(golden["output/0/logits"], expected["logits"])


def test_the_engine_of_a_board_is_for_its_gpu_and_its_tensorrt(machine: Any) -> None:
    profile = load_profile("jetson-orin-jp6")
    machine("10.3.0", capability=(8, 7))
    TENSORRT.check_device(profile)
    machine("10.3.0", capability=(8, 6))
    TENSORRT.check_device(None)
    with pytest.raises(ToolchainError, match=r"compute capability 8\.6, jetson-orin-jp6 has 8\.7; leave it out"):
        TENSORRT.check_device(profile)
    machine("10.13.3")
    with pytest.raises(
        ToolchainError, match=r"TensorRT 10\.13\.3 is installed here, the files are for 8\.6\.2 to 10\.7"
    ):
        TENSORRT.check_device(profile)
    machine("10.3.0", devices=0)
    with pytest.raises(
        ToolchainError, match=r"there is no GPU to build for .*: build\.sh builds the engine on the board"
    ):
        TENSORRT.check_device(profile)


def test_without_tensorrt_it_ends_before_anything_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)  # importing it fails, wherever the tests run
    with pytest.raises(ToolchainError, match="TensorRT for Python is not installed here") as caught:
        api.export(tmp_path / "no.onnx", target="tensorrt", precision="fp32", build_engine=True, out=tmp_path / "out")
    assert caught.value.exit_code == 5
    with pytest.raises(UsageError, match="an export for desktop-rtx builds its engine without a GPU"):
        TENSORRT.check_device(load_profile("desktop-rtx"))
    with pytest.raises(UsageError, match="--build-engine: the tflite target has no engines"):
        api.export(tmp_path / "no.onnx", target="tflite", precision="fp32", build_engine=True, out=tmp_path / "out")


def test_the_flag_is_in_the_configuration_too(cnn: Path, tmp_path: Path) -> None:
    (tmp_path / "edgeport.toml").write_text('target = ["tflite"]\nprecision = "fp32"\nbuild-engine = true\n')
    command = [sys.executable, "-m", "edgeport", "export", str(cnn), "--out", "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert "--build-engine: the tflite target has no engines" in done.stderr


def test_a_runner_answers_in_the_types_of_the_graph_and_says_what_is_wrong(tmp_path: Path, machine: Any) -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
        g (int64[2,2] ids) => (int64[2,2] doubled) { doubled = Add(ids, ids) }"""
    model = onnx.parser.parse_model(text)
    machine("8.6.1")
    data = {"version": "8.6.1", "model": base64.b64encode(model.SerializeToString()).decode()}
    (tmp_path / "m.engine").write_text(json.dumps(data))
    runner = EngineRunner(tmp_path / "m.engine", ir.from_proto(model))
    assert (runner.outputs, runner.verdict, runner.remarks) == (("doubled",), "measured", ())
    found = runner.run({"ids": np.array([[1, -2], [3, 4]])})["doubled"]
    assert found.dtype == np.int64  # the engine's is int32
    assert found.tolist() == [[2, -4], [6, 8]]
    with pytest.raises(CalibrationError, match="shape"):
        runner.run({"ids": np.zeros((3, 2), np.int64)})
    with pytest.raises(ModelError, match=r"m\.engine: ids holds int64 numbers that int32"):
        runner.run({"ids": np.full((2, 2), 2**40)})
    machine("10.3.0")
    with pytest.raises(ModelError, match=r"TensorRT 10\.3\.0 does not load .*m\.engine"):
        EngineRunner(tmp_path / "m.engine", ir.from_proto(model)).run({"ids": np.zeros((2, 2), np.int64)})
