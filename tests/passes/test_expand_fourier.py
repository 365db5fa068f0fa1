"""DFT and STFT as matrices against numpy's FFT in double precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from edgeport.passes.pipeline import canonicalize
from edgeport.quantize.assign import assign
from edgeport.targets.tflite.scheme import tflite_scheme
from edgeport.validate.onnx_runner import OnnxRunner


def transformed(op_type: str, x: np.ndarray, *parameters: Any, **attributes: Any) -> tuple[np.ndarray, set[str]]:
    """The canonical graph's output, and the types of its operators."""
    names = ["" if p is None else f"p{i}" for i, p in enumerate(parameters)]
    constants = [numpy_helper.from_array(np.asarray(p), n) for p, n in zip(parameters, names, strict=True) if n]
    given = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, x.shape)
    node = helper.make_node(op_type, ["x", *names], ["y"], **attributes)
    graph = helper.make_graph([node], "g", [given], [onnx.ValueInfoProto(name="y")], constants)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 24)], ir_version=10)
    model = canonicalize(ir.serde.deserialize_model(onnx.shape_inference.infer_shapes(proto)))
    return OnnxRunner(model).run({"x": x})["y"], {node.op_type for node in model.graph}


def signal(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def complex_of(x: np.ndarray) -> np.ndarray:
    return x[..., 0] + 1j * x[..., 1] if x.shape[-1] == 2 else x[..., 0].astype(complex)


def parts_of(z: np.ndarray) -> np.ndarray:
    return np.stack([z.real, z.imag], -1)


def assert_near(got: np.ndarray, want: np.ndarray) -> None:
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)  # float32 sums of up to 64 terms of size 1


@pytest.mark.parametrize("length", [None, 8, 9, 16])
@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("kind", ["complex", "inverse", "real", "irfft"])
def test_dft(length: int | None, axis: int | None, kind: str) -> None:
    x = signal(12, 12, 1 if kind == "real" else 2)
    at = -2 if axis is None else axis
    attributes = {"inverse": int(kind in ("inverse", "irfft")), "onesided": int(kind in ("real", "irfft"))}
    got, ops = transformed(
        "DFT", x, None if length is None else np.int64(length), None if axis is None else np.int64(axis), **attributes
    )
    z = complex_of(x)
    over = at % 3
    if kind == "irfft":
        want = np.fft.irfft(z, length, axis=over)[..., None]
    elif kind == "real":
        want = parts_of(np.fft.rfft(z.real, length, axis=over))
    else:
        want = parts_of((np.fft.ifft if kind == "inverse" else np.fft.fft)(z, length, axis=over))
    assert_near(got, want)
    assert "MatMul" in ops


@pytest.mark.parametrize(
    ("samples", "length", "step", "parts", "attributes"),
    [
        (400, 64, 16, 1, {}),
        (401, 64, 24, 1, {"onesided": 1}),
        (100, 15, 4, 1, {}),
        (100, 16, 8, 2, {"onesided": 0}),
        (50, 15, 4, 2, {"onesided": 0}),
    ],
    ids=str,
)
@pytest.mark.parametrize("windowed", [False, True])
def test_stft(samples: int, length: int, step: int, parts: int, attributes: dict[str, int], windowed: bool) -> None:
    x, window = signal(2, samples, parts), np.hanning(length).astype(np.float32)
    given = [window] if windowed else [None, np.int64(length)]
    got, ops = transformed("STFT", x, np.int64(step), *given, **attributes)
    frames = complex_of(np.stack([x[:, i : i + length] for i in range(0, samples - length + 1, step)], 1))
    want = np.fft.fft(frames * window if windowed else frames)
    assert_near(got, parts_of(want[..., : length // 2 + 1] if attributes.get("onesided", 1) else want))
    assert ("Conv" in ops) == (np.gcd(step, length) >= 8)


def test_a_signal_of_rank_two_as_pytorch_writes_it() -> None:
    x = np.random.default_rng(4).normal(size=(2, 96)).astype(np.float32)
    got, ops = transformed("STFT", x, np.int64(16), np.hanning(32).astype(np.float32), onesided=1)
    frames = np.stack([x[:, i : i + 32] for i in range(0, 65, 16)], 1) * np.hanning(32)
    assert_near(got, parts_of(np.fft.rfft(frames)))
    assert "STFT" not in ops


def test_a_transform_too_long_for_a_matrix_stays() -> None:
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, (1, 8192, 2))
    graph = helper.make_graph([helper.make_node("DFT", ["x"], ["y"])], "g", [x], [onnx.ValueInfoProto(name="y")])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    model = canonicalize(ir.serde.deserialize_model(onnx.shape_inference.infer_shapes(proto)))
    assert [node.op_type for node in model.graph] == ["DFT"]


@pytest.mark.parametrize("precision", ["int8", "int8-weights"])
@pytest.mark.parametrize("step", [5, 16])
def test_a_transform_is_not_quantized(precision: str, step: int) -> None:
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, (1, 400, 1))
    node = helper.make_node("STFT", ["x", "step", "window"], ["y"], onesided=1)
    parameters = {"step": np.int64(step), "window": np.hanning(64).astype(np.float32)}
    constants = [numpy_helper.from_array(np.asarray(a), n) for n, a in parameters.items()]
    graph = helper.make_graph([node], "g", [x], [onnx.ValueInfoProto(name="y")], constants)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 24)], ir_version=10)
    model = canonicalize(ir.serde.deserialize_model(onnx.shape_inference.infer_shapes(proto)))
    nodes = [n for n in assign(model.graph, tflite_scheme(precision)).nodes.values() if n.op in ("Conv", "MatMul")]
    assert [n.kernel for n in nodes] == ["float32"]
    assert "Fourier" in nodes[0].reason
