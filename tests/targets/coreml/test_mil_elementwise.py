"""Element-wise operators and activations against ONNX Runtime, in float32 and float16."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from coreml_graphs import Graph, assert_same, normal

from edgeport.errors import ModelError
from edgeport.quantize.plan import Plan
from edgeport.targets.coreml.evaluator.package import open_package
from edgeport.targets.coreml.evaluator.run import Evaluator
from edgeport.targets.coreml.target import COREML

HALF = 2e-3
"""Twice the relative rounding of float16 (2^-10): one of the result and one of what it is computed from."""

# Multiples of 1/16: the same numbers in float16, so that steps are at the same place.
ANY = np.concatenate([np.round(normal(96) * 48) / 16, [0, -0.0, 0.5, 1.5, -0.5, 2.5, 30, -30]]).astype(np.float32)
POSITIVE = np.abs(ANY) + np.float32(0.0625)
UNIT = np.linspace(-1, 1, 33, dtype=np.float32)
ODD = np.array([np.nan, np.inf, -np.inf, 0, 1, -2], np.float32)
GRID = ANY[ANY != 0][:48]
_PLAIN = (
    "Abs Asinh Atan Ceil Erf Floor HardSwish Mish Neg Relu Round Sigmoid Sign Sin Cos Softplus Softsign Swish Tanh "
    "Elu Celu Selu Gelu HardSigmoid LeakyRelu ThresholdedRelu Shrink"
)
UNARY: list[tuple[str, np.ndarray, dict[str, Any]]] = [
    *((op, ANY, {}) for op in _PLAIN.split(" ")),
    *((op, POSITIVE, {}) for op in ("Sqrt", "Log", "Reciprocal")),
    *((op, UNIT, {}) for op in ("Asin", "Acos", "Tan", "Exp", "Sinh", "Cosh")),
    ("Atanh", UNIT[1:-1], {}),
    ("Acosh", POSITIVE + 1, {}),
    ("Log", np.array([0, -1], np.float32), {}),
    ("Asinh", np.array([1e-3, -3e4, 0, -0.0, np.inf], np.float32), {}),
    ("Gelu", ANY, {"approximate": "tanh"}),
    ("Elu", ANY, {"alpha": 1.75}),
    ("Celu", ANY, {"alpha": 0.625}),
    ("Selu", ANY, {"alpha": 1.5, "gamma": 1.25}),
    ("LeakyRelu", ANY, {"alpha": 0.25}),
    ("HardSigmoid", ANY, {"alpha": 1 / 6, "beta": 0.5}),
    ("Swish", ANY, {"alpha": 1.75}),
    ("ThresholdedRelu", ANY, {"alpha": 0.5}),
    ("Shrink", ANY, {"lambd": 0.25, "bias": 0.125}),
    ("IsNaN", ODD, {}),
    ("IsInf", ODD, {}),
    ("IsInf", ODD, {"detect_negative": 0}),
    ("IsInf", ODD, {"detect_positive": 0}),
    ("IsInf", ODD, {"detect_positive": 0, "detect_negative": 0}),
    ("IsInf", np.array([1e5, -1e30, np.inf], np.float32), {}),
]


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 5e-6), ("fp16", HALF)])
def test_of_one_operand(tmp_path: Path, precision: str, tolerance: float) -> None:
    # 5e-6: numpy's and ONNX Runtime's approximations of exp, tanh and erf differ by a few 1e-7 of the result's scale.
    g, outputs = Graph(), []
    for i, (op, x, attributes) in enumerate(UNARY):
        if precision == "fp16" and np.array_equal(x, UNARY[-1][1]):
            continue  # what the interface hands in as float32 and float16 does not hold has a test of its own
        outputs.append(g.op(op, g.input(f"x{i}", x), out=f"y{i}", **attributes))
    kinds = assert_same(g, outputs, tmp_path, tolerance, Plan(precision))
    for whole in ("gelu", "silu", "softplus", "elu", "leaky_relu", "sigmoid_hard"):
        assert kinds[whole] >= 1


@pytest.mark.parametrize("op", ["Softplus", "Mish"])
def test_exponentials_stay_below_one(tmp_path: Path, op: str) -> None:
    # the Neural Engine's softplus overflows above 10.4: it must not be asked for positive numbers
    g = Graph()
    g.op(op, g.input("x", np.array([-60, -9, 0, 11, 30, 6e4], np.float32)), out="y")
    model = g.model("y")
    artifact = COREML.lower(model, Plan("fp16"), tmp_path, "m")
    values = Evaluator(artifact.path).run(g.inputs, keep=None).values
    operations = open_package(artifact.path).interfaces["main"].function.block.operations
    (argument,) = next(o for o in operations if o.kind == "softplus").inputs["x"]
    assert values[str(argument)].max() <= 0
    assert_same(g, ["y"], tmp_path, HALF, Plan("fp16"))


def test_infinity_is_told_from_large_numbers_in_float16(tmp_path: Path) -> None:
    g = Graph()
    g.op("IsInf", g.input("x", np.array([1e5, -1e30, np.inf], np.float32)), out="y")
    assert_same(g, ["y"], tmp_path, plan=Plan("fp16"))


SHAPES = [((2, 3, 4), (2, 3, 4)), ((2, 3, 4), (3, 1)), ((2, 3, 4), ()), ((1, 4), (2, 1, 3, 1, 1)), ((), ())]


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-6), ("fp16", HALF)])
@pytest.mark.parametrize("constant", [True, False])
def test_of_two_operands(tmp_path: Path, precision: str, tolerance: float, constant: bool) -> None:
    g, outputs = Graph(), []
    for i, (a, b) in enumerate(SHAPES):
        x = g.input(f"a{i}", np.asarray(np.round(normal(*a) * 16) / 16, np.float32))
        other = np.asarray(np.round(np.abs(normal(*b, seed=1)) * 16) / 16 + 0.5, np.float32)
        y = g.const(other) if constant else g.input(f"b{i}", other)
        outputs += [g.op(op, x, y) for op in ("Add", "Sub", "Mul", "Div", "Max", "Min", "Equal", "Less", "Greater")]
        outputs += [g.op(op, x, y) for op in ("LessOrEqual", "GreaterOrEqual")]
        outputs += [g.op("Mod", x, y, fmod=1), g.op("Pow", g.op("Abs", x), y)]
        outputs += [g.op(op, x, y, x) for op in ("Sum", "Mean", "Max", "Min")] + [g.op("Mean", x)]
        if np.broadcast_shapes(a, b) == a:
            outputs.append(g.op("PRelu", x, y))
    assert_same(g, outputs, tmp_path, tolerance, Plan(precision))


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 2e-6), ("fp16", HALF)])
def test_powers_of_negative_numbers(tmp_path: Path, precision: str, tolerance: float) -> None:
    g = Graph()
    x, positive = g.input("x", GRID.reshape(4, 12)), g.input("p", np.abs(GRID))
    outputs = [g.op("Pow", x, g.const(np.float32(exponent))) for exponent in (1, 2, 3, 4, 5, -1, 0)]
    outputs += [g.op("Pow", positive, g.const(np.float32(exponent))) for exponent in (0.5, -0.5, 1.7)]
    outputs += [g.op("Pow", x, g.const(np.array([2], np.int64)))]
    kinds = assert_same(g, outputs, tmp_path, tolerance, Plan(precision))
    assert kinds["pow"] == 2


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_power_of_zero_is_one(tmp_path: Path, precision: str) -> None:
    # Core ML's pow gives 0 there: it is the select beside it that is asked for 1
    g = Graph()
    x, by = g.input("x", np.array([2, 0, -3], np.float32)), g.input("by", np.array([0, 0, 2], np.float32))
    outputs = [g.op("Pow", x, by), g.op("Pow", g.const(np.float32(2)), by), g.op("Pow", x, g.const(np.float32(0)))]
    kinds = assert_same(g, outputs, tmp_path, HALF, Plan(precision))
    assert kinds["select"] == kinds["pow"] == 3


def test_remainders(tmp_path: Path) -> None:
    g = Graph()
    x = g.input("x", np.array([7.25, -7.25, 0.5, -0.5, 3], np.float32))
    outputs = [g.op("Mod", x, g.const(np.float32(by)), fmod=1) for by in (1, -1, 2, 0.75)]
    n = g.input("n", np.array([7, -7, 5, 0], np.int32))
    outputs += [g.op("Mod", n, g.const(np.int32(by))) for by in (3, -3)]
    kinds = assert_same(g, outputs, tmp_path)
    assert kinds["mod"] == 2, "of magnitudes only: devices give a negative dividend's remainder C's sign"


@pytest.mark.parametrize(("shape", "slope"), [((2, 3, 4, 5), (3, 1, 1)), ((2, 3, 4), (3, 1)), ((2, 3), (1,))])
def test_slopes(tmp_path: Path, shape: tuple[int, ...], slope: tuple[int, ...]) -> None:
    g = Graph()
    g.op("PRelu", g.input("x", normal(*shape)), g.const(normal(*slope, seed=1)), out="y")
    kinds = assert_same(g, ["y"], tmp_path)
    assert kinds["prelu"] == (len(shape) == 4)
    assert kinds["leaky_relu"] == (slope == (1,))


BOUNDS = [(0.0, 6.0), (0.0, None), (-1.0, 2.0), (None, 1.0), (-0.5, None), (None, None), (2.0, -2.0), (-3.4e38, 5.0)]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_bounds(tmp_path: Path, precision: str) -> None:
    g, x, outputs = Graph(), ANY, []
    value = g.input("x", x)
    for low, high in BOUNDS:
        limits = ["" if limit is None else g.const(np.float32(limit)) for limit in (low, high)]
        outputs.append(g.op("Clip", value, *limits))
    outputs.append(g.op("Clip", value, g.input("low", np.array(-0.5, np.float32)), g.const(np.float32(1))))
    wide = g.input("w", np.array([-7, 2, 2**31 - 1], np.int64))
    outputs.append(g.op("Clip", wide, g.const(np.int64(0)), g.const(np.int64(2**63 - 1))))
    whole = g.input("n", np.arange(-5, 6, dtype=np.int32))
    outputs += [g.op("Clip", whole, g.const(np.int32(-2)), g.const(np.int32(3))), g.op("Clip", whole)]
    kinds = assert_same(g, outputs, tmp_path, 0, Plan(precision))
    assert kinds["relu6"] == 1
    assert kinds["relu"] == 1
    assert kinds["cast"] == (0 if precision == "fp32" else 2 + len(BOUNDS) + 1), "only the ends are float32"


def test_a_bound_that_float16_does_not_hold(tmp_path: Path) -> None:
    g = Graph()
    g.op("Clip", g.input("x", ANY), g.const(np.float32(1e5)), out="y")
    assert_same(g, ["y"], tmp_path, 0, Plan("fp16"))


def test_choice(tmp_path: Path) -> None:
    g, rng = Graph(), np.random.default_rng(0)
    cond = g.input("c", rng.random((2, 3, 4)) > 0.5)
    x, small = g.input("x", normal(2, 3, 4)), g.input("s", normal(3, 1))
    n = g.input("n", np.arange(4, dtype=np.int64))
    fixed = g.const(rng.random((3, 4)) > 0.5)
    none, zero = g.const(np.float32(-np.inf)), g.const(np.float32(0))
    outputs = [g.op("Where", cond, x, small), g.op("Where", cond, zero, none), g.op("Where", cond, none, small)]
    outputs += [
        g.op("Where", fixed, x, none),
        g.op("Where", fixed, zero, g.op("Sum", small)),
        g.op("Where", cond, n, n),
    ]
    outputs += [g.op("Where", cond, g.input("a", normal(1)), g.input("b", normal(4)))]
    kinds = assert_same(g, outputs, tmp_path)
    assert kinds["fill_like"] == 2, "one number is not stored as often as the result has elements"


@pytest.mark.parametrize("op", ["And", "Or", "Xor", "Equal"])
def test_truth(tmp_path: Path, op: str) -> None:
    g = Graph()
    a, b = (np.random.default_rng(i).random(shape) > 0.5 for i, shape in enumerate([(2, 1, 4), (3, 1)]))
    g.op("Not", g.op(op, g.input("a", a), g.input("b", b)), out="y")
    assert_same(g, ["y"], tmp_path)


def test_conversions(tmp_path: Path) -> None:
    g = Graph()
    types = onnx.TensorProto
    floats = g.input("f", np.array([-2.7, -0.5, 0, 0.3, 1.5, 126.9], np.float32))
    whole = g.input("n", np.array([-32769, -300, -129, -1, 0, 128, 300, 70000], np.int32))
    outputs = [g.op("Cast", floats, to=to) for to in (types.INT32, types.INT64, types.BOOL, types.INT8, types.FLOAT)]
    narrow = (types.INT8, types.UINT8, types.INT16, types.UINT16, types.INT64, types.BOOL, types.FLOAT)
    outputs += [g.op("Cast", whole, to=to) for to in narrow]
    outputs += [g.op("Cast", outputs[2], to=to) for to in (types.FLOAT, types.UINT8)]
    kinds = assert_same(g, outputs, tmp_path)
    assert kinds["floor_div"] == 5, "only what may leave the narrow range is wrapped"


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.int64])
def test_integers(tmp_path: Path, dtype: type) -> None:
    # ONNX Runtime has no kernels for most narrow integers; numpy's arithmetic of that dtype is ONNX's.
    limits, signed = np.iinfo(dtype), np.dtype(dtype).kind == "i"
    narrow = np.dtype(dtype).itemsize < 4
    a = (
        np.array([limits.min, limits.max, 7, 5, 0, 100, limits.max], dtype)
        if narrow
        else np.array([-7, 7, 5, 0, 9, -9, 3])
    )
    b = np.array([3, limits.max, 2, 5, 4, 77, 2], dtype) if narrow else np.array([2, -2, 5, 3, 4, -4, -4])
    a, b = a.astype(dtype), b.astype(dtype)
    g = Graph()
    x, y = g.input("a", a), g.input("b", b)
    with np.errstate(over="ignore"):
        wanted = {"Add": a + b, "Sub": a - b, "Mul": a * b, "Mod": a % b, "Max": np.maximum(a, b), "Less": a < b}
        wanted["Div"] = np.trunc(a.astype(np.float64) / b.astype(np.float64)).astype(dtype)
        wanted |= {"BitwiseAnd": a & b, "BitwiseOr": a | b, "BitwiseXor": a ^ b}
        if signed:
            wanted |= {"Neg": -a, "Abs": np.abs(a), "Sign": np.sign(a)}
    wanted["BitwiseNot"] = ~a
    for op, _ in wanted.items():
        g.op(op, *((x,) if op in ("Neg", "Abs", "Sign", "BitwiseNot") else (x, y)), out=op)
    wanted["fmod"] = np.fmod(a, b)
    g.op("Mod", x, y, fmod=1, out="fmod")
    _assert_equal(g, wanted, tmp_path)


def test_shifts(tmp_path: Path) -> None:
    g = Graph()
    x, by = np.array([1, 5, 200, 255], np.uint8), np.array([7, 2, 1, 3], np.uint8)
    for direction, wanted in (("LEFT", x << by), ("RIGHT", x >> by)):
        g = Graph()
        g.op("BitShift", g.input("x", x), g.input("by", by), direction=direction, out="y")
        _assert_equal(g, {"y": wanted}, tmp_path)


def test_powers_of_integers(tmp_path: Path) -> None:
    g = Graph()
    x = g.input("x", np.array([2, -3, 1, -1, 5, -2], np.int32))
    outputs = [g.op("Pow", x, g.input("n", np.array([10, 3, -4, -3, -1, 0], np.int32)))]
    outputs += [g.op("Pow", x, g.const(np.int32(exponent))) for exponent in (2, 3, 5)]
    outputs += [g.op("Pow", x, g.const(np.float32(3))), g.op("Pow", g.op("Abs", x), g.const(np.float32(0.5)))]
    assert_same(g, outputs, tmp_path)


@pytest.mark.parametrize(
    ("op", "dtype", "attributes", "message"),
    [
        ("Sub", np.uint32, {}, "a difference of uint32 can be a number beyond int32"),
        ("BitShift", np.uint64, {"direction": "LEFT"}, "a shift of uint64"),
    ],
)
def test_what_int32_does_not_hold(
    tmp_path: Path, op: str, dtype: type, attributes: dict[str, str], message: str
) -> None:
    g = Graph()
    g.op(op, g.input("a", np.array([1], dtype)), g.input("b", np.array([2], dtype)), out="y", **attributes)
    with pytest.raises(ModelError, match=message):
        COREML.lower(g.model("y"), Plan("fp32"), tmp_path, "m")


def _assert_equal(graph: Graph, wanted: dict[str, np.ndarray], tmp_path: Path) -> None:
    model = graph.model(*wanted)
    got = COREML.runner(COREML.lower(model, Plan("fp32"), tmp_path, "m"), model).run(graph.inputs)
    for name, array in wanted.items():
        np.testing.assert_array_equal(got[name], array, err_msg=name)
        assert got[name].dtype == array.dtype
