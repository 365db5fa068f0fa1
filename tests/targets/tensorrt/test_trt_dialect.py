"""Both ways to write Q/DQ compute the same, and TensorRT 8's has nothing that its parser refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
from onnx_graphs import Graph, normal
from trt_plans import ORIN6, THOR, planned

from edgeport.quantize.plan import Plan, QParams
from edgeport.quantize.qdq import write_qdq
from edgeport.targets.tensorrt.dialect import quantized_graph
from edgeport.validate.onnx_runner import OnnxRunner


def network() -> tuple[Graph, str]:
    """Convolutions that share weights, a residual addition, a transposed convolution and a product."""
    g = Graph()
    x = g.input("x", normal(1, 16, 8, 8))
    w = g.const(normal(16, 16, 3, 3) / 12, "w")
    first = g.op("Relu", g.op("Conv", x, w, g.const(normal(16), "b"), pads=[1] * 4), out="first")
    second = g.op("Conv", first, w, pads=[1] * 4)
    total = g.op("Relu", g.op("Add", second, first))
    wide = g.op("ConvTranspose", total, g.const(normal(16, 24, 2, 2) / 8, "t"), strides=[2, 2])
    rows = g.op("Transpose", g.op("Reshape", wide, g.const(np.array([1, 24, 256]))), perm=[0, 2, 1])
    return g, g.op("MatMul", rows, g.const(normal(24, 20) / 5, "m"), out="y")


def plan_of(model: ir.Model, g: Graph, device: dict) -> Plan:
    return planned(model, [g.inputs], device=device, method="mse")[1]


def constant(value: ir.Value | None) -> np.ndarray | None:
    return None if value is None or value.const_value is None else value.const_value.numpy()


@pytest.fixture(scope="module")
def both() -> tuple[Graph, Plan, ir.Model, ir.Model]:
    g, y = network()
    model = g.model(y)
    # One plan for both, so that they can be compared: TensorRT 8's, with one scale for the transposed convolution.
    plan = plan_of(model, g, ORIN6)
    return g, plan, quantized_graph(model, plan), quantized_graph(model, replace(plan, device=THOR))


def test_both_dialects_compute_the_same(both: tuple[Graph, Plan, ir.Model, ir.Model]) -> None:
    g, _, old, new = both
    results = [OnnxRunner(graph, optimize=False).run(g.inputs)["y"] for graph in (old, new)]
    np.testing.assert_array_equal(*results)
    # And what the float graph computes, within the noise of 8 bits: 30 dB of operands leave 20 and more.
    model = network()[0].model("y")
    want = OnnxRunner(model).run(g.inputs)["y"]
    assert 10 * np.log10(np.square(want).sum() / np.square(results[0] - want).sum()) > 20


def test_tensorrt_8_reads_floats_and_explicit_zeros(both: tuple[Graph, Plan, ir.Model, ir.Model]) -> None:
    _, plan, old, _ = both
    weights = {}
    for node in old.graph:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        assert len(node.inputs) == 3
        scale, zero = (constant(v) for v in node.inputs[1:])
        assert scale is not None
        assert zero is not None
        assert (scale.dtype, zero.dtype, zero.shape) == (np.float32, np.int8, scale.shape)
        assert scale.min() > 0
        assert not zero.any()
        if node.op_type == "DequantizeLinear":
            assert node.inputs[0].producer().op_type == "QuantizeLinear"  # no int8 initializer
        elif (w := constant(node.inputs[0])) is not None:
            assert w.dtype == np.float32
            weights[node.inputs[0].name] = (w, scale, node.attributes.get("axis"))
    assert weights.keys() == {"w", "t", "m"}
    assert {name: None if axis is None else axis.as_int() for name, (_, _, axis) in weights.items()} == {
        "w": 0,
        "t": None,
        "m": 1,
    }
    for name, (w, scale, axis) in weights.items():
        wide = scale if axis is None else np.moveaxis(scale[..., *[None] * (w.ndim - 1)], 0, axis.as_int())
        integers = np.clip(np.rint(w / wide), -128, 127)
        np.testing.assert_array_equal(integers, plan.qparams(name).quantize(w))
        assert integers.min() >= -127


def test_tensorrt_10_reads_int8_weights(both: tuple[Graph, Plan, ir.Model, ir.Model]) -> None:
    g, plan, _, new = both
    source = g.model("y").graph.initializers
    for name in ("w", "t", "m"):
        assert not new.graph.initializers[name].uses()  # nothing reads the float weights
        stored = constant(new.graph.initializers[f"{name}:q"])
        np.testing.assert_array_equal(stored, plan.qparams(name).quantize(constant(source[name])))
    assert sum(node.op_type == "QuantizeLinear" for node in new.graph) == 4  # activations alone


def test_integers_that_a_quantizer_would_not_give_are_written_as_what_they_restore() -> None:
    g = Graph()
    w = np.full((16, 16, 1, 1), 0.5, np.float32)
    w[0, 0] = -1.0
    y = g.op("Conv", g.input("x", normal(1, 16, 4, 4)), g.const(w, "w"), out="y")
    model = g.model(y)
    plan = plan_of(model, g, ORIN6)
    # -1 is -130 steps: the plan's narrow range ends at -127, QuantizeLinear's at -128.
    short = QParams("int8", np.full(16, 1 / 130, np.float32), np.zeros(16, np.int32), 0, narrow=True)
    tensors = {**plan.tensors, "w": replace(plan.tensors["w"], qparams=short)}
    old = quantized_graph(model, replace(plan, tensors=tensors))
    new = quantized_graph(model, replace(plan, tensors=tensors, device=THOR))
    np.testing.assert_array_equal(*(OnnxRunner(m, optimize=False).run(g.inputs)["y"] for m in (old, new)))
    assert constant(old.graph.initializers["w:restored"]).min() == np.float32(-127) * np.float32(1 / 130)


def test_weights_that_float_products_read_too_stay_as_they_are() -> None:
    g = Graph()
    w = g.const(normal(32, 32), "w")
    x = g.input("x", normal(1, 4, 32))
    y, z = g.op("MatMul", x, w, out="y"), g.op("MatMul", g.input("v", normal(1, 32)), w, out="z")  # one row: float
    model = g.model(y, z)
    graph = quantized_graph(model, plan_of(model, g, ORIN6))
    want = g.inputs["v"] @ constant(model.graph.initializers["w"])
    np.testing.assert_allclose(OnnxRunner(graph, optimize=False).run(g.inputs)["z"], want, atol=1e-5)  # sums of 32


def test_nothing_but_the_graph_of_an_unquantized_plan() -> None:
    g, y = network()
    model = g.model(y)
    graph = quantized_graph(model, planned(model, [], "fp32")[1])
    assert [n.op_type for n in graph.graph] == [n.op_type for n in model.graph]
    assert list(graph.graph.initializers) == list(model.graph.initializers)


def test_fp8_weights_are_initializers_of_eight_bits() -> None:
    g = Graph()
    clipped = g.op("Clip", g.input("x", normal(1, 8, 64)), g.const(np.float32(-1)), g.const(np.float32(1)))
    y = g.op("MatMul", clipped, g.const(normal(64, 32), "m"), out="y")
    model = g.model(y)
    plan = planned(model, [g.inputs], "fp8", device=THOR)[1]
    graph = quantized_graph(model, plan)
    assert graph.graph.initializers["m:q"].dtype == ir.DataType.FLOAT8E4M3FN
    # A Clip before Q stops one of ONNX Runtime's rewritings: simulations leave it out.
    exact, simulated = (
        OnnxRunner(graph, **how).run(g.inputs)["y"] for how in ({"optimize": False}, {"simulate": True})
    )
    np.testing.assert_allclose(exact, simulated, atol=1e-4)  # float32 sums of 64 products


def waveform() -> tuple[Graph, str]:
    """Convolutions over one axis that share an input and weights, with every attribute."""
    g = Graph()
    x = g.op("Relu", g.input("x", normal(1, 16, 40)), out="r")
    w = g.const(normal(16, 16, 5) / 9, "w")
    a = g.op("Conv", x, w, g.const(normal(16)), auto_pad="SAME_UPPER", strides=[1], kernel_shape=[5])
    b = g.op("Conv", x, w, pads=[5, 3], dilations=[2])
    both = g.op("Tanh", g.op("Add", a, b))
    wide = g.op("ConvTranspose", both, g.const(normal(16, 24, 4) / 8), strides=[2], output_padding=[1], pads=[1, 2])
    return g, g.op("Sigmoid", wide, out="y")


@pytest.mark.parametrize("device", [ORIN6, THOR], ids=["trt8", "trt10"])
@pytest.mark.parametrize("precision", ["int8", "int8-weights"])
def test_convolutions_over_one_axis_are_written_over_two(device: dict, precision: str) -> None:
    g, y = waveform()
    model = g.model(y)
    assigned, plan = planned(model, [g.inputs], precision, device=device)
    graph = quantized_graph(model, plan)
    want = OnnxRunner(write_qdq(model, plan, assigned.scheme), optimize=False).run(g.inputs)["y"]
    # The same sums, in another order: a plane's convolution is another kernel of ONNX Runtime.
    np.testing.assert_allclose(OnnxRunner(graph, optimize=False).run(g.inputs)["y"], want, atol=1e-6)
    convolutions = [n for n in graph.graph if n.op_type in ("Conv", "ConvTranspose")]
    assert len(convolutions) == 3
    for node in convolutions:
        for value in node.inputs[: 2 if precision == "int8" else 1]:
            assert len(value.shape) == 4
        assert node.inputs[1].producer().op_type == "DequantizeLinear"
        if precision == "int8":
            assert node.inputs[0].producer().op_type == "DequantizeLinear"
    unsqueezed = [n.inputs[0].name for n in graph.graph if n.op_type == "Unsqueeze"]
    assert sorted(unsqueezed) == sorted(set(unsqueezed))  # once for all readers
    assert {v.name for n in model.graph for v in n.outputs} <= {v.name for n in graph.graph for v in n.outputs}
