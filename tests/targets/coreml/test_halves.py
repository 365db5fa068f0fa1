"""What float16 would spoil is computed in float32: in a program of float16, beside ONNX Runtime in float32."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from edgeport import api

pytest.importorskip("coremltools")


def exported(text: str, weights: dict[str, np.ndarray], x: np.ndarray, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Output of the float16 package in the evaluator, and of the source in ONNX Runtime."""
    from edgeport.preparation import prepare
    from edgeport.targets.contract import Artifact
    from edgeport.targets.registry import load_target

    model = onnx.parser.parse_model(text)
    model.graph.initializer.extend(onnx.numpy_helper.from_array(a, n) for n, a in weights.items())
    source = folder / "model.onnx"
    onnx.save(model, source)
    result = api.export(str(source), target="coreml", precision="fp16", validate=False, out=folder / "out")
    artifact = Artifact("coreml", "fp16", Path(result.artifacts["coreml"]), ())
    got = load_target("coreml").runner(artifact, prepare(str(source)).canonical).run({"x": x})["y"]
    return got, ort.InferenceSession(str(source)).run(None, {"x": x})[0]


def test_a_logarithm_of_quiet_spectra(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    text = """<ir_version: 8, opset_import: ["" : 17]> spectrum (float[1,1,512] x) => (float[1,8,32] y) {
        c = Conv<strides=[16], pads=[8,8]>(x, w)
        s = Mul(c, c)
        l = Add(s, eps)
        y0 = Log(l)
        y = Slice(y0, from, to, axis)
    }"""
    weights = {
        "w": rng.normal(size=(8, 1, 16)).astype(np.float32),
        "eps": np.float32(1e-10),
        "from": np.array([0]),
        "to": np.array([32]),
        "axis": np.array([2]),
    }
    x = (rng.normal(size=(1, 1, 512)) * np.geomspace(1e-4, 1, 512)).astype(np.float32)
    got, want = exported(text, weights, x, tmp_path)
    # Squares of the quiet end are 1e-9, float16's least number is 6e-8; only y itself is rounded to float16 at the end.
    np.testing.assert_allclose(got, want, rtol=2**-11, atol=1e-5)


def test_a_guard_against_zero_still_guards(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]> unit (float[2,16] x) => (float[2,16] y) {
        q = Mul(x, x)
        s = ReduceSum<keepdims=1>(q, axes)
        g = Add(s, eps)
        n = Sqrt(g)
        y = Div(x, n)
    }"""
    weights = {"axes": np.array([1]), "eps": np.float32(1e-12)}
    x = np.zeros((2, 16), np.float32)
    x[1] = np.linspace(-1, 1, 16)
    got, want = exported(text, weights, x, tmp_path)
    # The sum of 16 squares and x are rounded to float16 (2**-11 each) before the guard is added.
    np.testing.assert_allclose(got, want, rtol=2**-10, atol=1e-6)


def test_a_bias_of_next_to_nothing_keeps_its_layer_in_float16(tmp_path: Path) -> None:
    """Folded BatchNormalization leaves biases of 1e-9: they become 0, which is right beside results of 1."""
    from edgeport.targets.coreml.evaluator.package import open_package

    rng = np.random.default_rng(0)
    text = """<ir_version: 8, opset_import: ["" : 17]> bias (float[1,4,8,8] x) => (float[1,4,8,8] y) {
        c = Conv<pads=[1,1,1,1]>(x, w, b)
        r = Relu(c)
        y = Add(r, v)
    }"""
    weights = {"w": (4, 4, 3, 3), "b": (4,), "v": (1, 4, 1, 1)}
    arrays = {n: (rng.normal(size=s) * (1 if n == "w" else 1e-9)).astype(np.float32) for n, s in weights.items()}
    x = rng.normal(size=(1, 4, 8, 8)).astype(np.float32)
    got, want = exported(text, arrays, x, tmp_path)
    # Halves, and sums that are added wide: each result is within half a unit of float16 of sums of 36 products.
    np.testing.assert_allclose(got, want, rtol=2**-10, atol=1e-2)
    function = open_package(next(tmp_path.rglob("*.mlpackage"))).interfaces["main"].function
    assert [op.kind for op in function.block.operations].count("cast") == 2, "at the input and the output"
