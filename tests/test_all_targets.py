"""`--target all`, toolchains that are missing, and exports where torch cannot be imported."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from edgeport import api
from edgeport.cli.main import run
from edgeport.errors import ToolchainError, UsageError

_REAL = importlib.util.find_spec
_WITHOUT_TORCH = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "coremltools", "executorch"):
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Blocked())
from edgeport.cli.main import run
sys.exit(run(sys.argv[1:]))
"""


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what the base install has."""
    have = ("coremltools", "coreai", "ai_edge_litert", "torch", "executorch")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name in have else _REAL(name, *a))


@pytest.mark.usefixtures("bare")
def test_all_leaves_out_what_is_not_installed(cnn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert run(["export", str(cnn), "--target", "all", "--precision", "fp32", "--out", str(out), "--json"]) == 0
    envelope = json.loads(capsys.readouterr().out)
    left_out = {f["message"].split()[0]: f for f in envelope["findings"] if f["code"] == "toolchain-missing"}
    assert left_out["tflite"]["hint"] == "pip install 'edgeport[tflite]'"
    assert left_out.keys() >= {"coreml", "coreai", "tflite"}
    assert (out / "onnxruntime" / "small_cnn.fp32.onnx").is_file()
    assert not (out / "tflite").exists()


@pytest.mark.usefixtures("bare")
def test_a_missing_toolchain_that_was_asked_for_by_name_is_exit_code_5(
    cnn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ["export", str(cnn), "--target", "all,tflite", "--precision", "fp32", "--out", str(out)]
    assert run(command) == 5
    assert "pip install 'edgeport[tflite]'" in capsys.readouterr().err
    assert (out / "onnxruntime" / "small_cnn.fp32.onnx").is_file()


@pytest.mark.usefixtures("bare")
def test_all_without_any_that_can_be_says_what_to_install(cnn: Path, tmp_path: Path) -> None:
    with pytest.raises(ToolchainError, match=r"pip install 'edgeport\[tflite\]'"):
        api.export(str(cnn), target="all", precision="int16x8", calib=[], out=tmp_path / "out")


def test_all_leaves_out_what_does_not_take_the_options(cnn: Path, tmp_path: Path) -> None:
    done = api.export(str(cnn), target="all", precision="fp32", scheme="ort", validate=False, out=tmp_path / "out")
    assert list(done.artifacts) == ["onnxruntime"]
    assert {f.code for f in done.findings} >= {"target-skipped"}
    with pytest.raises(UsageError, match="fp99"):
        api.export(str(cnn), target="all", precision="fp99", validate=False, out=tmp_path / "out")


def test_statistics_for_all_targets(cnn: Path, images: Path, tmp_path: Path) -> None:
    done = api.calibrate(str(cnn), calib=str(images), target="all", out=tmp_path / "s.safetensors", cache=False)
    assert done.facts["samples"] == 48


def test_onnx_goes_to_onnxruntime_without_torch(cnn: Path, images: Path, tmp_path: Path) -> None:
    command = ["export", str(cnn), "--target", "onnxruntime", "--calib", str(images), "--out", str(tmp_path / "out")]
    done = subprocess.run([sys.executable, "-c", _WITHOUT_TORCH, *command, "--quiet"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "out" / "onnxruntime" / "small_cnn.int8.onnx").is_file()


def test_onnx_goes_to_tflite_without_torch(cnn: Path, images: Path, tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    command = ["export", str(cnn), "--target", "tflite", "--calib", str(images), "--out", str(tmp_path / "out")]
    done = subprocess.run([sys.executable, "-c", _WITHOUT_TORCH, *command, "--quiet"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
