"""Integer kernels against the Q/DQ simulation of the same plan in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from tflite_graphs import Graph, normal, reference

from edgeport.inner import expose, observable
from edgeport.passes import canonicalize
from edgeport.quantize.assign import assign
from edgeport.quantize.plan import Plan
from edgeport.quantize.planner import make_plan
from edgeport.quantize.qdq import write_qdq
from edgeport.targets.contract import Artifact
from edgeport.targets.tflite.target import TFLITE
from edgeport.validate.onnx_runner import OnnxRunner


def plan_of(graph: Graph, outputs: Sequence[str], precision: str = "int8") -> tuple[ir.Model, Plan]:
    """A plan whose ranges are the exact ones of the sample."""
    model = graph.model(*outputs)
    scheme = TFLITE.scheme(precision, None)
    assignment = assign(model.graph, scheme)
    proto = graph.proto(*outputs)
    observed = ir.from_proto(proto)
    observed.graph.outputs.extend(expose(node) for node in observable(observed.graph).values())
    proto = ir.to_proto(observed)
    known = {o.name for o in proto.graph.output}
    proto.graph.output.extend(v for v in proto.graph.value_info if v.name not in known)
    values = reference(proto, graph.inputs) | graph.inputs
    values |= {k: v.const_value.numpy() for k, v in model.graph.initializers.items() if v.const_value is not None}

    def ranges(tensor: str, within: tuple[float, float], symmetric: bool) -> tuple[float, float]:
        return max(float(values[tensor].min()), within[0]), min(float(values[tensor].max()), within[1])

    return model, make_plan(assignment, scheme, ranges, "min-max")


def assert_simulated(
    graph: Graph, outputs: Sequence[str], tmp_path: Path, precision: str = "int8", steps: float = 1.01
) -> Artifact:
    """LiteRT stays within `steps` quantization steps of the simulation.

    One step: XNNPACK requantizes in float32 and rounds once where the simulation dequantizes, computes and
    quantizes; on a tie the last bit may differ. Longer graphs pass the difference on.
    """
    model, plan = plan_of(graph, outputs, precision)
    artifact = TFLITE.lower(model, plan, tmp_path, "m")
    got = TFLITE.runner(artifact, model).run(graph.inputs)
    simulated = OnnxRunner(write_qdq(model, plan, TFLITE.scheme(precision, None)), simulate=True).run(graph.inputs)
    for name in outputs:
        quant = plan.qparams(name)
        step = float(quant.scale) if quant is not None else float(np.ptp(simulated[name])) / 255
        assert np.abs(got[name] - simulated[name]).max() <= steps * step, name
        assert np.ptp(simulated[name]) > 10 * step, "the outputs must vary, else nothing is compared"
    return artifact


def conv(g: Graph, x: str, ins: int, outs: int, size: int = 3, **attributes: Any) -> str:
    groups = attributes.get("group", 1)
    w = normal(outs, ins // groups, size, size, seed=len(g.nodes)) / (size * np.sqrt(ins / groups))
    pads = [size // 2] * 4
    return str(g.op("Conv", x, g.const(w.astype(np.float32)), g.const(normal(outs, seed=5)), pads=pads, **attributes))


@pytest.mark.parametrize("activation", [None, "Relu", "Clip"])
@pytest.mark.parametrize("groups", [1, 2, 6], ids=["dense", "grouped", "depthwise"])
def test_conv(tmp_path: Path, activation: str | None, groups: int) -> None:
    g = Graph()
    y = conv(g, g.input("x", normal(1, 6, 9, 9)), 6, 12, group=groups, strides=[2, 2])
    if activation == "Relu":
        y = g.op("Relu", y)
    if activation == "Clip":
        y = g.op("Clip", y, g.const(np.float32(0)), g.const(np.float32(6)))
    artifact = assert_simulated(g, [y], tmp_path)
    assert artifact.facts["not_on_xnnpack"] == {}
    assert set(artifact.facts["ops"]) <= {
        "QUANTIZE", "TRANSPOSE", "PAD", "CONV_2D", "DEPTHWISE_CONV_2D", "DEQUANTIZE"
    }  # fmt: skip


@pytest.mark.parametrize("rank", [2, 3])
def test_matmul(tmp_path: Path, rank: int) -> None:
    g = Graph()
    x = g.input("x", normal(*(4, 5, 16)[3 - rank :]))
    y = g.op("Add", g.op("MatMul", x, g.const(normal(16, 8, seed=1))), g.const(normal(8, seed=2)))
    y = g.op("MatMul", g.op("Relu", y), g.const(normal(8, 8, seed=3)))
    artifact = assert_simulated(g, [y], tmp_path)
    assert artifact.facts["ops"] == {"QUANTIZE": 1, "FULLY_CONNECTED": 2, "DEQUANTIZE": 1}
    assert artifact.facts["not_on_xnnpack"] == {}


def test_conv_transpose(tmp_path: Path) -> None:
    g = Graph()
    x = g.input("x", normal(1, 6, 5, 5))
    y = g.op("ConvTranspose", x, g.const(normal(6, 4, 3, 3)), g.const(normal(4)), strides=[2, 2], pads=[1, 1, 1, 1])
    assert assert_simulated(g, [y], tmp_path).facts["not_on_xnnpack"] == {}


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul"])
@pytest.mark.parametrize("other", ["value", "constant", "channels"])
def test_glue_between_convolutions(tmp_path: Path, op: str, other: str) -> None:
    g = Graph()
    a = conv(g, g.input("x", normal(1, 6, 9, 9)), 6, 6)
    operands: dict[str, Callable[[], str]] = {
        "value": lambda: g.op("Relu", a),
        "constant": lambda: g.const(np.float32(1.7)),
        "channels": lambda: g.const(normal(1, 6, 1, 1)),
    }
    y = conv(g, g.op("Relu", g.op(op, a, operands[other]())), 6, 4)
    artifact = assert_simulated(g, [y], tmp_path, steps=2.01)
    assert artifact.facts["not_on_xnnpack"] == {}
    assert artifact.facts["ops"]["QUANTIZE"] <= 2


@pytest.mark.parametrize(("op", "other"), [("Add", 2.5), ("Sub", 2.5), ("Mul", 250)])
def test_outputs_far_finer_than_operands(tmp_path: Path, op: str, other: float) -> None:
    """LiteRT's own Add wraps around there, and XNNPACK takes no such scales: the plan must not ask for them."""
    g = Graph()
    a = conv(g, g.input("x", normal(1, 6, 9, 9) * 3000), 6, 6)
    b = g.op(op, g.op("Add", a, a), g.const(np.float32(other)))
    c = g.op("Clip", b, g.const(np.float32(0)), g.const(np.float32(6)))
    artifact = assert_simulated(g, [conv(g, c, 6, 4)], tmp_path, steps=2.01)
    assert artifact.facts["not_on_xnnpack"] == {}


ONE_OPERAND: dict[str, Any] = {
    "Relu": lambda g, x: g.op("Relu", x),
    "Clip": lambda g, x: g.op("Clip", x, g.const(np.float32(-0.5)), g.const(np.float32(0.7))),
    "Clip6": lambda g, x: g.op("Clip", x, g.const(np.float32(0)), g.const(np.float32(6))),
    "Sigmoid": lambda g, x: g.op("Sigmoid", x),
    "Tanh": lambda g, x: g.op("Tanh", x),
    "Swish": lambda g, x: g.op("Swish", x),
    "QuickGelu": lambda g, x: g.op("Swish", x, alpha=1.702),
    "Nearest": lambda g, x: g.op("Resize", x, "", g.const(np.array([1, 1, 0.7, 1.3], np.float32)), mode="nearest"),
    "LeakyRelu": lambda g, x: g.op("LeakyRelu", x, alpha=0.1),
    "MaxPool": lambda g, x: g.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    "Pad": lambda g, x: g.op("Pad", x, g.const(np.array([0, 0, 1, 1, 0, 0, 2, 0]))),
    "Resize": lambda g, x: g.op(
        "Resize", x, "", g.const(np.array([1, 1, 2, 2], np.float32)), mode="nearest",
        coordinate_transformation_mode="asymmetric", nearest_mode="floor",
    ),
    "Bilinear": lambda g, x: g.op("Resize", x, "", g.const(np.array([1, 1, 2, 2], np.float32)), mode="linear"),
    "Cubic-free": lambda g, x: g.op("Resize", x, "", g.const(np.array([1, 1, 0.7, 1.3], np.float32)), mode="linear"),
    "DepthToSpace": lambda g, x: g.op("Concat", *[g.op("DepthToSpace", x, blocksize=2, mode="CRD")] * 4, axis=1),
    "Slice": lambda g, x: g.op("Slice", x, *(g.const(np.array([v])) for v in (1, 99, 2, 2))),
    "Split": lambda g, x: g.op("Concat", *g.op("Split", x, axis=1, num_outputs=2, out=["s0", "s1"]), "s0", axis=1),
    "Concat": lambda g, x: g.op("Concat", x, g.op("Relu", x), axis=1),
    "Mean": lambda g, x: g.op("Mul", x, g.op("GlobalAveragePool", x)),
    "Reshape": lambda g, x: g.op(
        "Reshape", g.op("Reshape", x, g.const(np.array([1, 2, 2, 8, 8]))), g.const(np.array([1, 4, 8, 8]))
    ),
}  # fmt: skip


@pytest.mark.parametrize("op", ONE_OPERAND)
def test_one_operand_between_convolutions(tmp_path: Path, op: str) -> None:
    g = Graph()
    a = conv(g, g.op("Identity", g.input("x", normal(1, 6, 8, 8) * 2)), 6, 4)
    a = g.op("Add", a, conv(g, a, 4, 4))  # read twice: no activation is fused
    b = ONE_OPERAND[op](g, a)
    channels = {"Split": 6, "Concat": 8}.get(op, 4)
    y = conv(g, b, channels, 4)
    artifact = assert_simulated(g, [y], tmp_path, steps=3.01)
    assert set(artifact.facts["not_on_xnnpack"]) <= {"GATHER", "PADV2", "RESIZE_NEAREST_NEIGHBOR", "STRIDED_SLICE"}


def test_a_relu6_of_its_own_becomes_a_requantization(tmp_path: Path) -> None:
    g = Graph()
    a = conv(g, g.input("x", normal(1, 6, 8, 8) * 4), 6, 4)
    b = g.op("Clip", a, g.const(np.float32(0)), g.const(np.float32(6)))
    y = g.op("Add", a, b)
    artifact = assert_simulated(g, [conv(g, y, 4, 4)], tmp_path, steps=2.01)
    assert "RELU6" not in artifact.facts["ops"]


def test_float_island(tmp_path: Path) -> None:
    g = Graph()
    a = conv(g, g.input("x", normal(1, 6, 8, 8)), 6, 4)
    b = g.op("HardSwish", a)
    y = g.op("Softmax", conv(g, g.op("Add", b, a), 4, 4), axis=1)
    assert_simulated(g, [y], tmp_path, steps=2.01)


@pytest.mark.parametrize("precision", ["fp16", "int8-weights", "int8-dynamic"])
def test_stored_weights(tmp_path: Path, precision: str) -> None:
    g = Graph()
    a = g.op("Relu", conv(g, g.input("x", normal(1, 16, 8, 8)), 16, 16))
    b = g.op("Relu", conv(g, a, 16, 16, group=16))
    c = g.op("ReduceMean", b, g.const(np.array([2, 3])), keepdims=0)
    y = g.op("Add", g.op("MatMul", c, g.const(normal(16, 32))), g.const(normal(32)))
    # Without activations in integers only float rounding differs; with them each sample has its own scale, good
    # to one of 256 steps a layer.
    artifact = assert_simulated(g, [y], tmp_path, precision, steps=3.0 if precision == "int8-dynamic" else 1e-3)
    assert artifact.facts["not_on_xnnpack"] == {}
    fp32 = TFLITE.lower(g.model(y), Plan("fp32"), tmp_path, "f")
    weights = 4 * (16 * 16 * 9 + 16 * 9 + 16 * 32)
    saved = fp32.facts["bytes"] - artifact.facts["bytes"]
    assert saved > (0.4 if precision == "fp16" else 0.6) * weights - 2000


@pytest.mark.parametrize("precision", ["fp16", "int8-weights", "int8-dynamic"])
@pytest.mark.parametrize("kind", ["grouped", "depthwise", "transposed", "sequence"])
def test_stored_weights_of_every_convolution(tmp_path: Path, precision: str, kind: str) -> None:
    g = Graph()
    x = g.input("x", normal(1, 8, 9) if kind == "sequence" else normal(1, 8, 9, 9))
    if kind == "transposed":
        y = g.op("ConvTranspose", x, g.const(normal(8, 6, 3, 3) / 8), strides=[2, 2])
    elif kind == "sequence":
        y = g.op("Conv", x, g.const(normal(12, 8, 3) / 5), g.const(normal(12)))
    else:
        y = conv(g, x, 8, 8, group=2 if kind == "grouped" else 8)
    hybrid = precision == "int8-dynamic" and kind == "sequence"
    artifact = assert_simulated(g, [y], tmp_path, precision, steps=2.0 if hybrid else 1e-3)
    assert artifact.facts["not_on_xnnpack"] == {}


def test_intermediates_by_canonical_name(tmp_path: Path) -> None:
    g = Graph()
    a = conv(g, g.input("x", normal(1, 6, 8, 8)), 6, 4)
    b = g.op("Transpose", g.op("Relu", a), perm=[0, 2, 3, 1], out="t")
    g.op("Add", g.op("MatMul", b, g.const(normal(4, 4))), g.const(normal(4)), out="y")
    model, plan = plan_of(g, ["y"])
    for p in (plan, Plan("fp32")):
        artifact = TFLITE.lower(model, p, tmp_path, "m")
        names = [v.name or "" for n in model.graph for v in n.outputs]
        got = TFLITE.runner(artifact, model).intermediates(g.inputs, [*names, "x", "nonsense"])
        want = OnnxRunner(model).intermediates(g.inputs, names)
        relu = names[1]
        assert relu in got
        assert a not in got, "a fused value does not exist"
        step = float(plan.qparams(relu).scale) if p is plan else 1e-5  # type: ignore[union-attr]
        for name in set(got) & set(want):
            assert got[name].shape == want[name].shape
            scale = float(plan.qparams(name).scale) if p is plan else 1e-5  # type: ignore[union-attr]
            assert np.abs(got[name] - want[name]).max() <= 4 * max(scale, step)


@pytest.mark.parametrize("mask", ["none", "causal", "bool", "float"])
@pytest.mark.parametrize("shared", [4, 2])
def test_attention_multiplies_in_integers_and_masks_in_float(mask: str, shared: int, tmp_path: Path) -> None:
    """Fed by one projection each, as in every transformer: K and V get zero point 0, Q keeps its own."""
    g = Graph()
    x = g.input("x", normal(1, 6, 32))
    parts = []
    for count in (4, shared, shared):
        p = g.op("MatMul", x, g.const(normal(32, count * 8)))
        p = g.op("Reshape", p, g.const(np.asarray([1, 6, count, 8])))
        parts.append(g.op("Transpose", p, perm=[0, 2, 1, 3]))
    attributes: dict[str, Any] = {"scale": 0.1}
    if mask == "causal":
        attributes["is_causal"] = 1
    if mask == "bool":
        allowed = np.tril(np.ones((6, 6), bool))
        allowed[2] = False  # a query that may look at nothing
        parts.append(g.input("mask", allowed[None, None]))
    if mask == "float":
        parts.append(g.input("mask", np.triu(np.full((6, 6), np.float32(-1e4)), 1)[None, None]))
    y = g.op("Attention", *parts, **attributes)
    y = g.op("Reshape", g.op("Transpose", y, perm=[0, 2, 1, 3]), g.const(np.asarray([1, 6, 32])))
    # Two rounded products: a score on a tie moves its row's probabilities by one step of 1/256 each.
    outputs = [g.op("MatMul", y, g.const(normal(32, 16)))]
    artifact = assert_simulated(g, outputs, tmp_path, steps=3.01)
    plan = plan_of(g, outputs)[1]
    zero_points = {role: int(plan.qparams(p).zero_point) for role, p in zip("kv", parts[1:3], strict=True)}
    assert zero_points == {"k": 0, "v": 0}
    assert artifact.facts["ops"]["BATCH_MATMUL"] == 2
    assert "BATCH_MATMUL" not in artifact.facts["not_on_xnnpack"]


@pytest.mark.parametrize("precision", ["int8", "int8-weights", "int8-dynamic"])
@pytest.mark.parametrize("shape", [(5,), (1, 6), (2, 3, 2)])
def test_embedding_tables_are_stored_as_int8_with_one_scale_a_row(
    precision: str, shape: tuple[int, ...], tmp_path: Path
) -> None:
    g = Graph()
    table = normal(64, 32) * np.geomspace(1e-3, 1e3, 64, dtype=np.float32)[:, None]
    ids = np.random.default_rng(3).integers(0, 64, shape)
    y = g.op("Gather", g.const(table), g.input("ids", ids), axis=0)
    model, plan = plan_of(g, [y], precision)
    artifact = TFLITE.lower(model, plan, tmp_path, "m")
    got = TFLITE.runner(artifact, model).run(g.inputs)[y]
    assert artifact.facts["bytes"] < 0.6 * table.nbytes  # a quarter, the scales, and 2 kB of tables
    step = np.abs(table).max(1) / 127  # of each row
    assert (np.abs(got - table[ids]) <= 0.501 * step[ids][..., None]).all()
    simulated = OnnxRunner(write_qdq(model, plan, TFLITE.scheme(precision, None)), simulate=True).run(g.inputs)[y]
    assert np.array_equal(got, simulated)


@pytest.mark.parametrize(("a", "b"), [((2, 5, 8), (2, 8, 6)), ((2, 3, 5, 8), (8, 6)), ((5, 8), (2, 8, 6))])
def test_a_product_of_two_activations_has_a_right_hand_side_without_zero_point(
    a: tuple[int, ...], b: tuple[int, ...], tmp_path: Path
) -> None:
    g = Graph()
    right = g.op("Relu", g.input("b", normal(*b) + 1))  # whose own zero point would be -128
    left = g.op("MatMul", g.input("a", normal(*a)), g.const(normal(8, 8)))
    y = g.op("MatMul", left, right)
    artifact = assert_simulated(g, [y], tmp_path)
    assert int(plan_of(g, [y])[1].qparams(right).zero_point) == 0
    assert artifact.facts["not_on_xnnpack"] == {}


def test_a_product_between_float_operators_quantizes_its_rows_at_run_time(tmp_path: Path) -> None:
    g = Graph()
    rows = normal(1, 6, 32) * np.geomspace(1, 1e4, 6, dtype=np.float32)[:, None]  # one scale for all would drop most
    x = g.op("LayerNormalization", g.input("x", rows), g.const(np.ones(32, np.float32)), axis=-1)
    y = g.op("Softmax", g.op("Add", g.op("MatMul", x, g.const(normal(32, 16))), g.const(normal(16, seed=1))))
    artifact = assert_simulated(g, [y], tmp_path)
    assert artifact.facts["not_on_xnnpack"] == {}
    assert "QUANTIZE" not in artifact.facts["ops"]


def test_a_product_of_activations_between_float_operators_stays_float() -> None:
    """Nothing is saved there, and it may be geometry: 8 bits of a coordinate are a pixel."""
    g = Graph()
    y = g.op("MatMul", g.input("a", normal(5, 8)), g.op("Softmax", g.input("b", normal(8, 8))))
    assert {n.kernel for n in plan_of(g, [y])[1].nodes.values()} == {"float32"}


def test_a_product_whose_right_hand_side_has_a_fixed_zero_point_stays_float() -> None:
    g = Graph()
    gate = g.op("Sigmoid", g.op("MatMul", g.input("b", normal(8, 8)), g.const(normal(8, 8))))
    y = g.op("MatMul", g.input("a", normal(5, 8)), gate)
    plan = plan_of(g, [y])[1]
    node = next(n for n in plan.nodes.values() if n.name.startswith("n2"))
    assert node.kernel == "float32"
    assert "zero point 0" in node.reason


def test_pools_over_everything_and_extremes_stay_on_xnnpack(tmp_path: Path) -> None:
    g = Graph()
    x = conv(g, g.input("x", normal(1, 4, 7, 7)), 4, 8)
    pooled = g.op("AveragePool", x, kernel_shape=[7, 7])
    highest = g.op("MaxPool", g.op("Elu", x), kernel_shape=[7, 7], strides=[3, 3])
    outputs = [conv(g, pooled, 8, 8, size=1), conv(g, highest, 8, 8, size=1)]
    model = canonicalize(g.model(*outputs))
    assert {"GlobalAveragePool", "GlobalMaxPool"} <= {n.op_type for n in model.graph}
    exact, got = (OnnxRunner(m).run(g.inputs) for m in (g.model(*outputs), model))
    assert all(np.allclose(exact[o], got[o], rtol=1e-5, atol=1e-6) for o in outputs)  # sums in another order
    canonical, proto = Graph(), ir.to_proto(model).graph
    canonical.nodes, canonical.constants, canonical.inputs = list(proto.node), list(proto.initializer), g.inputs
    assert assert_simulated(canonical, outputs, tmp_path).facts["not_on_xnnpack"] == {}
