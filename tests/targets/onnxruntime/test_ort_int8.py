"""int8 files: what ONNX Runtime fuses of them, and that its kernels compute what the Q/DQ say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from ort_exports import constants, decibels, encoder, encoder_samples, export, operators, save_model, session

_INTEGERS = {"QLinearConv", "QLinearAdd", "QLinearGlobalAveragePool", "QGemm"}


def test_a_cnn_runs_in_integers_from_end_to_end(cnn: Path, images: Path, tmp_path: Path) -> None:
    path, entry = export(cnn, tmp_path / "out", calib=str(images))
    kernels = entry["facts"]["kernels"]
    assert kernels.keys() >= _INTEGERS
    assert not kernels.keys() & {"Conv", "Add", "ReduceMean", "Relu", "Clip", "Gemm"}
    assert [f for f in entry["findings"] if f["code"] == "not-fused"] == []
    assert entry["verdict"] == "measured"
    assert onnx.load(path).opset_import[0].version == 17
    assert {node.domain for node in onnx.load(path).graph.node} == {""}  # any runtime reads it


def test_integer_kernels_compute_what_the_file_says(cnn: Path, images: Path, tmp_path: Path) -> None:
    path, _ = export(cnn, tmp_path / "out", calib=str(images))
    image = np.load(images)["image"][:1]
    (fused,) = session(path).run(None, {"image": image})
    (written,) = session(path, optimize=False).run(None, {"image": image})
    assert decibels(written, fused) > 40  # ties of a few roundings


@pytest.mark.parametrize(
    ("profile", "steps"), [(None, 127), ("web", 127), ("android-arm64", 127), ("x86-64-vnni", 127), ("x86-64-avx2", 64)]
)
def test_the_device_decides_about_the_integers(
    cnn: Path, images: Path, tmp_path: Path, profile: str | None, steps: int
) -> None:
    path, entry = export(cnn, tmp_path / "out", calib=str(images), profile=profile)
    arrays = constants(path)
    quantized = {node.input[2] for node in onnx.load(path).graph.node if node.op_type == "QuantizeLinear"}
    assert {arrays[name].dtype.name for name in quantized} == {"uint8"}
    weights = [a for a in arrays.values() if a.dtype == np.int8 and a.ndim > 1]
    assert max(int(np.abs(a.astype(int)).max()) for a in weights) == steps
    assert entry["facts"]["kernels"]["QLinearConv"] == 3


def test_products_share_their_rows_and_hold_their_biases(tmp_path: Path) -> None:
    source, samples = encoder(tmp_path / "m.onnx"), encoder_samples(24)
    path, entry = export(source, tmp_path / "out", calib=samples)
    kernels = entry["facts"]["kernels"]
    assert kernels["QGemm"] == 4
    assert kernels["QuantizeLinear"] == 3  # of x, for two products, and in front of the other two
    assert "SkipLayerNormalization" not in kernels
    (reference,), (got,) = (session(p).run(None, samples[0]) for p in (source, path))
    assert decibels(reference, got) > 25  # of random weights


def test_a_mask_is_never_quantized(tmp_path: Path) -> None:
    source = encoder(tmp_path / "m.onnx")
    path, _ = export(source, tmp_path / "out", calib=encoder_samples(24))
    scales = [a for n, a in constants(path).items() if n.endswith(":scale")]
    assert max(float(a.max()) for a in scales) < 1.0


def test_a_bias_beyond_int32_stays_float(tmp_path: Path) -> None:
    source, samples = encoder(tmp_path / "m.onnx", large_bias=1e7), encoder_samples(24)
    path, entry = export(source, tmp_path / "out", calib=samples)
    assert entry["facts"]["kernels"]["QGemm"] == 3
    assert entry["facts"]["kernels"]["MatMulIntegerToFloat"] >= 1
    assert [f for f in entry["findings"] if f["code"] == "not-fused"] == []
    (fused,) = session(path).run(None, samples[0])
    (written,) = session(path, optimize=False).run(None, samples[0])
    assert decibels(written, fused) > 40


def test_the_same_bytes_every_time(cnn: Path, images: Path, tmp_path: Path) -> None:
    first, _ = export(cnn, tmp_path / "a", calib=str(images))
    second, _ = export(cnn, tmp_path / "elsewhere" / "b", calib=str(images))
    assert first.read_bytes() == second.read_bytes()


def test_inner_tensors_are_those_of_the_source(cnn: Path, images: Path, tmp_path: Path) -> None:
    _, entry = export(cnn, tmp_path / "out", calib=str(images))
    assert {layer["tensor"] for layer in entry["layers"]} >= {"r", "e", "s"}
    assert operators(cnn)["Conv"] == 3


@pytest.mark.parametrize("layers", [[], ["v=fp32"]])
def test_what_is_float_between_integers_stays_float(layers: list[str], tmp_path: Path) -> None:
    """ONNX Runtime would give constant floats between integers one scale for all channels, which these do not bear."""
    rng = np.random.default_rng(0)
    text = """<ir_version: 8, opset_import: ["" : 17]> g (float[1,3,12,12] x) => (float[1,6,18,18] y) {
        a = Conv <pads=[1,1,1,1]> (x, w0)
        t = ConvTranspose <strides=[2,2]> (a, w1)
        u = MaxPool <kernel_shape=[3,3], pads=[1,1,1,1]> (t)
        v = Conv(u, w2)
        p = MaxPool <kernel_shape=[3,3]> (v)
        y = Conv <pads=[1,1,1,1]> (p, w3)
    }"""
    shapes = {"w0": (4, 3, 3, 3), "w1": (4, 6, 2, 2), "w2": (6, 6, 3, 3), "w3": (6, 6, 3, 3)}
    arrays = {k: (rng.normal(size=s) / np.sqrt(np.prod(s[1:]))).astype(np.float32) for k, s in shapes.items()}
    source = save_model(tmp_path / "m.onnx", text, arrays)
    samples = [{"x": rng.normal(size=(1, 3, 12, 12)).astype(np.float32)} for _ in range(8)]
    path, entry = export(source, tmp_path / "out", calib=samples, layer_precision=layers)
    assert not [f for f in entry["findings"] if f["code"] == "not-fused"]
    kernels = next(r for r in entry["ladder"]["rungs"] if r["name"] == "kernels")["outputs"][0]
    assert kernels["identical"] or kernels["sqnr_db"] > 60
    assert entry["facts"]["kernels"].get("ConvTranspose") == 1


def test_a_product_runs_in_integers_though_a_float_relu_follows(tmp_path: Path) -> None:
    """ONNX Runtime would make one float kernel of the two."""
    rng = np.random.default_rng(0)
    text = """<ir_version: 8, opset_import: ["" : 17]> g (float[4,16] x) => (float[4,8] y) {
        a = Gemm(x, w, b)
        r = Relu(a)
        y = Softmax(r)
    }"""
    arrays = {"w": rng.normal(size=(16, 8)).astype(np.float32) / 4, "b": rng.normal(size=8).astype(np.float32)}
    samples = [{"x": rng.normal(size=(4, 16)).astype(np.float32)} for _ in range(8)]
    _, entry = export(save_model(tmp_path / "m.onnx", text, arrays), tmp_path / "out", calib=samples)
    assert entry["facts"]["kernels"].get("QGemm") == 1
    assert entry["ladder"]["rungs"][-1]["outputs"][0]["sqnr_db"] > 30
