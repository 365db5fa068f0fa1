"""Drift of inner tensors: against numpy on arrays that are known, and on a file, with names that mislead."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgeport import api
from edgeport.preparation import prepare
from edgeport.sample import Array, InputSpec, Sample
from edgeport.targets.tflite.runner import LiteRtRunner
from edgeport.validate.layers import SAMPLES, Layer, measure_layers, steepest_losses
from edgeport.validate.runner import Verdict

CHAIN = """<ir_version: 8, opset_import: ["" : 17]> g (float[1,3] x) => (float[1,3] d) {
    a = Relu(x)
    b = Neg(a)
    c = Sin(b)
    d = Exp(c)
}"""


@dataclass(frozen=True)
class Tensors:
    """A runner whose inner tensors are given."""

    values: Mapping[str, Array]
    inputs: tuple[InputSpec, ...] = ()
    outputs: tuple[str, ...] = ()
    verdict: Verdict = "measured"

    def run(self, sample: Sample) -> dict[str, Array]:
        return {}

    def intermediates(self, sample: Sample, names: Sequence[str]) -> dict[str, Array]:
        return {name: self.values[name] for name in names if name in self.values}


def typed(text: str) -> ir.Model:
    return ir.from_proto(onnx.shape_inference.infer_shapes(onnx.parser.parse_model(text)))


def test_figures_and_order() -> None:
    rng = np.random.default_rng(0)
    want = {name: rng.normal(size=(1, 3)).astype(np.float32) for name in "abcd"}
    got = {"d": want["d"] + np.float32(0.5), "a": want["a"], "c": want["c"] + np.float32(0.1)}  # `b` was fused away
    layers = measure_layers([{}] * (SAMPLES + 3), typed(CHAIN), Tensors(want), Tensors(got))
    assert [(layer.tensor, layer.op, layer.identical) for layer in layers] == [
        ("a", "Relu", True),
        ("c", "Sin", False),
        ("d", "Exp", False),
    ]
    figures = []
    for name in "cd":
        a, b = want[name].astype(float), got[name].astype(float)
        figures.append(10 * math.log10((a**2).sum() / ((a - b) ** 2).sum()))
    assert [layer.sqnr_db for layer in layers] == [None, *map(pytest.approx, figures)]
    assert [layer.before_db for layer in layers] == [None, None, pytest.approx(figures[0])]


def test_the_steepest_losses_are_those_that_no_reader_makes_good() -> None:
    def layer(tensor: str, here: float | None, before: float | None) -> Layer:
        return Layer(tensor, tensor, "Op", here is None, here, before)

    graph = typed(CHAIN).graph
    layers = [layer("a", 40.0, None), layer("b", 3.0, 40.0), layer("c", 35.0, 3.0), layer("d", 20.0, 35.0)]
    found = steepest_losses(layers, graph, 3)
    # b falls to 3 dB, but c reads it and has 35: it is flat where b differs.
    assert [one.tensor for one in found] == ["d", "b"]
    assert [one.tensor for one in steepest_losses(layers, graph, 1)] == ["d"]
    assert steepest_losses([layer("a", None, None), layer("b", 39.5, None)], graph, 3) == ()


def test_what_cannot_be_compared_is_left_out_or_not_defined() -> None:
    want = {name: np.ones((1, 3), np.float32) for name in "abcd"}
    got = {"a": np.ones((3, 1), np.float32), "b": np.full((1, 3), np.nan, np.float32), "c": want["c"]}
    layers = measure_layers([{}], typed(CHAIN), Tensors(want), Tensors(got))
    assert [(layer.tensor, layer.identical, layer.sqnr_db) for layer in layers] == [
        ("b", False, None),
        ("c", True, None),
    ]


def test_every_tensor_of_a_file_is_the_canonical_one(tmp_path: Path) -> None:
    """Names with bars, dots, colons and blanks; one that is another's stored form; one read in several layouts."""
    names = {"a": "conv 0:0/out.1", "b": "x|q", "c": "x|0231", "p": "ö|f", "r": "flat;1"}
    text = """<ir_version: 8, opset_import: ["" : 17]> g (float[1,3,8,8] x) => (float[1,5] y) {
        a = Conv<pads=[1,1,1,1]>(x, w) b = Relu(a) c = Neg(b) p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(c)
        r = Reshape(p, shape) y = MatMul(r, m)
    }"""
    model = onnx.parser.parse_model(text)
    rng = np.random.default_rng(1)
    arrays = {"w": rng.normal(size=(4, 3, 3, 3)), "m": rng.normal(size=(64, 5))}
    for name, array in arrays.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(array.astype(np.float32), name))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, 64]), "shape"))
    for node in model.graph.node:
        node.input[:] = [names.get(n, n) for n in node.input]
        node.output[:] = [names.get(n, n) for n in node.output]
    onnx.save(model, tmp_path / "m.onnx")
    x = rng.normal(size=(24, 3, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    for precision, least in (("fp32", 100.0), ("int8", 15.0)):  # float rounding; eight bits through four operators
        words = {"calib": tmp_path / "x.npz", "allow_suspicious_data": True, "out": tmp_path / precision}
        result = api.export(tmp_path / "m.onnx", precision=precision, **words)
        prepared = prepare(tmp_path / "m.onnx")
        runner = LiteRtRunner(result.artifacts["tflite"], prepared.canonical)
        layers = measure_layers([{"x": x[:1]}], prepared.canonical, prepared.runner, runner)
        assert len(layers) >= 2
        assert all(layer.identical or (layer.sqnr_db or 0) > least for layer in layers), layers
    reported = result.report["targets"][0]["layers"]
    assert {layer["tensor"] for layer in reported} == {layer.tensor for layer in layers}


def test_validate_prints_them(cnn: Path, images: Path, tmp_path: Path) -> None:
    artifact = api.export(cnn, calib=images, out=tmp_path / "out").artifacts["tflite"]
    facts = api.validate(artifact, cnn, data=images, layers=True).facts
    assert [layer["tensor"] for layer in facts["layers"]][-1] == "logits"
    assert all(layer["sqnr_db"] > 15 for layer in facts["layers"])  # eight bits leave 30 to 40 dB a tensor
    assert "layers" not in api.validate(artifact, cnn, data=images).facts
