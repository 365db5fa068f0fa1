"""Where TensorRT's Q/DQ stand, with which scales, and what stays float."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
from onnx_graphs import Graph, normal, reference
from trt_plans import ORIN6, THOR, planned, through

from edgeport.errors import UsageError
from edgeport.planning import nothing_gained
from edgeport.quantize.qdq import write_qdq
from edgeport.targets.tensorrt.board import board_of
from edgeport.targets.tensorrt.scheme import scheme_of_plan, tensorrt_scheme
from edgeport.validate.onnx_runner import OnnxRunner


def conv(g: Graph, x: str, into: int, out: int, k: int = 3, seed: int = 0, **attributes: object) -> str:
    group = attributes.get("group", 1)
    w = g.const(normal(out, into // group, *(k, k), seed=seed) / np.float32(k * np.sqrt(into)))
    pads = [k // 2] * 4
    return g.op("Conv", x, w, g.const(normal(out, seed=seed + 1)), pads=pads, **attributes)


def quantized(g: Graph, *outputs: str, **options: object) -> tuple[ir.Model, ir.Model]:
    model = g.model(*outputs)
    samples = [{n: (a * (0.5 + i / 4)).astype(np.float32) for n, a in g.inputs.items()} for i in range(3)]
    assigned, plan = planned(model, samples, **options)
    return model, write_qdq(model, plan, assigned.scheme)


def test_q_stands_before_products_only_and_behind_relu() -> None:
    g = Graph()
    x = g.input("x", normal(1, 16, 8, 8))
    relu = g.op("Relu", conv(g, x, 16, 24), out="relu")
    w, b = normal(16, 24, 3, 3, seed=3), normal(16, seed=4)
    y = g.op("Conv", relu, g.const(w, "w"), g.const(b, "b"), out="y")
    model, graph = quantized(g, y)
    assert through(graph.graph) == {"x": ["n0_Conv"], "relu": ["n2_Conv"]}
    names = graph.graph.initializers
    assert {v.const_value.dtype for v in names.values()} == {ir.DataType.FLOAT, ir.DataType.INT8}  # no int32 bias
    # The largest sample is 1.0 times the input; min-max is absmax / 127.
    assert float(names["x:scale"].const_value.numpy()) == np.float32(np.abs(g.inputs["x"]).max() / 127)
    np.testing.assert_array_equal(
        names["w:scale"].const_value.numpy(), (np.abs(w).max(axis=(1, 2, 3)).astype(np.float64) / 127).astype("f4")
    )
    # By hand: both operands rounded to their steps, the rest in float.
    feed = g.inputs
    seen = OnnxRunner(graph, optimize=False).run(feed)["y"]
    steps = {n: names[f"{n}:scale"].const_value.numpy() for n in ("x", "relu", "w")}
    by_hand = Graph()
    r = by_hand.input("r", OnnxRunner(graph, optimize=False).intermediates(feed, ["relu"])["relu"])
    near = np.clip(np.rint(by_hand.inputs["r"] / steps["relu"]), -128, 127) * steps["relu"]
    by_hand.inputs["r"] = near.astype(np.float32)
    wide = steps["w"][:, None, None, None]
    by_hand.op(
        "Conv", r, by_hand.const((np.rint(w / wide) * wide).astype("f4")), by_hand.const(seen_bias(graph)), out="y"
    )
    want = reference(by_hand.proto("y"), by_hand.inputs)["y"]
    np.testing.assert_allclose(seen, want, atol=1e-4)  # the same float32 sums of 216 products, in one library
    # The bias is float, and not the source's: what rounded weights add to the means is off it (tested below).
    assert 0 < np.abs(seen_bias(graph) - b).max() < np.abs(b).max()


def seen_bias(graph: ir.Model) -> np.ndarray:
    last = next(n for n in graph.graph if n.outputs[0].name == "y")
    return last.inputs[2].const_value.numpy()


def residual(g: Graph, downsample: bool, swapped: bool, biased: bool = True) -> str:
    x = g.input("x", normal(1, 16, 8, 8))
    start = g.op("Relu", x, out="start")
    inner = conv(g, g.op("Relu", conv(g, start, 16, 16, seed=2), out="mid"), 16, 16, seed=4)
    skip = conv(g, start, 16, 16, k=1, seed=6) if downsample else start
    return g.op("Add", *((skip, inner) if swapped else (inner, skip)), out="y")


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("downsample", [False, True])
def test_the_skip_branch_alone_goes_through_q(downsample: bool, swapped: bool) -> None:
    g = Graph()
    y = residual(g, downsample, swapped)
    _, graph = quantized(g, y)
    found = through(graph.graph)
    if downsample:  # of two convolutions the earlier one's result is the skip branch
        assert found == {
            "start": ["n1_Conv", "n4_Conv"],
            "mid": ["n3_Conv"],
            "conv3": ["n5_Add"],
        }
    else:
        assert found == {"start": ["n1_Conv", "n4_Add"], "mid": ["n3_Conv"]}


def test_a_skip_branch_stays_float_where_its_convolution_does() -> None:
    g = Graph()
    y = residual(g, downsample=False, swapped=False)
    model = g.model(y)
    assigned, plan = planned(model, [g.inputs], layers={"n3_Conv": "fp16"})
    assert plan.kernel("n4_Add") == "float32"
    assert "mid" not in through(write_qdq(model, plan, scheme_of_plan(plan)).graph)
    assert scheme_of_plan(plan).layers.keys() == assigned.scheme.layers.keys()


@pytest.mark.parametrize("other", ["vector", "constant", "twice", "relu"])
def test_additions_that_end_no_convolution_stay_float(other: str) -> None:
    g = Graph()
    x = g.input("x", normal(1, 16, 8, 8))
    inner = conv(g, x, 16, 16)
    skip = {"vector": lambda: g.input("v", normal(1, 16, 1, 1)), "constant": lambda: g.const(normal(1, 16, 8, 8))}
    outputs = [g.op("Add", g.op("Relu", inner) if other == "relu" else inner, skip.get(other, lambda: x)(), out="y")]
    if other == "twice":  # its result is needed as it is, before the addition
        outputs.append(g.op("Sigmoid", inner, out="z"))
    _, graph = quantized(g, *outputs)
    assert through(graph.graph) == {"x": ["n0_Conv"]}


def test_a_transformers_block_has_q_before_its_matrices_only() -> None:
    g = Graph()
    x = g.input("x", normal(1, 12, 32))
    normed = g.op("LayerNormalization", x, g.const(np.ones(32, np.float32)), out="normed")
    heads = []
    for i in range(3):
        product = g.op("MatMul", normed, g.const(normal(32, 32, seed=i) / 6))
        heads.append(g.op("Add", product, g.const(normal(32, seed=9 + i))))
    scores = g.op("Softmax", g.op("MatMul", heads[0], g.op("Transpose", heads[1], perm=[0, 2, 1])), axis=-1)
    mixed = g.op("MatMul", scores, heads[2], out="mixed")
    y = g.op("Add", x, g.op("MatMul", mixed, g.const(normal(32, 32, seed=5) / 6)), out="y")
    _, graph = quantized(g, y)
    assert through(graph.graph) == {"normed": ["n1_MatMul", "n3_MatMul", "n5_MatMul"], "mixed": ["n11_MatMul"]}


def test_what_float_operators_read_stays_float_for_them() -> None:
    g = Graph()
    x = g.input("x", normal(1, 16, 8, 8))
    model, graph = quantized(g, conv(g, x, 16, 16), g.op("Relu", x, out="y"))
    np.testing.assert_array_equal(OnnxRunner(graph, optimize=False).run(g.inputs)["y"], np.maximum(g.inputs["x"], 0))


def one(op: str, x: tuple[int, ...], w: tuple[int, ...], **attributes: object) -> Callable[[], tuple[Graph, str]]:
    def made() -> tuple[Graph, str]:
        g = Graph()
        first = g.op("Relu", g.input("x", normal(*x)))
        return g, g.op(op, first, g.const(normal(*w)), out="y", **attributes)

    return made


@pytest.mark.parametrize(
    ("made", "kernel", "reason"),
    [
        (one("Conv", (1, 16, 6, 6), (16, 16, 3, 3)), "int8", ""),
        (one("Conv", (1, 8, 6, 6), (32, 8, 3, 3)), "int8", ""),
        (one("Conv", (1, 32, 6, 6), (32, 1, 3, 3), group=32), "int8", ""),
        (one("Conv", (1, 8, 6, 6), (8, 8, 3, 3)), "float32", "8 to 8 channels"),
        (one("Conv", (1, 8, 6, 6), (32, 8, 3, 1)), "float32", "8 to 32 channels"),
        (one("Conv", (1, 32, 6, 6), (32, 1, 1, 1), group=32), "float32", "1 to 32 channels"),
        (one("Conv", (1, 16, 4, 4, 4), (16, 16, 3, 3, 3)), "float32", "three axes"),
        (one("ConvTranspose", (1, 16, 6, 6), (16, 16, 2, 2)), "int8", ""),
        (one("ConvTranspose", (1, 16, 3, 3, 3), (16, 16, 2, 2, 2)), "float32", "three axes"),
        (one("ConvTranspose", (1, 16, 6, 6), (16, 1, 2, 2), group=16), "float32", "in groups"),
        (one("MatMul", (1, 4, 32), (32, 16)), "int8", ""),
        (one("MatMul", (1, 1, 32), (32, 16)), "float32", "one row"),
        (one("MatMul", (1, 32), (32, 16)), "float32", "one row"),
        (one("MatMul", (1, 4, 8), (8, 16)), "float32", "8 by 16"),
        (one("MatMul", (2, 4, 32), (2, 32, 16)), "float32", "constant matrix"),
    ],
)
def test_shapes_without_a_fast_kernel_stay_float(
    made: Callable[[], tuple[Graph, str]], kernel: str, reason: str
) -> None:
    g, y = made()
    _, plan = planned(g.model(y), [g.inputs])
    (node,) = (n for n in plan.nodes.values() if n.op not in ("Relu", "Add"))
    assert node.kernel == kernel
    assert reason in node.reason


def test_transposed_convolutions_have_one_scale_for_tensorrt_8() -> None:
    g, y = one("ConvTranspose", (1, 16, 6, 6), (16, 24, 2, 2))()
    old, new = (planned(g.model(y), [g.inputs], device=d)[1].qparams("c0") for d in (ORIN6, THOR))
    assert old is not None
    assert old.scale.shape == ()
    assert new is not None
    assert (new.scale.shape, new.axis) == ((24,), 1)


def test_an_activation_with_outliers_stays_float() -> None:
    x = normal(1, 64, 32)
    x[0, 0, 0] = 60.0
    g = Graph()
    y = g.op("MatMul", g.input("x", x), g.const(normal(32, 32)), out="y")
    assigned, plan = planned(g.model(y), [g.inputs])
    step = 60 / 127
    kept = 10 * np.log10(np.square(x).sum() / np.square(np.rint(x / step) * step - x).sum())  # 21.8 dB
    assert plan.kernel("n0_MatMul") == "float32"
    said = plan.nodes["n0_MatMul"].reason
    assert said.startswith("x keeps ")
    # Counted by the middles of bins a sixteenth of a step wide, and read with one decimal.
    assert float(said.split()[2]) == pytest.approx(kept, abs=0.3)
    (finding,) = nothing_gained(assigned.scheme, plan)  # that was not known before the data
    assert (finding.code, said in finding.message) == ("nothing-quantized", True)


def test_an_activation_with_outliers_is_int8_where_that_is_asked_for() -> None:
    x = normal(1, 64, 32)
    x[0, 0, 0] = 60.0
    g = Graph()
    first = g.op("MatMul", g.input("x", x), g.const(normal(32, 32)), out="first")
    y = g.op("MatMul", g.op("Mul", g.input("x2", x), first), g.const(normal(32, 32)), out="y")
    _, plan = planned(g.model(y), [g.inputs], layers={"n0_MatMul": "int8"})
    assert (plan.kernel("n0_MatMul"), plan.kernel("n2_MatMul")) == ("int8", "float32")


def test_an_activation_that_was_always_zero_is_exact_in_integers() -> None:
    g = Graph()
    y = conv(g, g.input("x", np.zeros((1, 16, 8, 8), np.float32)), 16, 16)
    _, plan = planned(g.model(y), [g.inputs])
    assert plan.kernel("n0_Conv") == "int8"
    assert plan.qparams("x").scale == 1


@pytest.mark.parametrize(
    ("depth", "dtype", "block"), [(256, "int4", 128), (192, "int4", 64), (96, "int4", 32), (48, "int8", None)]
)
def test_int4_blocks_halve_until_they_divide(depth: int, dtype: str, block: int | None) -> None:
    g = Graph()
    y = g.op("MatMul", g.input("x", normal(1, 3, depth)), g.const(normal(depth, 20), "w"), out="y")
    model = g.model(y)
    assigned, plan = planned(model, [], "int4-weights", device=THOR)
    found = plan.qparams("w")
    assert found is not None
    assert (found.dtype, found.block) == (dtype, block)
    got = OnnxRunner(write_qdq(model, plan, assigned.scheme), optimize=False).run(g.inputs)["y"]
    want = g.inputs["x"] @ found.restored(model.graph.initializers["w"].const_value.numpy())
    np.testing.assert_allclose(got, want, atol=1e-4)  # float32 sums of up to 256 products of about 1


def test_fp8_has_scales_of_absmax_over_448() -> None:
    g = Graph()
    x, w = normal(1, 8, 64) * 3, normal(64, 32, seed=1)
    y = g.op("MatMul", g.input("x", x), g.const(w, "w"), out="y")
    model = g.model(y)
    assigned, plan = planned(model, [{"x": x}], "fp8", device=THOR)
    scales = {name: plan.qparams(name) for name in ("x", "w")}
    assert {n: (float(q.scale), q.dtype, q.axis) for n, q in scales.items()} == {
        "x": (np.float32(np.abs(x).max() / 448), "float8e4m3fn", None),
        "w": (np.float32(np.abs(w).max() / 448), "float8e4m3fn", None),
    }
    got = OnnxRunner(write_qdq(model, plan, assigned.scheme), optimize=False).run({"x": 2 * x})["y"]
    want = scales["x"].restored(2 * x) @ scales["w"].restored(w)
    np.testing.assert_allclose(got, want, atol=1e-3)  # float32 sums of 64 products of up to 30
    # Three bits of mantissa: half a step is 1/16 of a number at most, beyond the range it saturates.
    assert np.abs(scales["x"].restored(x) / x - 1)[np.abs(x) > 0.1].max() <= 1 / 16 + 1e-6
    assert scales["x"].restored(2 * x).max() == pytest.approx(x.max() if x.max() > -x.min() else -x.min(), rel=1e-6)


def test_fp8_and_int8_do_not_mix() -> None:
    g, y = one("MatMul", (1, 4, 32), (32, 16))()
    with pytest.raises(UsageError, match="fp8 and int8 do not mix"):
        planned(g.model(y), [g.inputs], "fp8", device=THOR, layers={"n1_MatMul": "int8"})


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_floats_need_no_data(precision: str) -> None:
    g, y = one("MatMul", (1, 4, 32), (32, 16))()
    _, plan = planned(g.model(y), [], precision)
    assert not plan.tensors


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(UsageError, match="the tensorrt target takes fp32, fp16, int8"):
        tensorrt_scheme("int16x8", board_of(ORIN6))


def test_biases_take_the_error_of_each_channels_mean() -> None:
    g = Graph()
    means = np.linspace(-3, 3, 64, dtype=np.float32)
    x = g.input("x", means + normal(1, 400, 64) / 10)
    w = normal(64, 16, seed=1)
    y = g.op("Add", g.op("MatMul", x, g.const(w, "w")), g.const(np.zeros(16, np.float32), "b"), out="y")
    model = g.model(y)
    _, plan = planned(model, [g.inputs])
    rounding = plan.qparams("w").restored(w) - w
    want = g.inputs["x"][0].mean(axis=0) @ rounding
    # Means are taken over every row here (400 of at most 512) and rounded to 24 bits.
    np.testing.assert_allclose(plan.shifts["n0_MatMul"], want, atol=1e-5)


def test_volumes_are_convolved_in_integers_from_tensorrt_10_on() -> None:
    g, y = one("Conv", (1, 16, 4, 4, 4), (16, 16, 3, 3, 3))()
    assert planned(g.model(y), [g.inputs], device=THOR)[1].kernel("n1_Conv") == "int8"
