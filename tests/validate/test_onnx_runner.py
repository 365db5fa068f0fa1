from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper
from scipy import signal  # type: ignore[import-untyped]

from edgeport.errors import CalibrationError, ModelError
from edgeport.quantize.plan import QParams
from edgeport.sample import Array
from edgeport.validate import onnx_runner
from edgeport.validate.onnx_runner import OnnxRunner, one_line

RNG = np.random.default_rng(11)
IMAGE = RNG.uniform(-6, 6, (1, 4, 8, 8)).astype(np.float32)


def serialized(
    nodes: list[onnx.NodeProto],
    weights: dict[str, Array],
    shape: tuple[int | str, ...] = (1, 4, 8, 8),
    outputs: tuple[str, ...] = ("y",),
) -> bytes:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in outputs],
        [numpy_helper.from_array(v, k) for k, v in weights.items()],
    )
    data: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10
    ).SerializeToString()
    return data


@pytest.fixture
def three_nodes() -> bytes:
    nodes = [
        helper.make_node("Mul", ["x", "two"], ["a"]),
        helper.make_node("Add", ["a", "two"], ["b"]),
        helper.make_node("Relu", ["b"], ["y"]),
    ]
    return serialized(nodes, {"two": np.array(2, np.float32)}, ("N", 3))


SMALL = np.array([[-3, 0.5, np.inf]], np.float32)


def sources(data: bytes, folder: Path) -> list[ir.Model | Path | bytes]:
    path = folder / "model.onnx"
    path.write_bytes(data)
    external = folder / "external.onnx"
    ir.save(ir.load(path), external, external_data="weights.bin", size_threshold_bytes=0)
    assert (folder / "weights.bin").stat().st_size > 0
    return [data, path, external, ir.load(path), ir.load(external)]


def test_every_kind_of_model_gives_the_same(three_nodes: bytes, tmp_path: Path) -> None:
    for model in sources(three_nodes, tmp_path):
        runner = OnnxRunner(model)
        assert [str(s) for s in runner.inputs] == ["x:float32[N,3]"]
        assert runner.outputs == ("y",)
        assert runner.verdict == "measured"
        np.testing.assert_array_equal(runner.run({"x": SMALL})["y"], np.array([[0, 3, np.inf]], np.float32))
        inner = runner.intermediates({"x": SMALL}, ["b", "x", "y", "two", "nothing", "a"])
        assert sorted(inner) == ["a", "b", "x", "y"]  # weights and unknown names are left out
        np.testing.assert_array_equal(inner["a"], 2 * SMALL)
        np.testing.assert_array_equal(inner["b"], 2 * SMALL + 2)
        np.testing.assert_array_equal(inner["x"], SMALL)


def test_models_over_the_protobuf_limit_go_through_a_folder(
    three_nodes: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_runner, "_INLINE_LIMIT", 0)
    (tmp_path / "model.onnx").write_bytes(three_nodes)
    model = ir.load(tmp_path / "model.onnx")
    runner = OnnxRunner(model)
    np.testing.assert_array_equal(runner.run({"x": SMALL})["y"], np.array([[0, 3, np.inf]], np.float32))
    np.testing.assert_array_equal(runner.intermediates({"x": SMALL}, ["a"])["a"], 2 * SMALL)
    weight = model.graph.initializers["two"].const_value
    assert weight is not None
    assert float(weight.numpy()) == 2  # the caller's graph still has its weights in memory
    assert not isinstance(weight, ir.ExternalTensor)


def test_a_graph_may_change_afterwards(three_nodes: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(three_nodes)
    model = ir.load(tmp_path / "model.onnx")
    runner = OnnxRunner(model)
    for value in model.graph.initializers.values():
        value.const_value = ir.tensor(np.array(100, np.float32))
    np.testing.assert_array_equal(runner.intermediates({"x": SMALL}, ["a"])["a"], 2 * SMALL)


def test_not_a_number_is_returned() -> None:
    runner = OnnxRunner(serialized([helper.make_node("Log", ["x"], ["y"])], {}, (1, 3)))
    got = runner.run({"x": np.array([[-1, 0, 1]], np.float32)})["y"]
    np.testing.assert_array_equal(got, [[np.nan, -np.inf, 0]])


def test_values_that_are_no_arrays_are_left_out() -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["short"], to=TensorProto.BFLOAT16),
        helper.make_node("Cast", ["short"], ["long"], to=TensorProto.FLOAT),
        helper.make_node("SequenceConstruct", ["long", "x"], ["list"]),
        helper.make_node("ConcatFromSequence", ["list"], ["y"], axis=1),
    ]
    runner = OnnxRunner(serialized(nodes, {}, (1, 3)))
    x = np.array([[1, 2, 3]], np.float32)
    got = runner.intermediates({"x": x}, ["short", "list", "long", "y"])
    assert sorted(got) == ["long", "y"]
    assert runner.intermediates({"x": x}, ["short"]) == {}
    np.testing.assert_array_equal(got["y"], [[1, 2, 3, 1, 2, 3]])  # small whole numbers are exact in bfloat16


def test_sessions_for_intermediates_are_reused_and_few(three_nodes: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []
    real: Callable[..., Any] = onnx_runner._session

    def counted(*args: Any) -> Any:
        opened.append(args)
        return real(*args)

    monkeypatch.setattr(onnx_runner, "_session", counted)
    runner = OnnxRunner(three_nodes)
    for names in (["a"], ["a", "b"], ["b", "a"], ["a"], ["x"]):
        runner.intermediates({"x": SMALL}, names)
    assert len(opened) == 3  # itself, {a} and {a, b}


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ({}, "lacks input 'x'"),
        ({"x": SMALL, "z": SMALL}, "holds unknown input 'z'"),
        ({"X": SMALL}, "lacks input 'x'"),
        ({"x": SMALL.astype(np.float64)}, "input 'x' is float64 in the sample, the model takes x:float32[N,3]"),
        ({"x": SMALL[0]}, "input 'x' has shape [3] in the sample"),
        ({"x": SMALL[:, :2]}, "input 'x' has shape [1, 2] in the sample"),
    ],
)
def test_samples_that_do_not_fit(three_nodes: bytes, sample: dict[str, Array], message: str) -> None:
    runner = OnnxRunner(three_nodes)
    for call in (runner.run, lambda s: runner.intermediates(s, ["a"]), lambda s: runner.intermediates(s, [])):
        with pytest.raises(CalibrationError) as caught:
            call(sample)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)


def test_values_that_an_operator_refuses(capfd: pytest.CaptureFixture[str]) -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["i"], to=TensorProto.INT64),
        helper.make_node("Gather", ["t", "i"], ["y"], "lookup"),
    ]
    runner = OnnxRunner(serialized(nodes, {"t": np.arange(5, dtype=np.float32)}, (1,)))
    assert runner.run({"x": np.array([4], np.float32)})["y"] == 4
    with pytest.raises(CalibrationError, match=r"lookup.*out of data bounds") as caught:
        runner.run({"x": np.array([5], np.float32)})
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_models_that_do_not_load(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bad = serialized([helper.make_node("Nothing", ["x"], ["y"])], {})
    (tmp_path / "bad.onnx").write_bytes(bad)
    for model in (bad, b"\x00rubbish", tmp_path / "bad.onnx", tmp_path / "missing.onnx"):
        with pytest.raises(ModelError, match="ONNX Runtime cannot load the model") as caught:
            OnnxRunner(model)
        assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_one_line_leaves_source_locations_out() -> None:
    text = (
        "[ONNXRuntimeError] : 1 : FAIL : Load model from /a/b.onnx failed:/onnxruntime_src/onnxruntime/core/g.cc:15 "
        "void onnxruntime::G::F(const std::map<int, A (*)(B)>&, bool) const Output (y) is missing.\n"
    )
    assert one_line(RuntimeError(text)) == "Output (y) is missing."


# --- simulate=True: every Q and DQ is computed where it stands -----------------------------------------------------


class Net:
    """Collects nodes and weights."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, Array] = {}

    def op(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def constant(self, name: str, value: Array) -> str:
        self.weights[name] = value
        return name

    def dequantized(self, name: str, stored: Array, q: QParams) -> str:
        zero = self.constant(f"{name}_zero", q.zero_point.astype(stored.dtype))
        inputs = [self.constant(f"{name}_q", stored), self.constant(f"{name}_scale", q.scale), zero]
        return self.op("DequantizeLinear", inputs, name, **({} if q.axis is None else {"axis": q.axis}))

    def fake_quantized(self, x: str, name: str, q: QParams) -> str:
        parameters = [
            self.constant(f"{name}_scale", q.scale),
            self.constant(f"{name}_zero", q.zero_point.astype(q.dtype)),
        ]
        return self.op(
            "DequantizeLinear", [self.op("QuantizeLinear", [x, *parameters], f"{name}_q"), *parameters], name
        )

    def run(self, output: str, simulate: bool = True) -> Array:
        self.op("Identity", [output], "y")
        return OnnxRunner(serialized(self.nodes, self.weights), simulate=simulate).run({"x": IMAGE})["y"]


def per_tensor(scale: float, zero: int) -> QParams:
    return QParams("int8", np.array(scale, np.float32), np.array(zero, np.int32))


def round_trip(q: QParams, x: Array) -> Array:
    return q.dequantize(q.quantize(x))


IN = per_tensor(0.05, 3)


def convolved(x: Array, weight: Array, bias: Array) -> Array:
    """3x3 convolution with padding 1, in float64."""
    rows = [sum(signal.correlate2d(c, k, mode="same") for c, k in zip(x[0], w, strict=True)) for w in weight]
    return np.stack(rows)[None] + bias[:, None, None]


@pytest.mark.parametrize("activation", ["", "Relu", "Clip"])
def test_simulated_convolution(activation: str) -> None:
    net = Net()
    x = net.fake_quantized("x", "x_dq", IN)
    scales = RNG.uniform(0.01, 0.02, 8).astype(np.float32)
    kernel = QParams("int8", scales, np.zeros(8, np.int32), axis=0)
    bias_q = QParams("int32", (scales * np.float32(0.05)).astype(np.float32), np.zeros(8, np.int32), axis=0)
    stored = RNG.integers(-127, 128, (8, 4, 3, 3)).astype(np.int8)
    stored_bias = RNG.integers(-1000, 1000, 8).astype(np.int32)
    inputs = [x, net.dequantized("w", stored, kernel), net.dequantized("b", stored_bias, bias_q)]
    y = net.op("Conv", inputs, "conv", pads=[1, 1, 1, 1])
    want = convolved(
        round_trip(IN, IMAGE).astype(np.float64), kernel.dequantize(stored), bias_q.dequantize(stored_bias)
    )
    if activation == "Relu":
        y, want = net.op("Relu", [y], "act"), np.maximum(want, 0)
    if activation == "Clip":
        limits = [net.constant("low", np.array(0, np.float32)), net.constant("high", np.array(6, np.float32))]
        y, want = net.op("Clip", [y, *limits], "act"), np.clip(want, 0, 6)
    out = per_tensor(0.03, -128 if activation else 5)
    got = net.run(net.fake_quantized(y, "out", out))
    # Sums in float32 and float64 differ in the last bits: where one lies on a rounding boundary, by one step.
    steps = np.abs(got - round_trip(out, want.astype(np.float32))) / 0.03
    assert steps.max() < 1.001
    assert (steps > 0.5).mean() < 0.01


def test_simulation_leaves_float_weights_in_float() -> None:
    """Without it ONNX Runtime quantizes a float weight that stands between Q/DQ, by its own rule."""
    weight, bias = RNG.standard_normal((8, 4, 3, 3)).astype(np.float32), RNG.standard_normal(8).astype(np.float32)
    out = per_tensor(0.1, 0)

    def run(simulate: bool) -> Array:
        net = Net()
        inputs = [net.fake_quantized("x", "x_dq", IN), net.constant("w", weight), net.constant("b", bias)]
        y = net.op("Conv", inputs, "conv", pads=[1, 1, 1, 1])
        return net.run(net.fake_quantized(y, "out", out), simulate)

    want = round_trip(out, convolved(round_trip(IN, IMAGE).astype(np.float64), weight, bias).astype(np.float32))
    assert (np.abs(run(True) - want) > 0.05).mean() < 0.01  # one step is 0.1; see above
    assert (np.abs(run(False) - want) > 0.05).mean() > 0.1  # why the option is there


def test_simulation_keeps_every_pair_of_a_chain() -> None:
    """Without it ONNX Runtime drops the coarse pair in the middle."""
    chain = [IN, per_tensor(0.5, 0), per_tensor(0.05, 3)]

    def run(simulate: bool) -> Array:
        net = Net()
        y = "x"
        for i, q in enumerate(chain):
            y = net.fake_quantized(y, f"pair_{i}", q)
        return net.run(y, simulate)

    want = IMAGE
    for q in chain:
        want = round_trip(q, want)
    np.testing.assert_array_equal(run(True), want)
    assert np.abs(run(False) - want).max() > 0.1  # why the option is there


@pytest.mark.parametrize("kind", ["Add", "Sigmoid", "Softmax", "Concat", "MaxPool", "Transpose", "GlobalAveragePool"])
def test_simulated_operators(kind: str) -> None:
    net = Net()
    x = net.fake_quantized("x", "x_dq", IN)
    other = per_tensor(0.03, 1)
    a, b = (round_trip(q, IMAGE) for q in (IN, other))
    exp = np.exp(a.astype(np.float64))
    out = {"Sigmoid": per_tensor(1 / 256, -128), "Softmax": per_tensor(1 / 256, -128)}.get(kind, per_tensor(0.07, 3))
    nodes: dict[str, Callable[[], tuple[str, Array]]] = {
        "Add": lambda: (net.op("Add", [x, net.fake_quantized("x", "x2", other)], "z"), a + b),
        "Concat": lambda: (
            net.op("Concat", [x, net.fake_quantized("x", "x2", other)], "z", axis=1),
            np.concatenate([a, b], 1),
        ),
        "Sigmoid": lambda: (net.op("Sigmoid", [x], "z"), 1 / (1 + 1 / exp)),
        "Softmax": lambda: (net.op("Softmax", [x], "z", axis=1), exp / exp.sum(1, keepdims=True)),
        "MaxPool": lambda: (
            net.op("MaxPool", [x], "z", kernel_shape=[2, 2], strides=[2, 2]),
            a.reshape(1, 4, 4, 2, 4, 2).max((3, 5)),
        ),
        "Transpose": lambda: (net.op("Transpose", [x], "z", perm=[0, 2, 3, 1]), a.transpose(0, 2, 3, 1)),
        "GlobalAveragePool": lambda: (net.op("GlobalAveragePool", [x], "z"), a.mean((2, 3), keepdims=True)),
    }
    y, want = nodes[kind]()
    got = net.run(net.fake_quantized(y, "out", out))
    steps = np.abs(got - round_trip(out, want.astype(np.float32))) / out.scale
    assert steps.max() < 1.001  # float32 sums and exponentials may fall on the other side of a rounding boundary
    assert (steps > 0.5).mean() < 0.02


def test_simulated_int16() -> None:
    q = QParams("int16", np.array(0.001, np.float32), np.array(0, np.int32))
    net = Net()
    x = net.fake_quantized("x", "x_dq", q)
    got = net.run(net.fake_quantized(net.op("Mul", [x, x], "z"), "out", q))
    a = round_trip(q, IMAGE)
    np.testing.assert_array_equal(got, round_trip(q, a * a))  # one float32 product: no order of sums to differ in


def test_zeros_before_a_max_pool_are_elements() -> None:
    text = """<ir_version: 8, opset_import: ["": 17]> g (float[1,1,2,2] x) => (float[1,1,2,2] y)
        <int64[8] p = {0, 0, 1, 1, 0, 0, 1, 1}> { z = Pad(x, p) y = MaxPool<kernel_shape=[3, 3]>(z) }"""
    runner = OnnxRunner(onnx.parser.parse_model(text).SerializeToString())
    got = runner.run({"x": np.full((1, 1, 2, 2), -3, np.float32)})["y"]
    assert np.array_equal(got, np.zeros((1, 1, 2, 2)))  # every window holds a padded 0
