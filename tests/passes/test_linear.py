"""Batch normalization, scales and shifts, linear layers, padding: folded where exact, and only there."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from edgeport.passes.edit import constant

HEAD = '<ir_version: 10, opset_import: ["": 24]>'
RANDOM = np.random.default_rng(7)


def weights(**shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    return {name: RANDOM.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def norm(channels: int) -> dict[str, np.ndarray]:
    return {
        **weights(g=(channels,), b=(channels,), m=(channels,)),
        "v": RANDOM.uniform(0.5, 2, channels).astype(np.float32),
    }


def model(body: str, x: str = "1,4,7,7", outputs: str = "float y") -> onnx.ModelProto:
    proto = onnx.parser.parse_model(f"{HEAD} g (float[{x}] x) => ({outputs}) {{ {body} }}")
    for output in proto.graph.output:
        output.type.tensor_type.ClearField("shape")
    return proto


BN = "BatchNormalization<epsilon = 0.001>"


@pytest.mark.parametrize(
    ("conv", "shapes"),
    [
        ("Conv(x, w)", {"w": (6, 4, 3, 3)}),
        ("Conv(x, w, c)", {"w": (6, 4, 3, 3), "c": (6,)}),
        ("Conv<group = 2, pads = [1, 1, 1, 1]>(x, w, c)", {"w": (6, 2, 3, 3), "c": (6,)}),
        ("Conv<group = 4>(x, w)", {"w": (4, 1, 3, 3)}),
        ("ConvTranspose<strides = [2, 2]>(x, w)", {"w": (4, 6, 2, 2)}),
        ("ConvTranspose<group = 2>(x, w, c)", {"w": (4, 3, 2, 2), "c": (6,)}),
    ],
)
def test_batch_norm_behind_a_convolution(check, conv, shapes):
    channels = 4 if "group = 4" in conv else 6
    checked = check(model(f"h = {conv} y = {BN}(h, g, b, m, v)"), initializers={**weights(**shapes), **norm(channels)})
    assert checked.ops == {conv.split("(")[0].split("<")[0]: 1}


def test_batch_norm_before_a_convolution_without_padding(check):
    checked = check(
        model(f"h = {BN}(x, g, b, m, v) y = Conv<group = 2>(h, w, c)"),
        initializers={**norm(4), **weights(w=(6, 2, 3, 3), c=(6,))},
    )
    assert checked.ops == {"Conv": 1}


def test_batch_norm_before_a_convolution_with_padding_stays(check):
    checked = check(
        model(f"h = {BN}(x, g, b, m, v) y = Conv<pads = [1, 1, 1, 1]>(h, w)"),
        initializers={**norm(4), **weights(w=(6, 4, 3, 3))},
    )
    assert checked.ops == {"Mul": 1, "Add": 1, "Conv": 1}


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "VALID"])
def test_auto_pad_counts_as_padding(check, auto_pad):
    checked = check(
        model(f'h = {BN}(x, g, b, m, v) y = Conv<auto_pad = "{auto_pad}">(h, w)'),
        initializers={**norm(4), **weights(w=(6, 4, 3, 3))},
    )
    assert checked.ops == ({"Conv": 1} if auto_pad == "VALID" else {"Mul": 1, "Add": 1, "Conv": 1})


def test_batch_norm_behind_relu_is_mul_and_add(check):
    assert check(model(f"h = Relu(x) y = {BN}(h, g, b, m, v)"), initializers=norm(4)).ops == {
        "Relu": 1,
        "Mul": 1,
        "Add": 1,
    }


def test_batch_norm_behind_a_linear_layer(check):
    checked = check(
        model(f"h = Gemm<transB = 1>(x, w, c) y = {BN}(h, g, b, m, v)", x="3,4"),
        initializers={**weights(w=(6, 4), c=(6,)), **norm(6)},
    )
    assert checked.ops == {"MatMul": 1, "Add": 1}


def test_batch_norm_of_a_vector_per_token_is_along_axis_one(check):
    # [B, T, F] normalized over T: not the channel axis of the product in front, so nothing may fold
    checked = check(
        model(f"h = MatMul(x, w) y = {BN}(h, g, b, m, v)", x="2,5,4"), initializers={**weights(w=(4, 6)), **norm(5)}
    )
    assert checked.ops == {"MatMul": 1, "Mul": 1, "Add": 1}


def test_batch_norm_with_computed_parameters_stays(check):
    checked = check(
        model(f"k = Relu(x) r = ReduceMean<keepdims = 0>(k, ax) y = {BN}(x, g, b, m, r)"),
        initializers={**norm(4), "ax": np.asarray([0, 2, 3])},
    )
    assert checked.ops["BatchNormalization"] == 1


def test_a_convolution_with_two_readers_keeps_its_weights(check):
    checked = check(
        model(f"h = Conv(x, w) y = {BN}(h, g, b, m, v) z = Relu(h)", outputs="float y, float z"),
        initializers={**weights(w=(6, 4, 3, 3)), **norm(6)},
    )
    assert checked.ops == {"Conv": 1, "Mul": 1, "Add": 1, "Relu": 1}


def test_a_convolution_that_is_an_output_keeps_its_weights(check):
    checked = check(
        model("h = Conv(x, w) y = Mul(h, s)", outputs="float y, float h"),
        initializers=weights(w=(6, 4, 3, 3), s=(6, 1, 1)),
    )
    assert checked.ops == {"Conv": 1, "Mul": 1}


def test_a_weight_shared_by_two_layers_is_scaled_for_one_only(check):
    checked = check(
        model("h = Conv(x, w) p = Mul(h, s) n = Neg(x) q = Conv(n, w) r = Relu(q) y = Add(p, r)"),
        initializers=weights(w=(6, 4, 3, 3), s=(6, 1, 1)),
    )
    assert checked.ops["Conv"] == 2
    assert "Mul" not in checked.ops


ELEMENTWISE = {
    "product per channel": ("Mul(h, s)", (6, 1, 1), True),
    "quotient per channel": ("Div(h, s)", (1, 6, 1, 1), True),
    "sum per channel": ("Add(s, h)", (6, 1, 1), True),
    "difference": ("Sub(h, s)", (), True),
    "reversed difference": ("Sub(s, h)", (6, 1, 1), True),
    "reversed quotient": ("Div(s, h)", (6, 1, 1), False),
    "along the width": ("Mul(h, s)", (5,), False),
    "along the batch": ("Mul(h, s)", (3, 1, 1, 1), False),
    "more dimensions": ("Mul(h, s)", (1, 1, 6, 1, 1), False),
}


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise_behind_a_convolution(check, name):
    body, shape, folds = ELEMENTWISE[name]
    checked = check(model(f"h = Conv(x, w) y = {body}"), initializers=weights(w=(6, 4, 3, 3), s=shape))
    assert (len(checked.ops) == 1) is folds


@pytest.mark.parametrize(
    ("body", "ops"),
    [
        ("h = Mul(x, s) y = MatMul(h, w)", {"MatMul": 1}),
        ("h = Add(x, s) y = MatMul(h, w)", {"MatMul": 1, "Add": 1}),
        ("p = Mul(x, s) h = Sub(p, s) y = MatMul(h, w)", {"MatMul": 1, "Add": 1}),
        ("h = MatMul(x, w) y = Mul(h, t)", {"MatMul": 1}),
        ("h = MatMul(x, w) k = Add(t, h) y = Div(k, t)", {"MatMul": 1, "Add": 1}),
        ("h = MatMul(x, w) y = Mul(h, col)", {"MatMul": 1, "Mul": 1}),
    ],
)
def test_scales_around_products(check, body, ops):
    checked = check(model(body, x="2,3,4"), initializers=weights(s=(4,), w=(4, 6), t=(6,), col=(3, 1)))
    assert checked.ops == ops


GEMM = {
    "plain": ("Gemm(x, w, c)", {"w": (4, 6), "c": (6,)}, {"MatMul": 1, "Add": 1}),
    "transposed and scaled": (
        "Gemm<transB = 1, alpha = 0.5, beta = 2.0>(x, w, c)",
        {"w": (6, 4), "c": (1, 6)},
        {"MatMul": 1, "Add": 1},
    ),
    "scalar bias": ("Gemm(x, w, c)", {"w": (4, 6), "c": ()}, {"MatMul": 1, "Add": 1}),
    "column bias": ("Gemm<beta = 0.25>(x, w, c)", {"w": (4, 6), "c": (3, 1)}, {"MatMul": 1, "Add": 1}),
    "no bias": ("Gemm<alpha = 3.0>(x, w)", {"w": (4, 6)}, {"MatMul": 1}),
    "beta zero": ("Gemm<beta = 0.0>(x, w, c)", {"w": (4, 6), "c": (6,)}, {"MatMul": 1}),
    "computed operands": (
        "Gemm<transB = 1, alpha = 0.5, beta = 2.0>(x, x, k)",
        {},
        {"MatMul": 1, "Transpose": 1, "Mul": 2, "Add": 1, "Relu": 1, "ReduceMax": 1},
    ),
}


@pytest.mark.parametrize("name", GEMM)
def test_gemm(check, name):
    body, shapes, ops = GEMM[name]
    prefix = ""
    if name == "computed operands":
        prefix = "k0 = ReduceMax(x, ax) k = Relu(k0) "
    checked = check(model(f"{prefix}y = {body}", x="3,4"), initializers={**weights(**shapes), "ax": np.asarray([1])})
    assert checked.ops == ops
    if name in ("plain", "transposed and scaled", "scalar bias"):
        assert constant(checked.node("MatMul").inputs[1]).shape == (4, 6)
        assert constant(checked.node("Add").inputs[1]).shape == (6,)


def test_gemm_with_transposed_input(check):
    checked = check(model("y = Gemm<transA = 1>(x, w, c)", x="4,3"), initializers=weights(w=(4, 6), c=(6,)))
    assert checked.ops == {"Transpose": 1, "MatMul": 1, "Add": 1}


def test_bias_goes_second_as_a_row(check):
    checked = check(model("h = MatMul(x, w) y = Add(c, h)", x="2,3,4"), initializers=weights(w=(4, 6), c=(1, 1, 6)))
    add = checked.node("Add")
    assert constant(add.inputs[1]).shape == (6,)
    assert add.inputs[0].producer().op_type == "MatMul"


def test_weight_with_leading_ones_is_a_matrix(check):
    checked = check(model("y = MatMul(x, w)", x="2,3,4"), initializers=weights(w=(1, 4, 6)))
    assert constant(checked.node("MatMul").inputs[1]).shape == (4, 6)


def test_transposed_weight_is_folded(check):
    checked = check(model("t = Transpose(w) y = MatMul(x, t)", x="2,3,4"), initializers=weights(w=(6, 4)))
    assert checked.ops == {"MatMul": 1}


def test_vectors_are_left_alone(check):
    assert check(model("y = MatMul(x, w)", x="2,3,4"), initializers=weights(w=(4,))).ops == {"MatMul": 1}


PADS = {
    "conv": ("p = Pad(x, a) y = Conv(p, w)", {"Conv": 1}),
    "conv that pads already": ("p = Pad(x, a) y = Conv<pads = [1, 0, 0, 2]>(p, w)", {"Conv": 1}),
    "conv with dilation": ("p = Pad(x, a) y = Conv<dilations = [2, 2]>(p, w)", {"Conv": 1}),
    "explicit zero": ("p = Pad(x, a, zero) y = Conv(p, w)", {"Conv": 1}),
    "pad along given axes": ("p = Pad(x, short, zero, axes) y = Conv(p, w)", {"Conv": 1}),
    "average pool": ("p = Pad(x, a) y = AveragePool<kernel_shape = [3, 3]>(p)", {"AveragePool": 1}),
    "max pool of minus infinity": ("p = Pad(x, a, low) y = MaxPool<kernel_shape = [3, 3]>(p)", {"MaxPool": 1}),
    "max pool behind relu": (
        "r = Relu(x) p = Pad(r, a) y = MaxPool<kernel_shape = [3, 3]>(p)",
        {"Relu": 1, "MaxPool": 1},
    ),
}
NO_PADS = {
    "another value": ("p = Pad(x, a, one) y = Conv(p, w)", "Conv"),
    "reflect": ('p = Pad<mode = "reflect">(x, a) y = Conv(p, w)', "Conv"),
    "negative": ("p = Pad(x, n) y = Conv(p, w)", "Conv"),
    "channels": ("p = Pad(x, ch) y = Conv(p, w5)", "Conv"),
    "auto pad": ('p = Pad(x, a) y = Conv<auto_pad = "SAME_UPPER">(p, w)', "Conv"),
    "average pool that does not count": (
        "p = Pad(x, a) y = AveragePool<kernel_shape = [4, 4], pads = [1, 1, 1, 1]>(p)",
        "AveragePool",
    ),
    "average pool with ceil": (
        "p = Pad(x, a) y = AveragePool<kernel_shape = [3, 3], strides = [2, 2], ceil_mode = 1>(p)",
        "AveragePool",
    ),
    "average pool of minus infinity": ("p = Pad(x, a, one) y = AveragePool<kernel_shape = [3, 3]>(p)", "AveragePool"),
    "max pool of zeros": ("p = Pad(x, a) y = MaxPool<kernel_shape = [3, 3]>(p)", "MaxPool"),
    "small kernel": ("p = Pad(x, a, low) y = MaxPool<kernel_shape = [2, 2]>(p)", "MaxPool"),
    "max pool with dilation": (
        "p = Pad(x, a, low) y = MaxPool<kernel_shape = [3, 3], dilations = [2, 2]>(p)",
        "MaxPool",
    ),
}
PAD_CONSTANTS = {
    "a": np.asarray([0, 0, 1, 0, 0, 0, 2, 1]),
    "n": np.asarray([0, 0, -1, 0, 0, 0, 2, 1]),
    "ch": np.asarray([0, 1, 0, 0, 0, 0, 0, 0]),
    "short": np.asarray([2, 1, 0, 1]),
    "axes": np.asarray([-1, 2]),
    "zero": np.float32(0),
    "one": np.float32(1),
    "low": np.float32(-np.inf),
}


@pytest.mark.parametrize("name", PADS)
def test_pad_is_fused(check, name):
    body, ops = PADS[name]
    assert check(model(body), initializers={**PAD_CONSTANTS, **weights(w=(6, 4, 3, 3))}).ops == ops


@pytest.mark.parametrize("name", NO_PADS)
def test_pad_is_not_fused(check, name):
    body, op = NO_PADS[name]
    constants = {**PAD_CONSTANTS, **weights(w=(6, 4, 3, 3), w5=(6, 5, 3, 3))}
    assert check(model(body), initializers=constants).ops == {"Pad": 1, op: 1}


def test_pad_with_two_readers_stays(check):
    checked = check(
        model("p = Pad(x, a) h = Conv(p, w) y = Relu(h) z = Neg(p)", outputs="float y, float z"),
        initializers={**PAD_CONSTANTS, **weights(w=(6, 4, 3, 3))},
    )
    assert checked.ops["Pad"] == 1


@pytest.mark.parametrize("between", ["", "t = Tanh(c)", "t = LeakyRelu(c)"])
@pytest.mark.parametrize("bias", ["", ", b"])
def test_pixel_shuffle_takes_its_order_from_the_convolution(check, between, bias):
    source = model(
        f"c = Conv(x, w{bias}) {between} y = DepthToSpace<blocksize=2, mode='CRD'>({'t' if between else 'c'})".replace(
            "'", '"'
        )
    )
    values = weights(w=(12, 4, 3, 3), **({"b": (12,)} if bias else {}))
    result = check(source, "fold_pixel_shuffle", initializers=values, tolerance=0)  # a permutation rounds nothing
    assert [n.attributes["mode"].as_string() for n in result.model.graph if n.op_type == "DepthToSpace"] == ["DCR"]


@pytest.mark.parametrize(
    "body",
    [
        'c = Conv<group=2>(x, w) y = DepthToSpace<blocksize=2, mode="CRD">(c)',
        'c = Conv(x, v) d = DepthToSpace<blocksize=2, mode="CRD">(c) e = ReduceSum<keepdims=0>(c) y = Add(d, e)',
        'c = Conv(x, v) e = Mul(c, h) y = DepthToSpace<blocksize=2, mode="CRD">(e)',
    ],
)
def test_pixel_shuffle_stays_where_others_need_the_order(check, body):
    values = weights(w=(12, 2, 3, 3), v=(12, 4, 3, 3), h=(12, 1, 1))
    values = {name: array for name, array in values.items() if f", {name})" in body}
    result = check(model(body), "fold_pixel_shuffle", initializers=values)
    assert [n.attributes["mode"].as_string() for n in result.model.graph if n.op_type == "DepthToSpace"] == ["CRD"]


def focus(order: str, tail: str) -> onnx.ModelProto:
    """YOLO's Focus layer: rows are sliced first, columns of these then, and the four are joined in `order`."""
    big = "9223372036854775807"
    numbers = {"o": "0", "i": "1", "e": big, "r": "2", "c": "3"}
    constants = "<" + ", ".join(f"int64[1] {name} = {{{number}}}" for name, number in numbers.items()) + ">"
    slices = """a = Slice(x, o, e, r, r) b = Slice(x, i, e, r, r)
        aa = Slice(a, o, e, c, r) ab = Slice(a, i, e, c, r) ba = Slice(b, o, e, c, r) bb = Slice(b, i, e, c, r)"""
    body = f"{slices} j = Concat<axis=1>({order}) {tail}"
    text = f"{HEAD} g (float[1,4,8,6] x) => (float[A,B,C,D] y) {constants} {{ {body} }}"
    proto = onnx.parser.parse_model(text)
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    return proto


@pytest.mark.parametrize(
    ("order", "tail"),
    [("aa, ab, ba, bb", "y = Relu(j)"), ("aa, ba, ab, bb", "y = Conv(j, w)"), ("bb, ab, ba, aa", "y = Conv(j, w)")],
)
def test_focus_becomes_space_to_depth(check, order, tail):
    values = weights(w=(5, 16, 3, 3)) if "w" in tail else {}
    result = check(focus(order, tail), "fuse_space_to_depth", initializers=values)
    assert result.ops == {"SpaceToDepth": 1, tail[4:8].strip("("): 1}


@pytest.mark.parametrize(
    ("order", "tail"),
    [
        ("aa, ba, ab, bb", "y = Relu(j)"),  # nothing takes up another order
        ("aa, ab, ab, bb", "y = Conv(j, w)"),  # one slice twice
        ("aa, ba, ab, bb", "k = Conv(j, w) s = ReduceSum<keepdims=0>(j) y = Add(k, s)"),
    ],
)
def test_other_joins_of_slices_stay(check, order, tail):
    values = weights(w=(5, 16, 3, 3)) if "w)" in tail else {}
    assert "Concat" in check(focus(order, tail), "fuse_space_to_depth", initializers=values).ops


def test_normalization_behind_a_flattened_product_folds(check):
    """Linear, flatten(0, 1), BatchNorm1d, back: as LeViT normalizes sequences."""
    rng = np.random.default_rng(0)
    arrays = {"w": rng.normal(size=(4, 6)), "b": rng.normal(size=6)}
    arrays |= {n: rng.uniform(0.5, 2, 6) for n in ("scale", "shift", "mean", "variance")}
    shapes = {"flat": np.array([-1, 6]), "whole": np.array([2, 5, 6])}
    text = """<ir_version: 10, opset_import: ["": 21]> g (float[2,5,4] x) => (float[2,5,6] y) {
        p = MatMul(x, w) l = Add(p, b) f = Reshape(l, flat)
        n = BatchNormalization(f, scale, shift, mean, variance)
        y = Reshape(n, whole)
    }"""
    weights = {k: a.astype(np.float32) for k, a in arrays.items()} | shapes
    assert check(text, initializers=weights).ops == {"MatMul": 1, "Add": 1}


def test_what_varies_along_rows_stays_behind_their_reshape(check):
    rng = np.random.default_rng(0)
    weights = {"w": rng.normal(size=(4, 6)), "s": rng.normal(size=(10, 1))}
    text = """<ir_version: 10, opset_import: ["": 21]> g (float[2,5,4] x) => (float[10,6] y) {
        p = MatMul(x, w) f = Reshape(p, flat) y = Mul(f, s)
    }"""
    arrays = {k: a.astype(np.float32) for k, a in weights.items()} | {"flat": np.array([10, 6])}
    assert check(text, initializers=arrays).ops == {"MatMul": 1, "Reshape": 1, "Mul": 1}
