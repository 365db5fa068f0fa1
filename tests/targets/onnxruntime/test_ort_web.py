"""ONNX Runtime Web beside ONNX Runtime, for the profile of browsers; skipped without node and the npm package."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from ort_exports import export, session

from edgeport.findings import Finding
from edgeport.targets.onnxruntime.web import PACKAGE, WebRunner
from edgeport.validate.second import SecondRun

_FOLDER = Path(os.environ.get("EDGEPORT_NPM", "."))
"""Where `npm install onnxruntime-web` was run."""


def test_a_missing_package_is_a_remark(
    cnn: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _, entry = export(cnn, tmp_path / "out", calib=str(images), profile="web")
    (finding,) = (f for f in entry["findings"] if f["code"] == "not-run-in-browser")
    assert PACKAGE in finding["message"]


def test_other_devices_are_no_browsers(cnn: Path, images: Path, tmp_path: Path) -> None:
    _, entry = export(cnn, tmp_path / "out", calib=str(images), profile="android-arm64")
    assert entry["second"] is None
    assert "not-run-in-browser" not in {f["code"] for f in entry["findings"]}


@pytest.mark.skipif(
    shutil.which("node") is None or not (_FOLDER / "node_modules" / PACKAGE).is_dir(),
    reason=f"needs node, and {PACKAGE} below the folder in EDGEPORT_NPM",
)
def test_the_integers_of_browsers_are_the_same(cnn: Path, images: Path, tmp_path: Path) -> None:
    path, _ = export(cnn, tmp_path / "out", calib=str(images), profile="web")
    samples = [{"image": image[None]} for image in np.load(images)["image"][:2]]
    done = WebRunner(path, _FOLDER.resolve()).run_all(samples)
    assert not isinstance(done, Finding), done
    assert isinstance(done, SecondRun)
    for sample, got in zip(samples, done.outputs, strict=True):
        (want,) = session(path).run(None, sample)
        np.testing.assert_allclose(got["logits"], want, atol=0.05 * np.abs(want).max())  # ties of a few roundings
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    assert isinstance(WebRunner(broken, _FOLDER.resolve()).run_all(samples), Finding)
