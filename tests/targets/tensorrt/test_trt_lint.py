"""The lint on files of ONNX Runtime's quantizer, and rules on graphs that break them and on graphs that do not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper
from onnxruntime.quantization import QuantFormat, QuantType
from small_models import quantized_by_onnxruntime, small_cnn
from test_trt_lint_oracle import NEW, OLD, ROWS
from trt_qdq_models import CHANNELS, Graph, by_channel, conv, weight

from edgeport.errors import ModelError
from edgeport.targets.contract import facts_of
from edgeport.targets.registry import load_profile
from edgeport.targets.tensorrt.board import Board, board_of
from edgeport.targets.tensorrt.lint import lint
from edgeport.targets.tensorrt.proof import linted
from edgeport.targets.tensorrt.rules.registry import codes

SMALL = np.random.default_rng(3).normal(0, 0.1, (CHANNELS, CHANNELS)).astype(np.float32)


def read(data: bytes | Path) -> ir.Model:
    model = ir.from_proto(onnx.load_from_string(data) if isinstance(data, bytes) else onnx.load(data))
    for index, node in enumerate(model.graph.all_nodes()):
        node.name = node.name or f"n{index}"
    return model


def found(data: bytes | Path, board: Board = NEW) -> dict[str, int]:
    """Code -> places."""
    return dict(Counter(finding.code for finding in lint(read(data), board)))


def quantized(folder: Path, **arguments: Any) -> Path:
    """`small_cnn` as ONNX Runtime quantizes it."""
    path = folder / "quantized.onnx"
    quantized_by_onnxruntime(path, **arguments)
    return path


FOR_TENSORRT = {
    "per_channel": True,
    "activation_type": QuantType.QInt8,
    "weight_type": QuantType.QInt8,
    "op_types_to_quantize": ["Conv"],
    "extra_options": {
        "ActivationSymmetric": True,
        "WeightSymmetric": True,
        "QuantizeBias": False,
        "AddQDQPairToWeight": True,
        "OpTypesToExcludeOutputQuantization": ["Conv"],
    },
}


def test_onnxruntime_with_flags_for_tensorrt_is_clean_on_every_board_with_int8(tmp_path: Path) -> None:
    path = quantized(tmp_path, **FOR_TENSORRT)
    assert "QuantizeLinear" in {node.op_type for node in onnx.load(path).graph.node}
    for name in ("jetson-xavier-jp5", "jetson-orin-jp6", "jetson-orin-jp7", "jetson-thor-jp7"):
        assert found(path, board_of(facts_of(load_profile(name)))) == {}


def test_onnxruntime_with_its_defaults_breaks_what_its_file_says(tmp_path: Path) -> None:
    path = quantized(tmp_path, activation_type=QuantType.QUInt8)
    model = onnx.load(path)
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    kinds = Counter(
        stored[node.input[0]].data_type
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in stored
    )
    activations = sum(node.op_type == "QuantizeLinear" for node in model.graph.node)
    places = found(path, OLD)
    assert places["trt-int32-bias"] == kinds[TensorProto.INT32] > 0
    assert places["trt-int8-initializer"] == kinds[TensorProto.INT8] + kinds[TensorProto.UINT8] > 0
    assert places["trt-uint8"] == activations + kinds[TensorProto.UINT8] > 3
    assert places["trt-both-branches"] == 1
    assert "trt-int8-initializer" not in found(path)


def test_integer_operators_of_onnxruntime(tmp_path: Path) -> None:
    path = quantized(tmp_path, quant_format=QuantFormat.QOperator)
    count = sum(n.op_type.startswith("QLinear") or n.op_type == "QGemm" for n in onnx.load(path).graph.node)
    assert found(path)["trt-integer-operator"] == count > 3


def two_layers(between: Callable[[Graph, str], str], *, second: bool = True) -> bytes:
    """Conv, what is between, and perhaps a Conv behind it."""
    g = Graph()
    g.constant("w", weight())
    weights = g.qdq("w", by_channel(weight()), axis=0)
    y = between(g, g.op("Conv", [g.qdq("x", 0.02), weights], "c", pads=[1, 1, 1, 1]))
    y = g.op("Conv", [y, weights], "d", pads=[1, 1, 1, 1]) if second else y
    return g.model((1, CHANNELS, 8, 8), y)


def residual(first: Callable[[Graph], str], second: Callable[[Graph], str]) -> bytes:
    """Add of two operands made from `a` (a Conv of x), `b` (another) and x; quantized behind it."""
    g = Graph()
    g.constant("w", weight())
    weights, x = g.qdq("w", by_channel(weight()), axis=0), g.qdq("x", 0.02)
    for name in ("a", "b"):
        g.op("Conv", [x, weights], name, pads=[1, 1, 1, 1])
    y = g.op("Relu", [g.op("Add", [first(g), second(g)], "s")], "r")
    g.op("Conv", [g.qdq(y, 0.02), weights], "y", pads=[1, 1, 1, 1])
    g.nodes[:] = [n for n in g.nodes if n.output[0] != "b" or any("b" in m.input for m in g.nodes)]
    return g.model((1, CHANNELS, 8, 8), "y")


def dense(first: dict[str, Any] | None, second: dict[str, Any] | None, rows: int = 8, bias: str = "") -> bytes:
    """MatMul of x and weights, each through Q/DQ with what is given; and another one that is quantized."""
    g = Graph()
    g.constant("w", SMALL)
    x = "x" if first is None else g.qdq("x", **{"scale": 0.02} | first)
    w = "w" if second is None else g.qdq("w", **{"scale": by_channel(SMALL, 1), "axis": 1} | second)
    y = g.op("MatMul", [x, w], "m")
    if bias:
        b = g.constant("b", np.ones(CHANNELS, np.float32))
        y = g.op("Add", [y, g.qdq(b, 0.01) if bias == "b_dq" else b], "mb")
    y = g.op("Sigmoid", [y], "v")
    g.constant("w2", SMALL)
    g.op("MatMul", [g.qdq(y, 0.02), g.qdq("w2", by_channel(SMALL, 1), axis=1)], "y")
    return g.model((rows, CHANNELS), "y")


def twice(scale: float) -> bytes:
    g = Graph()
    g.constant("w", weight())
    weights = g.qdq("w", by_channel(weight()), axis=0)
    one, other = g.op("Identity", [g.qdq("x", 0.02)], "x1"), "x"
    again = [g.constant("s2", np.float32(scale)), g.constant("z2", np.int8(0))]
    other = g.op("DequantizeLinear", [g.op("QuantizeLinear", ["x", *again], "q2"), *again], "dq2")
    g.op("Concat", [g.op("Conv", [v, weights], f"y{v}") for v in (one, other)], "y", axis=1)
    return g.model((1, CHANNELS, 8, 8), "y")


def relu(g: Graph, value: str) -> str:
    return g.op("Relu", [value], f"{value}_relu")


def biased(g: Graph, value: str) -> str:
    return g.op("Add", [value, g.constant("bias", np.ones((CHANNELS, 1, 1), np.float32))], f"{value}_biased")


def norm(g: Graph, value: str) -> str:
    parameters = [g.constant(name, np.ones(CHANNELS, np.float32)) for name in ("scale", "shift", "mean", "var")]
    return g.op("BatchNormalization", [value, *parameters], f"{value}_norm")


def qdq(g: Graph, value: str) -> str:
    return g.qdq(value, 0.02)


def odd_zero_points() -> bytes:
    g = Graph()
    s, z = g.constant("s", np.float32(0.02)), g.constant("z", np.zeros(2, np.int8))
    g.op("Softmax", [g.op("DequantizeLinear", [g.op("QuantizeLinear", ["x", s, z], "q"), s, z], "dq")], "y")
    return g.model((8, CHANNELS), "y")


def odd_int4() -> bytes:
    g = Graph()
    g.constant("w", np.ones((CHANNELS + 1, 1), ml_dtypes.int4))
    g.op("MatMul", ["x", g.qdq("w", 0.1, dtype="int4", stored=True)], "y")
    return g.model((8, CHANNELS + 1), "y", 21)


LOWEST = np.where(np.arange(weight().size).reshape(weight().shape) == 0, -1.0, weight()).astype(np.float32)
STORED = np.where(np.arange(weight().size).reshape(weight().shape) == 0, -128, 5).astype(np.int8)
CASES: dict[str, tuple[Callable[[], bytes], str]] = {
    "Q behind Relu": (lambda: two_layers(lambda g, c: qdq(g, relu(g, c))), ""),
    "Q before Relu": (lambda: two_layers(lambda g, c: qdq(g, relu(g, qdq(g, c)))), "trt-before-activation"),
    "Q before the bias": (lambda: two_layers(lambda g, c: qdq(g, biased(g, qdq(g, c)))), "trt-before-add"),
    "Q behind the bias": (lambda: two_layers(lambda g, c: qdq(g, biased(g, c))), ""),
    "Q before a normalization": (lambda: two_layers(lambda g, c: qdq(g, norm(g, qdq(g, c)))), "trt-before-activation"),
    "Q/DQ at the end": (lambda: two_layers(qdq, second=False), "trt-quantized-output"),
    "no Q/DQ at the end": (lambda: two_layers(relu, second=False), ""),
    "activation without Q/DQ": (lambda: two_layers(relu), "trt-half-quantized"),
    "skip quantized": (lambda: residual(lambda g: "a", lambda g: "x_dq"), ""),
    "skip in float": (lambda: residual(lambda g: "a", lambda g: "x"), "trt-float-skip"),
    "both quantized": (lambda: residual(lambda g: qdq(g, "a"), lambda g: "x_dq"), "trt-both-branches"),
    "the convolution quantized": (lambda: residual(lambda g: "x", lambda g: qdq(g, "a")), "trt-before-add"),
    "one of two convolutions quantized": (lambda: residual(lambda g: qdq(g, "a"), lambda g: "b"), ""),
    "two convolutions quantized": (lambda: residual(lambda g: qdq(g, "a"), lambda g: qdq(g, "b")), "trt-both-branches"),
    "product": (lambda: dense({}, {}), ""),
    "weight in float": (lambda: dense({}, None), "trt-half-quantized"),
    "input in float": (lambda: dense(None, {}), "trt-half-quantized"),
    "bias behind a product": (lambda: dense({}, {}, bias="b"), ""),
    "quantized bias behind a product": (lambda: dense({}, {}, bias="b_dq"), "trt-quantized-bias"),
    "one row": (lambda: dense({}, {}, rows=1), "trt-matrix-vector"),
    "quantized twice alike": (lambda: twice(0.02), ""),
    "quantized twice": (lambda: twice(0.03), "trt-different-scales"),
    "weight of -128 steps": (lambda: conv(array=LOWEST), "trt-weight-minus-128"),
    "weight stored as -128": (lambda: conv(w={"stored": True}, array=STORED), "trt-weight-minus-128"),
    "int4 activation": (lambda: conv(21, x={"dtype": "int4"}), "trt-int4-activation"),
    "more zero points than scales": (odd_zero_points, "trt-scale-count"),
    "odd int4": (odd_int4, "trt-int4-odd"),
}


@pytest.mark.parametrize("name", CASES)
def test_rules(name: str) -> None:
    make, code = CASES[name]
    assert set(found(make())) == ({code} if code else set())


def layer(op: str, w_axis: int, *, opset: int = 17, **attributes: int) -> bytes:
    """One layer with weights of 64 x 64 (x 1 x 1), with a scale for each index of an axis."""
    g = Graph()
    array = SMALL.reshape(CHANNELS, CHANNELS, 1, 1) if op.startswith("Conv") else SMALL
    g.constant("w", array)
    w = g.qdq("w", by_channel(array, w_axis), axis=w_axis)
    if op == "Transpose":  # as pytorch-quantization writes a Linear layer
        op, w = "MatMul", g.op("Transpose", [w], "wt", perm=[1, 0])
    g.op(op, [g.qdq("x", 0.02), w], "y", **attributes)
    return g.model((8, CHANNELS, 8, 8) if op.startswith("Conv") else (8, CHANNELS), "y", opset)


@pytest.mark.parametrize(
    ("op", "attributes", "axis"),
    [
        ("Conv", {}, 0),
        ("ConvTranspose", {}, 1),
        ("MatMul", {}, 1),
        ("Gemm", {}, 1),
        ("Gemm", {"transB": 1}, 0),
        ("Transpose", {}, 0),
    ],
)
def test_axis_of_the_output_channels(op: str, attributes: dict[str, int], axis: int) -> None:
    """By ONNX's definition of each operator's weight."""
    assert found(layer(op, axis, **attributes)) == {}
    assert found(layer(op, 1 - axis, **attributes)) == {"trt-weight-axis": 1}


def test_scales_of_transposed_convolutions_on_tensorrt_8() -> None:
    assert found(layer("ConvTranspose", 1), OLD) == {"trt-transposed-scales": 1}
    assert found(layer("ConvTranspose", 0), OLD) == {}


def test_half_scales_are_for_new_parsers_only() -> None:
    g = Graph()
    g.op("Softmax", [g.qdq("x", np.float16(0.02))], "y")
    data = g.model((8, CHANNELS), "y", 17, TensorProto.FLOAT16)
    assert found(data, OLD) == {"trt-half-scale": 1}
    assert found(data) == {}


def test_a_board_without_int8_takes_no_qdq_at_all() -> None:
    nano = board_of(facts_of(load_profile("jetson-nano-jp4")))
    assert found(conv(13), nano) == {"trt-no-int8": 1}
    assert found(small_cnn().SerializeToString(), nano) == {"trt-opset": 1}


def test_nodes_of_branches_and_functions_are_read() -> None:
    """A Q/DQ pair with a zero point of 3, in a branch of an If and in a function of the model."""
    inner = Graph()
    inner.qdq("x", 0.02, zero=3)
    outer = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [8, 4])]
    result = [helper.make_tensor_value_info("x_dq", TensorProto.FLOAT, [8, 4])]
    branch = helper.make_graph(inner.nodes, "branch", [], result, inner.constants)
    choice = helper.make_node("If", ["c"], ["y"], name="if", then_branch=branch, else_branch=branch)
    condition = helper.make_tensor_value_info("c", TensorProto.BOOL, [])
    ends = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [8, 4])]
    graph = helper.make_graph([choice], "g", [*outer, condition], ends)
    imports = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=10)
    assert found(model.SerializeToString()) == {"trt-nonzero-zero-point": 2}

    constants = [helper.make_node("Constant", [], [c.name], value=c) for c in inner.constants]
    function = helper.make_function("own", "F", ["x"], ["x_dq"], [*constants, *inner.nodes], imports)
    graph = helper.make_graph([helper.make_node("F", ["x"], ["t"], name="f", domain="own")], "g", outer, ends)
    graph.node.append(helper.make_node("Softmax", ["t"], ["y"], name="soft"))
    both = [*imports, helper.make_opsetid("own", 1)]
    model = helper.make_model(graph, opset_imports=both, ir_version=10, functions=[function])
    assert found(model.SerializeToString()) == {"trt-nonzero-zero-point": 1}


def test_the_model_stays_as_it_is_and_findings_name_node_tensor_and_way_out() -> None:
    model = read(conv(x={"zero": 3}, b={"scale": 0.01}))
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    findings = lint(model, NEW)
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before
    assert [(f.severity, f.code, f.node, f.op) for f in findings] == [
        ("error", "trt-nonzero-zero-point", "x_q", "QuantizeLinear"),
        ("warning", "trt-quantized-bias", "c", "Conv"),
    ]
    assert "'x'" in findings[0].message
    assert "'b'" in findings[1].message
    assert all(finding.hint for finding in findings)


def test_of_our_own_files_a_rule_warns_once_and_a_broken_one_is_our_defect() -> None:
    """The same biases in the float16 twin, and other ones in a third file."""
    biased, other = read(conv(b={"scale": 0.01})), read(conv(b={"scale": 0.02}, x={"scale": 0.01}))
    other.graph.node("c").name = "another"
    (warning,) = linted({"int8": biased, "int8-fp16": biased, "fp32": other}, NEW)
    assert (warning.code, warning.node) == ("trt-quantized-bias", "c")
    assert warning.message.endswith("(the first of 2 places)")
    with pytest.raises(ModelError, match=r"break a rule of TensorRT .*'x'.*defect of edgeport") as refused:
        linted({"int8": read(conv(x={"zero": 3}))}, NEW)
    assert [finding.code for finding in refused.value.findings] == ["trt-nonzero-zero-point"]


def test_every_rule_is_broken_by_a_test() -> None:
    broken = {code for row in ROWS.values() for code in row.codes | row.old} | {code for _, code in CASES.values()}
    elsewhere = {"trt-transposed-scales", "trt-half-scale", "trt-no-int8"}
    assert set(codes()) == (broken - {""}) | elsewhere
