"""What a board's parser lacks is written in what it has: the same numbers, the same names, nothing to object to."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from test_trt_opset import run

from edgeport.passes import canonicalize
from edgeport.targets.opset.lower import lower_opset
from edgeport.targets.tensorrt.board import Board
from edgeport.targets.tensorrt.forms import in_own_forms
from edgeport.targets.tensorrt.limits import objections
from edgeport.targets.tensorrt.version import Version

BOARDS = {
    "8.0": Board(oldest=Version(8, 0, 1), opset=13),
    "8.4": Board(oldest=Version(8, 4, 1), opset=17),
    "8.6": Board(),
    "10.3": Board(oldest=Version(10, 3), opset=19, dialect="trt10"),
    "10.13": Board(oldest=Version(10, 13), opset=21, dialect="trt10"),
    "11.2": Board(oldest=Version(11, 2), opset=24, dialect="trt10"),
}
RANDOM = np.random.default_rng(5)


def constants(**shapes: tuple[int, ...]) -> str:
    """Random float constants as ONNX text."""
    texts = []
    for name, shape in shapes.items():
        numbers = ", ".join(f"{v:.4f}" for v in RANDOM.standard_normal(int(np.prod(shape))))
        texts.append(f"float[{', '.join(map(str, shape))}] {name} = {{{numbers}}}")
    return ", ".join(texts)


def parsed(ends: str, given: str, body: str) -> ir.Model:
    """The canonical graph of a model in ONNX text."""
    text = f'<ir_version: 11, opset_import: ["" : 24]> g {ends} <{given}> {{ {body} }}'
    return canonicalize(ir.from_proto(onnx.parser.parse_model(text)))


def names(model: ir.Model) -> set[str]:
    return {value.name or "" for node in model.graph for value in node.outputs} - {""}


TRANSFORMER = (
    "(float[1, 5, 8] x, bool[5, 5] seen) => (float[1, 5, 8] y, float[1, 5, 8] normal)",
    constants(g=(8,), b=(8,), w=(8, 24), u=(8, 16), v=(16, 8), r=(8,))
    + ", int64[4] heads = {1, 5, 2, 4}, int64[3] flat = {1, 5, 8}, int64[3] thirds = {8, 8, 8}",
    """n = LayerNormalization <axis = -1> (x, g, b)
    qkv = MatMul (n, w)
    q0, k0, v0 = Split <axis = 2> (qkv, thirds)
    q1 = Reshape (q0, heads) q = Transpose <perm = [0, 2, 1, 3]> (q1)
    k1 = Reshape (k0, heads) k = Transpose <perm = [0, 2, 1, 3]> (k1)
    v1 = Reshape (v0, heads) v2 = Transpose <perm = [0, 2, 1, 3]> (v1)
    a = Attention (q, k, v2, seen)
    a1 = Transpose <perm = [0, 2, 1, 3]> (a)
    a2 = Reshape (a1, flat)
    h = Add (x, a2)
    normal = RMSNormalization <axis = -1> (h, r)
    up = MatMul (normal, u)
    act = Gelu <approximate = "tanh"> (up)
    down = MatMul (act, v)
    gate = Swish <alpha = 1.5> (down)
    y = Add (h, gate)""",
)
CONVOLUTIONS = (
    "(float[1, 3, 12, 12] x) => (float[1, 6, 3, 3] y, float[1, 6, 8, 9] z, float[1, 6, 6, 6] l)",
    constants(w=(6, 3, 3, 3), g=(6,), b=(6,)) + ", int64[4] sizes = {1, 6, 8, 9}, int64[4] p = {1, 1, 1, 1}, "
    "int64[2] hw = {2, 3}, float none = {0.0}",
    """c = Conv <pads = [1, 1, 1, 1]> (x, w)
    n = GroupNormalization <num_groups = 3> (c, g, b)
    h = HardSwish (n)
    m = MaxPool <kernel_shape = [3, 3], strides = [2, 2], ceil_mode = 1> (h)
    l = Mish (m)
    e = Pad <mode = "edge"> (l, p, none, hw)
    a = AveragePool <kernel_shape = [2, 2], dilations = [2, 2], strides = [2, 2]> (e)
    y = Reciprocal (a)
    z = Resize <mode = "cubic", antialias = 1> (l, , , sizes)""",
)
MODELS = {"transformer": TRANSFORMER, "convolutions": CONVOLUTIONS}


@pytest.mark.parametrize("board", BOARDS)
@pytest.mark.parametrize("name", MODELS)
def test_numbers_and_names_stay(name: str, board: str) -> None:
    model, chosen = parsed(*MODELS[name]), BOARDS[board]
    before = ir.to_proto(model).SerializeToString()
    formed = in_own_forms(model, chosen)
    assert ir.to_proto(model).SerializeToString() == before
    lowered = lower_opset(formed, chosen.opset)
    proto = ir.to_proto(lowered)
    onnx.checker.check_model(proto, full_check=True)
    assert objections(lowered, chosen) == []
    assert names(model) <= names(lowered)
    feeds = {
        str(value.name): RANDOM.standard_normal([int(d) for d in value.shape or ()]).astype(np.float32)
        if value.dtype == ir.DataType.FLOAT
        else np.tri(5, dtype=bool)
        for value in model.graph.inputs
    }
    for got, want in zip(run(lowered, feeds), run(model, feeds), strict=True):
        np.testing.assert_allclose(got, want, rtol=2e-4, atol=2e-5)  # float32; Reciprocal enlarges what pools round
    again = lower_opset(in_own_forms(model, chosen), chosen.opset)
    assert ir.to_proto(again).SerializeToString() == proto.SerializeToString()


def test_what_a_parser_has_stays_whole() -> None:
    kinds = {node.op_type for node in in_own_forms(parsed(*TRANSFORMER), BOARDS["11.2"]).graph}
    assert {"Attention", "LayerNormalization", "RMSNormalization", "Gelu", "Swish"} <= kinds
    kinds = {node.op_type for node in in_own_forms(parsed(*TRANSFORMER), BOARDS["8.6"]).graph}
    assert "LayerNormalization" in kinds
    assert not {"Attention", "RMSNormalization", "Gelu", "Swish"} & kinds


@pytest.mark.parametrize("board", ["8.4", "8.6", "10.13"])
def test_quantization_stays_as_it_is(board: str) -> None:
    chosen = BOARDS[board]
    text = f"""<ir_version: 11, opset_import: ["" : 24]> g (float[2, 4] x) => (float[2, 4] y)
    <{constants(w=(4, 4), g=(4,))}, float s = {{0.03}}, int8 z = {{0}}, float[4] t = {{0.01, 0.02, 0.03, 0.02}},
     int8[4] o = {{0, 0, 0, 0}}, int8[4, 4] k = {{1, 2, 3, 4, 5, 6, 7, 8, -1, -2, -3, -4, -5, -6, -7, -8}}> {{
        n = RMSNormalization (x, g)
        q = QuantizeLinear (n, s, z) d = DequantizeLinear (q, s, z)
        p = QuantizeLinear <axis = 1> (w, t, o) v = DequantizeLinear <axis = 1> (p, t, o)
        m = MatMul (d, v)
        a = Gelu (m)
        r = QuantizeLinear (a, s, z) f = DequantizeLinear (r, s, z)
        u = DequantizeLinear <axis = 1> (k, t, o)
        y = MatMul (f, u)
    }}"""
    model = ir.from_proto(onnx.shape_inference.infer_shapes(onnx.parser.parse_model(text)))
    formed = in_own_forms(model, chosen)
    lowered = lower_opset(formed, chosen.opset)
    onnx.checker.check_model(ir.to_proto(lowered), full_check=True)

    def quantization(graph: ir.Graph) -> list[tuple[str, list[str | None], str | None]]:
        chosen = [node for node in graph if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
        return [(node.op_type, [v.name for v in node.inputs if v], node.outputs[0].name) for node in chosen]

    assert quantization(lowered.graph) == quantization(model.graph)
    feeds = {"x": RANDOM.standard_normal((2, 4)).astype(np.float32)}
    got, want = run(lowered, feeds)[0], run(model, feeds)[0]
    # a rounding difference may turn one activation over to the next step of 0.03 (times weights below 0.24)
    np.testing.assert_allclose(got, want, atol=0.02)


@pytest.mark.parametrize("board", ["8.0", "8.6"])
def test_forms_inside_of_loops(board: str) -> None:
    """The count is fed, so the loop stays one."""
    text = f"""<ir_version: 11, opset_import: ["" : 24]> g (float[2, 4] x, int64 n) => (float[2, 4] y)
    <{constants(g=(4,), b=(4,))}> {{
        y = Loop (n, , x) <body = step (int64 i, bool c, float[2, 4] s) => (bool d, float[2, 4] t) {{
            d = Identity (c)
            l = LayerNormalization <axis = -1> (s, g, b)
            a = Gelu (l)
            h = HardSwish (a)
            t = Trilu (h)
        }}>
    }}"""
    model = canonicalize(ir.from_proto(onnx.parser.parse_model(text)))
    chosen = BOARDS[board]
    lowered = lower_opset(in_own_forms(model, chosen), chosen.opset)
    onnx.checker.check_model(ir.to_proto(lowered), full_check=True)
    assert objections(lowered, chosen) == []
    feeds = {"x": RANDOM.standard_normal((2, 4)).astype(np.float32), "n": np.asarray(3)}
    # float32, three rounds
    np.testing.assert_allclose(run(lowered, feeds)[0], run(model, feeds)[0], rtol=1e-5, atol=1e-6)


RECURRENT = {
    "coupled gates": ("LSTM", "input_forget = 1", 4, 1),
    "another activation": (
        "GRU",
        'direction = "bidirectional", activations = ["Sigmoid", "Tanh", "Sigmoid", "Relu"]',
        3,
        2,
    ),
    "plain": ("LSTM", 'direction = "forward"', 4, 1),
}


@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_forms(name: str) -> None:
    """What TensorRT has no layer for is written out, the rest stays."""
    op_type, attributes, gates, directions = RECURRENT[name]
    weights = constants(w=(directions, gates * 3, 4), r=(directions, gates * 3, 3))
    body = f"y = {op_type} <hidden_size = 3, {attributes}> (x, w, r)"
    model = parsed(f"(float[5, 2, 4] x) => (float[5, {directions}, 2, 3] y)", weights, body)
    lowered = lower_opset(in_own_forms(model, BOARDS["8.6"]), 17)
    assert (op_type in {node.op_type for node in lowered.graph}) == (name == "plain")
    assert objections(lowered, BOARDS["8.6"]) == []
    feeds = {"x": RANDOM.standard_normal((5, 2, 4)).astype(np.float32)}
    # float32 sums over 5 steps in another order
    np.testing.assert_allclose(run(lowered, feeds)[0], run(model, feeds)[0], rtol=1e-5, atol=1e-6)


def test_whole_numbers_stay_exact() -> None:
    """Positions from a mask, as RoBERTa counts them; float32 would lose the last digits."""
    model = parsed(
        "(int64[2, 6] x) => (int64[2, 6] y, int64[2, 6] z)",
        "int64 axis = {1}, int64 three = {3}",
        "y = CumSum (x, axis) z = Pow (x, three)",
    )
    lowered = lower_opset(in_own_forms(model, BOARDS["8.4"]), 17)
    assert not {"CumSum", "Pow"} & {node.op_type for node in lowered.graph}
    assert objections(lowered, BOARDS["8.4"]) == []
    x = RANDOM.integers(1000, 1200, (2, 6))
    y, z = run(lowered, {"x": x})
    np.testing.assert_array_equal(y, np.cumsum(x, 1))
    np.testing.assert_array_equal(z, x**3)
