"""Element-wise operators, activations, reductions and normalizations against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tflite_graphs import Graph, assert_same, lower, normal

from edgeport.errors import ModelError

_PLAIN = (
    "Abs Ceil Cos Erf Exp Floor HardSwish Mish Neg Reciprocal Relu Round Selu Sigmoid "
    "Sign Sin Softplus Softsign Swish Tan Tanh Celu Elu Gelu HardSigmoid LeakyRelu ThresholdedRelu "
    "Atan Asin Acos Cosh Shrink IsNaN IsInf"
)
UNARY: list[tuple[str, dict[str, Any], str]] = [(op, {}, "any") for op in _PLAIN.split(" ")]
UNARY += [("Sqrt", {}, "positive"), ("Log", {}, "positive")]
UNARY += [
    ("Gelu", {"approximate": "tanh"}, "any"),
    ("Elu", {"alpha": 1.7}, "any"),
    ("Celu", {"alpha": 0.6}, "any"),
    ("Selu", {"alpha": 1.5, "gamma": 1.2}, "any"),
    ("LeakyRelu", {"alpha": 0.2}, "any"),
    ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}, "any"),
    ("HardSigmoid", {"alpha": 0.3, "beta": 0.4}, "any"),
    ("Swish", {"alpha": 1.7}, "any"),
    ("ThresholdedRelu", {"alpha": 0.4}, "any"),
    ("Shrink", {"lambd": 0.3, "bias": 0.2}, "any"),
    ("IsInf", {"detect_negative": 0}, "any"),
    ("IsInf", {"detect_positive": 0}, "any"),
]


@pytest.mark.parametrize(("op", "attributes", "domain"), UNARY, ids=str)
def test_unary(tmp_path: Path, op: str, attributes: dict[str, Any], domain: str) -> None:
    x = np.concatenate([normal(400) * 3, np.array([0, -0.0, 0.5, 1.5, -0.5, 2.5, 30, -30], np.float32)]).reshape(2, -1)
    if op == "Reciprocal":
        x[x == 0] = 1
    if op in ("Asin", "Acos"):
        x = np.clip(x / 4, -1, 1)
    if op == "Cosh":
        x = np.clip(x, -8, 8)  # its relative error is that of exp
    if op in ("IsNaN", "IsInf"):
        x[0, :3] = np.nan, np.inf, -np.inf
    if op == "Tan":
        x = np.clip(x, -1.4, 1.4)  # near the poles a ulp of x is much of the result
    g = Graph()
    g.op(op, g.input("x", np.abs(x) + 0.01 if domain == "positive" else x), out="y", **attributes)
    # XNNPACK approximates exp, tanh and erf with polynomials that are good to a few 1e-6 of the result's scale.
    assert_same(g, ["y"], tmp_path, rtol=2e-5, atol=5e-6)


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Max", "Min", "Pow", "PRelu"])
@pytest.mark.parametrize(
    ("a", "b"),
    [((2, 3, 4), (2, 3, 4)), ((2, 3, 4), (4,)), ((2, 3, 4), (3, 1)), ((2, 3, 4), ()), ((2, 1, 3, 4, 2), (1, 3, 1, 1))],
    ids=str,
)
@pytest.mark.parametrize("constant", [True, False])
def test_binary(tmp_path: Path, op: str, a: tuple[int, ...], b: tuple[int, ...], constant: bool) -> None:
    g = Graph()
    x, other = normal(*a), np.asarray(np.abs(normal(*b, seed=1)) + 0.5, np.float32)
    x = np.abs(x) if op == "Pow" else x
    g.op(op, g.input("x", x), g.const(other) if constant else g.input("b", other), out="y")
    assert_same(g, ["y"], tmp_path)


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Max", "Min", "Mod", "Equal", "Greater", "LessOrEqual"])
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_integer_binary(tmp_path: Path, op: str, dtype: type) -> None:
    g = Graph()
    x: np.ndarray = np.array([[-7, 7, 5, -5, 0, 9]], dtype)
    g.op(op, g.input("x", x), g.input("b", np.array([[2, -2, 5, 3, 4, -4]], dtype)), out="y")
    try:
        artifact = assert_same(g, ["y"], tmp_path)
    except ModelError as refused:
        assert refused.findings, "refused before the file is written, by node"  # noqa: PT017
    else:
        assert artifact.facts["op_count"] == 1


@pytest.mark.parametrize("op", ["Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal"])
def test_comparison(tmp_path: Path, op: str) -> None:
    g = Graph()
    g.op(op, g.input("x", np.round(normal(3, 4))), g.input("b", np.round(normal(4, seed=1))), out="y")
    assert_same(g, ["y"], tmp_path)


@pytest.mark.parametrize("op", ["And", "Or", "Xor"])
def test_logic(tmp_path: Path, op: str) -> None:
    g = Graph()
    x = g.input("x", normal(3, 4) > 0)
    g.op("Not", g.op(op, x, g.input("b", normal(4, seed=1) > 0)), out="y")
    assert_same(g, ["y"], tmp_path)


@pytest.mark.parametrize(
    ("source", "to"),
    [(a, b) for a in ("float32", "int32", "int64", "bool") for b in ("float32", "int32", "int64", "bool") if a != b],
)
def test_cast(tmp_path: Path, source: str, to: str) -> None:
    import onnx

    g = Graph()
    x = g.input("x", np.array([-2.7, -0.4, 0, 0.6, 1, 3.5], np.float32).astype(source))
    g.op("Cast", x, to=onnx.helper.np_dtype_to_tensor_dtype(np.dtype(to)), out="y")
    assert_same(g, ["y"], tmp_path)


def test_float16_at_the_ends(tmp_path: Path) -> None:
    g = Graph()
    x = g.op("Cast", g.input("x", normal(2, 3).astype(np.float16)), to=1)
    g.op("Cast", g.op("Mul", x, g.const(np.float32(1.1))), to=10, out="y")
    assert_same(g, ["y"], tmp_path)


def test_where_broadcasts(tmp_path: Path) -> None:
    g = Graph()
    g.op("Where", g.input("c", normal(1, 4) > 0), g.input("x", normal(3, 4)), g.const(np.float32(-1)), out="y")
    assert_same(g, ["y"], tmp_path)


@pytest.mark.parametrize("bounds", [(None, 0.5), (-0.5, None), (-0.3, 0.4)], ids=str)
def test_clip(tmp_path: Path, bounds: tuple[float | None, float | None]) -> None:
    g = Graph()
    g.op("Clip", g.input("x", normal(3, 4)), *("" if b is None else g.const(np.float32(b)) for b in bounds), out="y")
    assert_same(g, ["y"], tmp_path)


@pytest.mark.parametrize("exponent", [2.0, 0.5, 3.0, -0.5])
def test_pow_by_a_constant(tmp_path: Path, exponent: float) -> None:
    g = Graph()
    g.op("Pow", g.input("x", np.abs(normal(3, 4)) + 0.1), g.const(np.float32(exponent)), out="y")
    assert_same(g, ["y"], tmp_path)


REDUCTIONS = "ReduceMean ReduceSum ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceSumSquare ReduceLogSumExp"


@pytest.mark.parametrize("op", REDUCTIONS.split())
@pytest.mark.parametrize("axes", [[1], [-1], [2, 3], [0, 2], None], ids=str)
@pytest.mark.parametrize("keepdims", [0, 1])
def test_reduce(tmp_path: Path, op: str, axes: list[int] | None, keepdims: int) -> None:
    g = Graph()
    x = g.op("Conv", g.input("x", normal(2, 3, 4, 5)), g.const(normal(4, 3, 1, 1)))  # stored NHWC
    more = [] if axes is None else [g.const(np.array(axes, np.int64))]
    g.op(op, x, *more, keepdims=keepdims, out="y")
    assert_same(g, ["y"], tmp_path, rtol=1e-4)


@pytest.mark.parametrize("op", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_arg(tmp_path: Path, op: str, axis: int, keepdims: int) -> None:
    g = Graph()
    g.op(op, g.input("x", np.round(normal(3, 4, 5))), axis=axis, keepdims=keepdims, out="y")
    assert_same(g, ["y"], tmp_path)


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("axis", [1, 2, -1])
def test_softmax(tmp_path: Path, op: str, axis: int) -> None:
    g = Graph()
    g.op(op, g.input("x", normal(2, 3, 4, 5) * 30), axis=axis, out="y")
    assert assert_same(g, ["y"], tmp_path).facts["not_on_xnnpack"] == {}


@pytest.mark.parametrize("axis", [-1, 1, 2])
@pytest.mark.parametrize("bias", [True, False])
def test_layer_normalization(tmp_path: Path, axis: int, bias: bool) -> None:
    g = Graph()
    shape = (2, 3, 4, 5)[axis if axis > 0 else 3 :]
    terms = [g.const(normal(*shape, seed=s)) for s in ((1, 2) if bias else (1,))]
    g.op("LayerNormalization", g.input("x", normal(2, 3, 4, 5)), *terms, axis=axis, epsilon=1e-3, out="y")
    assert_same(g, ["y"], tmp_path)


def test_rms_normalization(tmp_path: Path) -> None:
    g = Graph()
    g.op("RMSNormalization", g.input("x", normal(2, 3, 8)), g.const(normal(8, seed=1)), axis=-1, out="y")
    assert_same(g, ["y"], tmp_path)


@pytest.mark.parametrize("shape", [(2, 6, 4, 5), (2, 6, 7)], ids=str)
@pytest.mark.parametrize("op", ["InstanceNormalization", "GroupNormalization", "BatchNormalization"])
@pytest.mark.parametrize("after_conv", [False, True])
def test_channel_normalization(tmp_path: Path, shape: tuple[int, ...], op: str, after_conv: bool) -> None:
    g = Graph()
    x = g.input("x", normal(*shape))
    x = g.op("Conv", x, g.const(normal(6, 6, *(1,) * (len(shape) - 2)))) if after_conv else x
    terms = [g.const(normal(6, seed=s)) for s in (1, 2)]
    if op == "BatchNormalization":
        terms += [g.const(normal(6, seed=3)), g.const(np.abs(normal(6, seed=4)) + 0.1)]
    g.op(op, x, *terms, out="y", **({"num_groups": 3} if op == "GroupNormalization" else {}))
    assert_same(g, ["y"], tmp_path)


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("axis", [1, -1])
def test_lp_normalization(tmp_path: Path, p: int, axis: int) -> None:
    g = Graph()
    g.op("LpNormalization", g.input("x", normal(2, 3, 5)), axis=axis, p=p, out="y")
    assert_same(g, ["y"], tmp_path)


def test_lrn(tmp_path: Path) -> None:
    g = Graph()
    g.op("LRN", g.input("x", normal(1, 8, 4, 4) * 5), size=5, alpha=0.02, beta=0.6, bias=1.5, out="y")
    assert_same(g, ["y"], tmp_path)


@pytest.mark.parametrize("upper", [0, 1])
@pytest.mark.parametrize("k", [None, -1, 2])
def test_trilu(tmp_path: Path, upper: int, k: int | None) -> None:
    g = Graph()
    more = [] if k is None else [g.const(np.int64(k))]
    g.op("Trilu", g.input("x", normal(2, 4, 5)), *more, upper=upper, out="y")
    assert_same(g, ["y"], tmp_path)


def test_an_attribute_that_no_lowering_reads_is_refused(tmp_path: Path) -> None:
    g = Graph()
    g.op("Relu", g.input("x", normal(3)), out="y")
    model = g.model("y")
    import onnx_ir as ir

    next(iter(model.graph)).attributes["slope"] = ir.AttrFloat32("slope", 0.1)
    from edgeport.targets.tflite.target import TFLITE

    findings = TFLITE.check(model, "fp32", None)
    assert [(f.code, f.op, f.node) for f in findings] == [("unsupported-attribute", "Relu", "n0_Relu")]
    assert "slope" in findings[0].message


def test_every_refusal_comes_at_once(tmp_path: Path) -> None:
    g = Graph()
    a = g.op("Det", g.input("x", normal(3, 3, 3, 3)))  # passes write these three in other operators
    g.op("EyeLike", g.op("Einsum", a, equation="ij->ji"), out="y")
    with pytest.raises(ModelError) as caught:
        lower(g, ["y"], tmp_path)
    assert [f.op for f in caught.value.findings] == ["Det", "Einsum", "EyeLike"]
    assert "\n" not in str(caught.value)
