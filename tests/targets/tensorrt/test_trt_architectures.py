"""What whole networks showed: each test is the smallest part of one that went wrong."""

from __future__ import annotations

import numpy as np
import onnx.parser
import onnx_ir as ir
import pytest
from onnx_graphs import Graph, normal
from trt_plans import ORIN6, THOR, planned

from edgeport.planning import kept_in_float, nothing_gained
from edgeport.quantize.qdq import write_qdq
from edgeport.targets.opset.lower import lower_opset
from edgeport.targets.tensorrt import oracle
from edgeport.targets.tensorrt.board import board_of
from edgeport.targets.tensorrt.dialect import quantized_graph
from edgeport.targets.tensorrt.forms import in_own_forms
from edgeport.targets.tensorrt.models import models_of
from edgeport.validate.onnx_runner import OnnxRunner


def conv(g: Graph, x: str, into: int, out: int, seed: int, k: int = 3) -> str:
    w = normal(out, into, k, k, seed=seed) / np.float32(k * np.sqrt(into))
    return g.op("Conv", x, g.const(w), g.const(normal(out, seed=seed + 1)), pads=[k // 2] * 4)


def test_fp8_behind_relu_is_simulated_as_written() -> None:
    """A ResNet in fp8: ONNX Runtime's ReluQuantRewrite dropped the Relu, for -9.5 dB instead of 28.6."""
    g = Graph()
    y = g.op("Relu", conv(g, g.input("x", normal(1, 32, 8, 8)), 32, 32, 1))
    y = conv(g, y, 32, 32, 3)
    model = g.model(y)
    assigned, plan = planned(model, [g.inputs], "fp8", device=THOR)
    graph = write_qdq(model, plan, assigned.scheme)
    simulated = OnnxRunner(graph, simulate=True).run(g.inputs)[y]
    written = OnnxRunner(graph, optimize=False).run(g.inputs)[y]
    # The same operators in float32; sums in another order differ, and one on the boundary of an 8-bit step may go the
    # other way: one step of 1/16 in one of 2048 elements is -57 dB.
    assert np.square(simulated - written).mean() < 1e-5 * np.square(written).mean()


def test_the_reason_for_nothing_quantized_is_that_of_the_layers_with_weights() -> None:
    """A multi-input network: three additions of feature vectors outvoted the one convolution."""
    g = Graph()
    y = conv(g, g.input("x", normal(1, 3, 8, 8)), 3, 16, 1)
    for _ in range(3):
        y = g.op("Add", y, y)
    assigned, plan = planned(g.model(y), [g.inputs], "fp8", device=THOR)
    (found,) = nothing_gained(assigned.scheme, plan)
    assert "no fast fp8 kernel for 3 to 16 channels" in found.message


def test_the_twin_with_halves_takes_weights_whose_scales_are_too_fine_for_halves() -> None:
    """Pixels from 0 to 255 whose normalization is in the first convolution: its twin could not be loaded."""
    g = Graph()
    x = g.input("x", normal(1, 3, 8, 8) * 60 + 120)
    y = conv(g, g.op("Div", g.op("Sub", x, g.const(np.float32(120))), g.const(np.float32(60))), 3, 16, 1)
    w = g.const(normal(16, 3, 3, 3, seed=7) / np.float32(1000))
    y = g.op("Relu", g.op("Add", y, g.op("Conv", x, w, pads=[1] * 4)))
    model = g.model(conv(g, y, 16, 16, 3))
    _, plan = planned(model, [g.inputs], device=THOR)
    files = models_of(model, plan, board_of(THOR))
    single, half = (OnnxRunner(files[kind], optimize=False).run(g.inputs) for kind in ("int8", "int8-fp16"))
    for name, expected in single.items():
        # Half a step of float16 is 2^-12 of a number; sums of 27 and 144 of them, and one int8 step (1/127 of the
        # largest activation) where that moves one over a boundary, which few do.
        assert np.abs(half[name] - expected).max() < 0.03 * np.abs(expected).max()


def test_layers_that_stay_float_for_outliers_are_counted_and_can_be_insisted_on() -> None:
    """An EfficientNet and a YOLOv5: a fifth of their convolutions stayed float, and only --dry-run said so."""
    g = Graph()
    x = normal(1, 16, 8, 8)
    x[0, 0, 0, 0] = 200
    outliers = conv(g, g.input("x", x), 16, 16, 1)
    model = g.model(conv(g, g.op("Tanh", outliers), 16, 16, 3))
    assigned, plan = planned(model, [g.inputs], method="mse")
    (found,) = kept_in_float(assigned.scheme, plan)
    (name,) = (node.name for node in plan.nodes.values() if node.op == "Conv" and node.kernel == "float32")
    assert found.message.startswith(f"1 of 2 layers with weights compute in float, such as {name}: x keeps ")
    assert found.hint is not None
    assert f'"{name}=int8"' in found.hint
    assigned, plan = planned(model, [g.inputs], method="mse", layers={name: "int8"})
    assert {node.kernel for node in plan.nodes.values() if node.op == "Conv"} == {"int8"}
    assert kept_in_float(assigned.scheme, plan) == ()


def test_a_convolution_over_one_axis_may_read_another() -> None:
    """A temporal convolution network: what the first gave and what the second read had one name."""
    g = Graph()
    x = g.input("x", normal(1, 16, 12))
    for seed in (1, 2):
        x = g.op("Conv", x, g.const(normal(16, 16, 3, seed=seed) / np.float32(7)), pads=[1, 1])
    model = g.model(x)
    assigned, plan = planned(model, [g.inputs], device=THOR)
    want = OnnxRunner(write_qdq(model, plan, assigned.scheme), optimize=False).run(g.inputs)[x]
    found = OnnxRunner(quantized_graph(model, plan), optimize=False).run(g.inputs)[x]
    # Another kernel of ONNX Runtime sums in another order; float32 holds 2^-24 of numbers up to 8.
    np.testing.assert_allclose(found, want, atol=1e-5)


@pytest.mark.parametrize("before", [(), (1, 1)])
def test_scalars_are_made_without_an_empty_shape(before: tuple[int, ...]) -> None:
    """A spectrogram that is divided by its mean: NVIDIA's parser warned of every file."""
    g = Graph()
    x = g.input("x", normal(1, 4, 5))
    mean = g.op("ReduceMean", x, keepdims=1) if before else g.op("ReduceMean", x, keepdims=0)
    scalar = g.op("Reshape", mean, g.const(np.zeros(0, np.int64)))
    model = g.model(g.op("Sub", x, scalar, out="y"))
    file = lower_opset(in_own_forms(model, board_of(THOR)), 21)
    want = g.inputs["x"] - g.inputs["x"].mean(dtype=np.float64)
    # A mean of 20 numbers up to 3, in float32: 2^-24 of a sum up to 60, and of the difference.
    np.testing.assert_allclose(OnnxRunner(file, optimize=False).run(g.inputs)["y"], want, atol=1e-6)
    if oracle.installed():
        assert oracle.parse(ir.to_proto(file).SerializeToString()) == ()


def test_a_loop_that_only_counts_gets_a_condition() -> None:
    """NVIDIA's parser knows no tensor for the condition that a body reads where the loop has none."""
    source = """<ir_version: 8, opset_import: ["": 17]> g (int64 n, float[3] x) => (float[3] y) {
        y = Loop (n, , x) <body = b (int64 i, bool go, float[3] s) => (bool on, float[3] t) {
            on = Identity(go) t = Add(s, s) }>
    }"""
    model = ir.from_proto(onnx.parser.parse_model(source))
    file = lower_opset(in_own_forms(model, board_of(ORIN6)), 17)
    given = {"n": np.int64(3), "x": normal(3)}
    for one in (model, file):  # three doublings are exact
        np.testing.assert_array_equal(OnnxRunner(one, optimize=False).run(given)["y"], 8 * given["x"])
    if oracle.installed():
        assert oracle.rejections(ir.to_proto(file).SerializeToString()) == ()
