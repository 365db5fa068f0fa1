"""Precisions that store weights in another way, and products that quantize what they read at run time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ort_exports import constants, decibels, encoder, encoder_samples, export, operators, save_model, session

from edgeport.errors import UsageError


def test_dynamic_products_are_fused(tmp_path: Path) -> None:
    source, samples = encoder(tmp_path / "m.onnx"), encoder_samples(1)
    path, entry = export(source, tmp_path / "out", "int8-dynamic", data=samples)
    kernels = entry["facts"]["kernels"]
    assert kernels["DynamicQuantizeMatMul"] == 2
    assert kernels["MatMulIntegerToFloat"] == 2  # two products that read the same rows
    assert kernels["DynamicQuantizeLinear"] == 1
    (reference,), (got,) = (session(p).run(None, samples[0]) for p in (source, path))
    assert decibels(reference, got) > 30


@pytest.mark.parametrize(("block", "depth"), [(32, 64), (16, 48), (0, 40)])
def test_int4_is_what_its_numbers_say(tmp_path: Path, block: int, depth: int) -> None:
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(depth, 24)).astype(np.float32)
    text = (
        f'<ir_version: 8, opset_import: ["" : 17]> g (float[1,8,{depth}] x) => (float[1,8,24] y) {{ y = MatMul(x, w) }}'
    )
    source = save_model(tmp_path / "m.onnx", text, {"w": weight})
    x = rng.normal(size=(1, 8, depth)).astype(np.float32)
    size = {} if block == 16 else {"block_size": block}
    path, _ = export(source, tmp_path / "out", "int4-weights", data=[{"x": x}], **size)
    assert operators(path)["MatMulNBits"] == 1
    (packed,) = (a for a in constants(path).values() if a.dtype == np.uint8)
    (scales,) = (a for a in constants(path).values() if a.dtype == np.float32)
    nibbles = np.stack([packed & 15, packed >> 4], axis=-1).reshape(24, scales.size // 24, -1)
    restored = ((nibbles.astype(np.float32) - 8) * scales.reshape(24, -1, 1)).reshape(24, -1)[:, :depth].T
    (got,) = session(path).run(None, {"x": x})
    assert decibels(x @ restored, got) > 35  # rows are rounded to int8, a scale a block
    assert decibels(weight, restored) > 15


def test_int4_falls_back_to_int8_where_no_block_divides(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).normal(size=(42, 24)).astype(np.float32)
    text = '<ir_version: 8, opset_import: ["" : 17]> g (float[1,8,42] x) => (float[1,8,24] y) { y = MatMul(x, w) }'
    source = save_model(tmp_path / "m.onnx", text, {"w": weight})
    path, _ = export(source, tmp_path / "out", "int4-weights", validate=False)
    assert "MatMulNBits" not in operators(path)
    assert [a.dtype.name for a in constants(path).values() if a.shape == (42, 24)] == ["int8"]


@pytest.mark.parametrize(("precision", "least", "share"), [("fp16", 60, 0.55), ("int8-weights", 30, 0.35)])
def test_stored_weights_cost_nothing_at_run_time(
    cnn: Path, images: Path, tmp_path: Path, precision: str, least: float, share: float
) -> None:
    path, entry = export(cnn, tmp_path / "out", precision, data=str(images))
    assert not entry["facts"]["kernels"].keys() & {"Cast", "Mul", "DequantizeLinear"}  # restored when it is loaded
    image = np.load(images)["image"][:1]
    (reference,), (got,) = (session(p).run(None, {"image": image}) for p in (cnn, path))
    assert decibels(reference, got) > least
    stored = sum(a.nbytes for a in constants(path).values() if a.ndim > 1 and a.size > 100)
    assert stored < share * sum(a.nbytes for a in constants(cnn).values() if a.ndim > 1)


def test_rows_of_a_table_come_from_int8(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = rng.normal(size=(300, 16)).astype(np.float32) * rng.uniform(0.01, 10, (300, 1)).astype(np.float32)
    text = '<ir_version: 8, opset_import: ["" : 17]> g (int64[1,5] ids) => (float[1,5,16] y) { y = Gather(t, ids) }'
    source = save_model(tmp_path / "m.onnx", text, {"t": table})
    ids = np.array([[0, 299, 7, 7, 100]])
    path, entry = export(source, tmp_path / "out", "int8-weights", data=[{"ids": ids}])
    assert entry["facts"]["kernels"]["Gather"] == 2
    (got,) = session(path).run(None, {"ids": ids})
    step = np.abs(table).max(axis=1, keepdims=True) / 127
    assert (np.abs(got - table[ids]) <= 0.51 * step[ids]).all()


def test_a_missing_precision_is_named(cnn: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="int16x8"):
        export(cnn, tmp_path / "out", "int16x8", validate=False)
