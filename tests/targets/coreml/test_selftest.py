"""The check for the Mac: its Python file as it is bundled, with the evaluator where Core ML would stand."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
from edge_models import canonical, conv_net
from safetensors.numpy import load_file

from edgeport import api
from edgeport.targets.contract import Artifact
from edgeport.targets.coreml.evaluator.run import Evaluator
from edgeport.targets.coreml.target import COREML


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An export that takes pixels."""
    onnx.save(conv_net(1), tmp_path / "net.onnx")
    table = {"layout": "NCHW", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    pixels = np.random.default_rng(4).integers(0, 256, (8, 3, 8, 8)) / 255
    mean, std = (np.reshape(table[name], (3, 1, 1)) for name in ("mean", "std"))
    np.savez(tmp_path / "data.npz", image=((pixels - mean) / std).astype(np.float32))
    result = api.export(
        tmp_path / "net.onnx",
        target="coreml",
        precision="fp16",
        image_input=True,
        data=tmp_path / "data.npz",
        preprocessing=table,
        out=tmp_path / "out",
    )
    return result.artifacts["coreml"].parent


def script(folder: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("bundled_selftest", folder / "selftest/selftest.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_passes_what_computes_right_and_only_that(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    selftest = script(folder)
    (package,) = folder.glob("*.mlpackage")
    evaluator = Evaluator(package, arithmetic="declared")

    def predict(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        assert inputs["image"].dtype == np.uint8
        return dict(evaluator.run({"image": inputs["image"].astype(np.float32)}).outputs)

    assert selftest.main(folder, predict) == 0
    assert "all outputs pass" in capsys.readouterr().out
    assert selftest.main(folder, lambda inputs: {"scores": predict(inputs)["scores"] * 1.02}) == 1  # 34 dB
    assert "FAIL sample 0, scores" in capsys.readouterr().out
    golden = load_file(folder / "golden/golden.safetensors")
    for index, sample in enumerate(selftest.read_golden(folder / "golden/golden.safetensors")):
        for kind, arrays in sample.items():
            for name, array in arrays.items():
                np.testing.assert_array_equal(array, golden[f"{kind}/{index}/{name}"])


def test_an_image_has_its_channels_where_core_ml_wants_them(folder: Path) -> None:
    selftest = script(folder)
    pixels = np.random.default_rng(0).integers(0, 256, (1, 3, 4, 5), np.uint8)
    made = selftest.as_image(pixels, {"channels_last": False, "colour": "RGB"})
    assert made.size == (5, 4)
    np.testing.assert_array_equal(np.asarray(made), pixels[0].transpose(1, 2, 0))
    made = selftest.as_image(pixels.transpose(0, 2, 3, 1), {"channels_last": True, "colour": "BGR"})
    np.testing.assert_array_equal(np.asarray(made), pixels[0, ::-1].transpose(1, 2, 0))
    made = selftest.as_image(pixels[:, :1], {"channels_last": False, "colour": "GRAY"})
    np.testing.assert_array_equal(np.asarray(made), pixels[0, 0])


@pytest.mark.skipif(sys.platform == "darwin", reason="Core ML runs there")
def test_without_core_ml_or_samples_it_says_so(folder: Path, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, folder / "selftest/selftest.py"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "Core ML runs on macOS only\n")
    done = subprocess.run([sys.executable, folder / "selftest/selftest.py", tmp_path], capture_output=True, text=True)
    assert done.returncode == 2
    assert "no package with golden samples" in done.stdout
    graph = canonical(conv_net(1))
    package = next(folder.glob("*.mlpackage"))
    assert COREML.runner(Artifact("coreml", "fp16", package, ()), graph).outputs == ("scores",)
