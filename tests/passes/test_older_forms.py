"""Newer operators written in older ones: the same numbers as the operator itself."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edgeport.passes.pipeline import rewritten

RANDOM = np.random.default_rng(3)


def floats(*shape: int, spread: float = 2.0) -> np.ndarray:
    return (RANDOM.standard_normal(shape) * spread).astype(np.float32)


def ints(*shape: int, low: int = -9, high: int = 10, dtype: Any = np.int64) -> np.ndarray:
    return RANDOM.integers(low, high, shape).astype(dtype)


def one_node(
    op_type: str, feeds: Sequence[Any], constants: Mapping[int, Any], outputs: int, attributes: Mapping[str, Any]
) -> tuple[ir.Model, dict[str, np.ndarray]]:
    """A model of opset 24 that is one node; `constants` by input position, everything else is fed in order."""
    total = len(feeds) + len(constants)
    names = [f"c{i}" if i in constants else f"x{i}" for i in range(total)]
    given = dict(zip([n for n in names if n[0] == "x"], map(np.asarray, feeds), strict=True))
    node = helper.make_node(op_type, names, [f"y{i}" for i in range(outputs)], **attributes)
    ends = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for n, a in given.items()
    ]
    weights = [numpy_helper.from_array(np.asarray(array), f"c{i}") for i, array in constants.items()]
    graph = helper.make_graph([node], "g", ends, [onnx.ValueInfoProto(name=n) for n in node.output], weights)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 24)], ir_version=11)
    return ir.serde.deserialize_model(onnx.shape_inference.infer_shapes(proto)), given


def run(model: ir.Model, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """In ONNX Runtime, operators that it has not in ONNX's own evaluator."""
    proto = ir.serde.serialize_model(model)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception:  # ONNX Runtime's exceptions share no root
        return [np.asarray(a) for a in ReferenceEvaluator(proto).run(None, dict(feeds))]
    return [np.asarray(a) for a in session.run(None, dict(feeds))]


Case = tuple[str, str, list[Any], dict[int, Any], dict[str, Any]]
SPECIAL = np.asarray([np.nan, np.inf, -np.inf, 0, -0.5, 3], np.float32)
HALVES = np.asarray([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 0.49999997, -0.2, 7, 1e9, -1e9, 8388607.5], np.float32)
SIGNS = np.asarray([7, -7, 7, -7, 0, 6], np.int32), np.asarray([3, 3, -3, -3, 5, -3], np.int32)

CASES: list[Case] = [
    ("expand_gelu", "Gelu", [floats(3, 5)], {}, {}),
    ("expand_gelu", "Gelu", [floats(3, 5)], {}, {"approximate": "tanh"}),
    ("expand_swish", "Swish", [floats(3, 5)], {}, {}),
    ("expand_swish", "Swish", [floats(3, 5)], {}, {"alpha": 1.702}),
    ("expand_hard_swish", "HardSwish", [floats(3, 5, spread=4)], {}, {}),
    ("expand_mish", "Mish", [floats(3, 5)], {}, {}),
    ("expand_layer_norm", "LayerNormalization", [floats(2, 3, 8) + 50], {1: floats(8), 2: floats(8)}, {}),
    ("expand_layer_norm", "LayerNormalization", [floats(2, 3, 4)], {1: floats(3, 4)}, {"axis": 1, "epsilon": 0.1}),
    ("expand_rms_norm", "RMSNormalization", [floats(2, 3, 8)], {1: floats(8)}, {}),
    ("expand_rms_norm", "RMSNormalization", [floats(2, 3, 4)], {1: floats(3, 4)}, {"axis": -2, "epsilon": 0.1}),
    ("expand_group_norm", "GroupNormalization", [floats(2, 6, 4, 3)], {1: floats(6), 2: floats(6)}, {"num_groups": 2}),
    ("expand_group_norm", "GroupNormalization", [floats(2, 4, 5), floats(4), floats(4)], {}, {"num_groups": 4}),
    ("spell_out_attention", "Attention", [floats(2, 3, 4, 8), floats(2, 3, 5, 8), floats(2, 3, 5, 8)], {}, {}),
    ("spell_out_attention", "Attention", [floats(1, 2, 4, 8) for _ in range(3)], {}, {"is_causal": 1, "scale": 0.3}),
    ("spell_out_attention", "Attention", [floats(1, 4, 3, 8), floats(1, 2, 3, 8), floats(1, 2, 3, 8)], {}, {}),
    ("expand_reciprocal", "Reciprocal", [floats(7)], {}, {}),
    ("expand_celu", "Celu", [floats(9)], {}, {"alpha": 0.7}),
    ("expand_shrink", "Shrink", [floats(9)], {}, {"lambd": 1.2, "bias": 0.4}),
    ("expand_round", "Round", [HALVES], {}, {}),
    ("expand_sign", "Sign", [np.asarray([-3, 0, 4], np.float32)], {}, {}),
    ("expand_sign", "Sign", [np.asarray([-3, 0, 4], np.int32)], {}, {}),
    ("expand_is_nan", "IsNaN", [SPECIAL], {}, {}),
    ("expand_is_inf", "IsInf", [SPECIAL], {}, {}),
    ("expand_is_inf", "IsInf", [SPECIAL], {}, {"detect_positive": 0}),
    ("expand_is_inf", "IsInf", [SPECIAL], {}, {"detect_negative": 0}),
    ("expand_mod", "Mod", [*SIGNS], {}, {}),
    ("expand_mod", "Mod", [*SIGNS], {}, {"fmod": 1}),
    ("expand_mod", "Mod", [floats(40), np.asarray(0.7, np.float32)], {}, {"fmod": 1}),
    ("expand_mod", "Mod", [floats(40), floats(40)], {}, {"fmod": 1}),
    ("expand_hardmax", "Hardmax", [np.asarray([[1, 3, 3, 2], [0, 0, 0, 0]], np.float32)], {}, {}),
    ("expand_hardmax", "Hardmax", [floats(3, 4, 2)], {}, {"axis": 1}),
    ("expand_one_hot", "OneHot", [np.asarray([0, -1, 4, 2])], {1: 5, 2: np.asarray([-1.0, 3.0], np.float32)}, {}),
    ("expand_one_hot", "OneHot", [np.asarray([[1, -2]])], {1: [3], 2: np.asarray([0, 1])}, {"axis": 1}),
    ("expand_trilu", "Trilu", [floats(2, 4, 5)], {}, {}),
    ("expand_trilu", "Trilu", [floats(4, 5)], {1: 1}, {"upper": 0}),
    ("expand_trilu", "Trilu", [ints(3, 4), np.asarray(-1)], {}, {}),
    ("expand_integer_cum_sum", "CumSum", [ints(2, 5, 3)], {1: 1}, {}),
    ("expand_integer_cum_sum", "CumSum", [ints(2, 5)], {1: -1}, {"exclusive": 1, "reverse": 1}),
    ("expand_integer_pow", "Pow", [ints(6)], {1: 3}, {}),
    ("expand_tensor_scatter", "TensorScatter", [floats(2, 3, 6, 4), floats(2, 3, 2, 4), np.asarray([1, 4])], {}, {}),
    (
        "expand_tensor_scatter",
        "TensorScatter",
        [floats(2, 6, 4), floats(2, 3, 4), np.asarray([5, 0])],
        {},
        {"mode": "circular"},
    ),
    ("gather_pads", "Pad", [floats(2, 5, 4)], {1: [0, 2, 1, 0, 0, 3]}, {"mode": "reflect"}),
    ("gather_pads", "Pad", [floats(2, 5)], {1: [1, -2, 3, 4]}, {"mode": "edge"}),
    ("gather_wrapped_pads", "Pad", [floats(3, 4)], {1: [2, 5, 1, 0]}, {"mode": "wrap"}),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[1]}-{'-'.join(map(str, case[4].values()))}")
def test_older_form_computes_the_same(case: Case) -> None:
    name, op_type, feeds, constants, attributes = case
    model, given = one_node(op_type, feeds, constants, 1, attributes)
    older = rewritten(model, [name])
    assert op_type not in {node.op_type for node in older.graph}
    assert [value.name for value in older.graph.outputs] == ["y0"]
    want, got = run(model, given)[0], run(older, given)[0]
    assert (got.dtype, got.shape) == (want.dtype, want.shape)
    if want.dtype.kind == "f":
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-6)  # float32: other order of sums of up to 60 terms
    else:
        np.testing.assert_array_equal(got, want)


def test_statistics_of_a_layer_normalization() -> None:
    model, given = one_node("LayerNormalization", [floats(2, 3, 8)], {1: floats(8), 2: floats(8)}, 3, {"axis": -1})
    older = rewritten(model, ["expand_layer_norm_statistics"])
    assert "LayerNormalization" not in {node.op_type for node in older.graph}
    for got, want in zip(run(older, given), run(model, given), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)  # float32 rounding
    plain, _ = one_node("LayerNormalization", [floats(2, 3, 8)], {1: floats(8), 2: floats(8)}, 1, {})
    assert [n.op_type for n in rewritten(plain, ["expand_layer_norm_statistics"]).graph] == ["LayerNormalization"]


@pytest.mark.parametrize("masked", ["bool", "float", "causal"])
def test_attention_with_a_row_without_keys(masked: str) -> None:
    """ONNX gives zeros there."""
    mask = np.ones((4, 5), bool)
    mask[1] = False
    mask[2, 3:] = False
    feeds = [floats(1, 2, 4, 8), floats(1, 2, 5, 8), floats(1, 2, 5, 8)]
    feeds.append(np.where(mask, 0, -np.inf).astype(np.float32) if masked == "float" else mask)
    model, given = one_node("Attention", feeds, {}, 1, {"is_causal": int(masked == "causal")})
    older = rewritten(model, ["spell_out_attention"])
    assert "Attention" not in {node.op_type for node in older.graph}
    got, want = run(older, given)[0], ReferenceEvaluator(ir.serde.serialize_model(model)).run(None, given)[0]
    rows = [0, 2, 3]
    np.testing.assert_allclose(got[:, :, rows], want[:, :, rows], rtol=1e-5, atol=1e-6)  # float32 rounding
    assert (got[:, :, 1] == 0).all()


SMALL = ("Add", "Sub", "Mul", "Div", "Max", "Less", "Equal", "Mod")


@pytest.mark.parametrize(("op_type", "dtype"), list(itertools.product(SMALL, ["int8", "uint8"])))
def test_small_integers_wrap_as_they_did(op_type: str, dtype: str) -> None:
    low, high = (-100, 100) if dtype == "int8" else (1, 255)
    a, b = ints(50, low=low, high=high, dtype=dtype), ints(50, low=1, high=high, dtype=dtype)
    model, given = one_node(op_type, [a, b], {}, 1, {})
    wide = rewritten(model, ["widen_integers"])
    (node,) = [node for node in wide.graph if node.op_type == op_type]
    assert all(value is not None and value.dtype == ir.DataType.INT32 for value in node.inputs)
    want = {"Add": a + b, "Sub": a - b, "Mul": a * b}.get(op_type)
    np.testing.assert_array_equal(run(wide, given)[0], run(model, given)[0] if want is None else want)


BITS = [
    *itertools.product(["BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot"], ["int8", "uint8", "int16", "int32"]),
    *itertools.product(["BitShift LEFT", "BitShift RIGHT"], ["uint8", "uint16"]),
]


@pytest.mark.parametrize(("op_type", "dtype"), BITS)
def test_bits(op_type: str, dtype: str) -> None:
    kind, _, direction = op_type.partition(" ")
    limits = np.iinfo(dtype)
    a, b = (RANDOM.integers(limits.min, limits.max, (4, 50), np.int64, True).astype(dtype) for _ in range(2))
    a[0, :3] = limits.min, limits.max, 0
    feeds = [a] if kind == "BitwiseNot" else [a, b % 8 if direction else b]
    model, given = one_node(kind, feeds, {}, 1, {"direction": direction} if direction else {})
    older = rewritten(model, ["expand_bitwise"])
    assert kind not in {node.op_type for node in older.graph}
    functions = {"BitwiseAnd": np.bitwise_and, "BitwiseOr": np.bitwise_or, "BitwiseXor": np.bitwise_xor}
    functions |= {"BitwiseNot": np.invert, "BitShift LEFT": np.left_shift, "BitShift RIGHT": np.right_shift}
    np.testing.assert_array_equal(run(older, given)[0], functions[op_type](*feeds))


SCATTERS = list(itertools.product(["add", "mul", "max", "min"], ["float32", "int64"]))


@pytest.mark.parametrize(("reduction", "dtype"), SCATTERS)
def test_scatters_that_combine(reduction: str, dtype: str) -> None:
    """Several updates of one element among them, and indices from the end."""
    data, updates = (ints(4, 5, dtype=dtype), ints(3, 5, dtype=dtype))
    rows = np.asarray([[0, -1, 2, 2, 1], [0, 3, 2, 1, 1], [-4, 1, 0, -2, 1]])
    model, given = one_node("ScatterElements", [data, rows, updates], {}, 1, {"reduction": reduction, "axis": 0})
    older = rewritten(model, ["expand_scatter_reduction"])
    assert "ScatterElements" not in {node.op_type for node in older.graph}
    np.testing.assert_array_equal(run(older, given)[0], run(model, given)[0])  # whole numbers are exact
    for pairs in (np.asarray([[0, 2], [3, -1], [0, 2]]), np.asarray([[1], [-3], [1]])):
        new = updates[:, 0] if pairs.shape[1] == 2 else updates
        model, given = one_node("ScatterND", [data, pairs, new], {}, 1, {"reduction": reduction})
        older = rewritten(model, ["expand_scatter_reduction"])
        assert "ScatterND" not in {node.op_type for node in older.graph}
        np.testing.assert_array_equal(run(older, given)[0], run(model, given)[0])


def test_integers_of_quantization_stay() -> None:
    text = """<ir_version: 10, opset_import: ["" : 24]> g (float[2, 4] x) => (float[4, 2] y)
    <float s = {0.1}, int8 z = {0}> {
        q = QuantizeLinear (x, s, z)
        t = Transpose <perm = [1, 0]> (q)
        y = DequantizeLinear (t, s, z)
    }"""
    model = ir.from_proto(onnx.shape_inference.infer_shapes(onnx.parser.parse_model(text)))
    kept = [node.op_type for node in rewritten(model, ["widen_integers"]).graph]
    assert kept == ["QuantizeLinear", "Transpose", "DequantizeLinear"]


BOOLEANS: list[tuple[str, dict[int, Any], dict[str, Any]]] = [
    ("ReduceMax", {1: [1]}, {"keepdims": 0}),
    ("Gather", {1: [3, 0]}, {"axis": 0}),
    ("Equal", {1: np.asarray([True, False, True, False, True])}, {}),
    ("Pad", {1: [1, 0, 0, 2]}, {}),
    ("ScatterElements", {1: [[2]], 2: np.asarray([[True]])}, {"axis": 1}),
]


@pytest.mark.parametrize(("op_type", "constants", "attributes"), BOOLEANS, ids=str)
def test_booleans_are_moved_as_numbers(op_type: str, constants: dict[int, Any], attributes: dict[str, Any]) -> None:
    model, given = one_node(op_type, [RANDOM.random((4, 5)) < 0.3], constants, 1, attributes)
    wide = rewritten(model, ["widen_integers"])
    (node,) = [node for node in wide.graph if node.op_type == op_type]
    assert all(value is None or value.dtype != ir.DataType.BOOL for value in node.inputs)
    assert (node.outputs[0].dtype == ir.DataType.BOOL) == (op_type == "Equal")
    np.testing.assert_array_equal(run(wide, given)[0], run(model, given)[0])


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize(("index", "given"), [(2, np.asarray([2, 0.5], np.float32)), (3, np.asarray([7, 3]))])
def test_resize_of_some_axes(mode: str, index: int, given: np.ndarray) -> None:
    empty = {1: np.zeros(0, np.float32), **({2: np.zeros(0, np.float32)} if index == 3 else {})}
    model, feeds = one_node("Resize", [floats(1, 2, 4, 6)], {**empty, index: given}, 1, {"mode": mode, "axes": [3, 2]})
    node = model.graph[0]
    for position in empty:
        node.replace_input_with(position, None)
    want = run(model, feeds)[0]
    older = rewritten(model, ["resize_all_axes"])
    assert "axes" not in older.graph[0].attributes
    np.testing.assert_allclose(run(older, feeds)[0], want, rtol=1e-6, atol=1e-6)  # the same kernel


SHAPES = ((2, 3, 5, 4), (1, 2, 3, 4, 5), (1, 1, 1, 3))
SAMPLES = [
    (mode, padding, corners, shape)
    for mode, padding, corners, shape in itertools.product(
        ["nearest", "linear", "cubic"], ["zeros", "border", "reflection"], [0, 1], SHAPES
    )
    if mode != "cubic" or len(shape) == 4  # ONNX has no cubic samples of volumes
]


@pytest.mark.parametrize(("mode", "padding", "corners", "shape"), SAMPLES)
def test_grid_sample(mode: str, padding: str, corners: int, shape: tuple[int, ...]) -> None:
    n = len(shape) - 2
    grid = RANDOM.uniform(-2.5, 2.5, (shape[0], *(4,) * n, n)).astype(np.float32)
    attributes = {"mode": mode, "padding_mode": padding, "align_corners": corners}
    model, given = one_node("GridSample", [floats(*shape), grid], {}, 1, attributes)
    older = rewritten(model, ["expand_grid_sample"])
    assert "GridSample" not in {node.op_type for node in older.graph}
    # coordinates of up to 10 elements in float32, times differences of neighbours of up to 10
    np.testing.assert_allclose(run(older, given)[0], run(model, given)[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("keys", [2, 4])
def test_nothing_stands_within_a_spelled_attention(keys: int) -> None:
    """Fused attention kernels take the two products and what lies between: masks yes, a second factor no."""
    mask = RANDOM.random((1, 1, 3, 5)) < 0.6
    feeds = [floats(1, 4, 3, 8), floats(1, keys, 5, 8), floats(1, keys, 5, 8), mask]
    model, given = one_node("Attention", feeds, {}, 1, {})
    older = rewritten(model, ["spell_out_attention"])
    (softmax,) = [node for node in older.graph if node.op_type == "Softmax"]
    following = [user.node.op_type for user in softmax.outputs[0].uses()]
    assert following == ["MatMul" if keys == 4 else "Reshape"]
    want = ReferenceEvaluator(ir.serde.serialize_model(model)).run(None, given)[0]
    np.testing.assert_allclose(run(older, given)[0], np.nan_to_num(want), rtol=1e-5, atol=1e-6)  # float32 rounding
