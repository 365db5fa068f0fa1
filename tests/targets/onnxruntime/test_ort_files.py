"""Files: their opset, what ONNX Runtime's rewritings must leave right, .ort, metadata, and whose they are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from ort_exports import decibels, encoder, encoder_samples, export, operators, save_model, session

from edgeport import api
from edgeport.errors import UsageError


def test_operators_of_new_opsets_are_written_in_old_ones(tmp_path: Path) -> None:
    source, samples = encoder(tmp_path / "m.onnx"), encoder_samples(1)
    path, entry = export(source, tmp_path / "out", "fp32", data=samples)
    assert entry["facts"]["opset"] == 17
    assert not operators(path).keys() & {"Gelu", "Attention"}
    assert entry["facts"]["kernels"]["Gelu"] == 1  # put together again
    (reference,), (got,) = (session(p).run(None, samples[0]) for p in (source, path))
    assert decibels(reference, got) > 100


def test_sums_in_front_of_norms_stay_apart(tmp_path: Path) -> None:
    path, entry = export(encoder(tmp_path / "m.onnx"), tmp_path / "out", "fp32", validate=False)
    assert entry["facts"]["kernels"]["LayerNormalization"] == 2
    assert operators(path)["Sum"] == 2


def test_zeros_in_front_of_a_pool_are_zeros(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]> g (float[1,2,6,6] x) => (float[1,2,7,7] y) {
        p = Pad(x, pads)
        y = MaxPool<kernel_shape=[2,2]>(p)
    }"""
    source = save_model(tmp_path / "m.onnx", text, {"pads": np.array([0, 0, 1, 1, 0, 0, 1, 1])})
    x = -1 - np.random.default_rng(0).random((1, 2, 6, 6)).astype(np.float32)
    (reference,) = session(source, optimize=False).run(None, {"x": x})
    assert not np.array_equal(session(source).run(None, {"x": x})[0], reference)  # Pad_Fusion
    path, _ = export(source, tmp_path / "out", "fp32", data=[{"x": x}])
    np.testing.assert_array_equal(session(path).run(None, {"x": x})[0], reference)


def test_an_ort_file_computes_what_the_onnx_file_does(cnn: Path, images: Path, tmp_path: Path) -> None:
    plain, _ = export(cnn, tmp_path / "a", calib=str(images))
    path, entry = export(cnn, tmp_path / "b", calib=str(images), scheme="ort")
    assert path.suffix == ".ort"
    assert [Path(f["path"]).suffix for f in entry["files"]].count(".onnx") == 0
    image = np.load(images)["image"][:1]
    np.testing.assert_array_equal(*(session(p).run(None, {"image": image})[0] for p in (plain, path)))
    assert api.validate(path, cnn, data=str(images)).facts["target"] == "onnxruntime"


def test_an_ort_file_is_the_same_bytes_every_time(cnn: Path, images: Path, tmp_path: Path) -> None:
    first, _ = export(cnn, tmp_path / "a", calib=str(images), scheme="ort")
    second, _ = export(cnn, tmp_path / "elsewhere", calib=str(images), scheme="ort")
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("precision", ["fp16", "int8-weights"])
def test_an_ort_file_that_would_not_be_small_is_refused(cnn: Path, tmp_path: Path, precision: str) -> None:
    with pytest.raises(UsageError, match=r"restores while it makes a \.ort file"):
        export(cnn, tmp_path / "out", precision, scheme="ort", validate=False)


def test_a_file_says_whose_it_is(cnn: Path, images: Path, tmp_path: Path) -> None:
    done = api.export(str(cnn), target=["onnxruntime", "tensorrt"], precision="fp32", out=tmp_path / "out")
    for target, path in done.artifacts.items():
        assert api.validate(path, cnn, data=str(images)).facts["target"] == target
    with pytest.raises(UsageError, match=r"onnxruntime, tensorrt.*--target"):
        api.validate(cnn, cnn, data=str(images))
    assert api.validate(cnn, cnn, data=str(images), target="onnxruntime").facts["verdict"] == "measured"


def test_labels_are_in_the_metadata(cnn: Path, tmp_path: Path) -> None:
    names = [f"class {i}" for i in range(10)]
    (tmp_path / "labels.txt").write_text("\n".join(names))
    path, _ = export(cnn, tmp_path / "out", "fp32", labels=tmp_path / "labels.txt", validate=False)
    notes = session(path).get_modelmeta().custom_metadata_map
    assert json.loads(notes["edgeport.labels"]) == names
    assert onnx.load(path).producer_name == "edgeport"
