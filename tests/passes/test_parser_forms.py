"""Forms in which a runtime's parser makes no tensors of its own: numbers and names stay."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgeport.passes.fourier_matrix import KEEP_FLOAT
from edgeport.passes.infer_shapes import infer_shapes
from edgeport.passes.registry import get

RANDOM = np.random.default_rng(5)


def normal(*shape):
    return RANDOM.normal(size=shape).astype(np.float32)


def model(body, x="2,3,8"):
    proto = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["": 24]> g (float[{x}] x) => (float y) {{ {body} }}'
    )
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    return proto


def names(checked):
    return {value.name for node in checked.model.graph for value in node.outputs}


@pytest.mark.parametrize(
    ("body", "x", "kept"),
    [
        ("t = MatMul(x, w) u = Add(t, b) y = Relu(u)", "2,3,8", {"u", "y"}),
        ("t = MatMul(x, w) u = Add(b, t) y = Relu(u)", "5,8", {"u", "y"}),
        ("t = MatMul(x, w) y = Relu(t)", "2,1,3,8", {"t", "y"}),
        ("t = MatMul(x, w) u = Add(t, b) y = Mul(u, t)", "2,8", {"t", "u", "y"}),  # the product is read twice
        ("t = MatMul(x, w) y = Add(t, t)", "2,8", {"t", "y"}),
    ],
)
def test_linear_layers_become_convolutions(check, body, x, kept):
    checked = check(
        model(body, x), "linear_form", "dense_as_convolution", initializers={"w": normal(8, 4), "b": normal(4)}
    )
    assert "MatMul" not in checked.ops
    assert checked.ops["Conv"] == 1
    assert kept <= names(checked)


def test_layers_with_common_weights_share_the_kernel(check):
    checked = check(
        model("t = MatMul(x, w) u = Relu(t) y = MatMul(u, w)"), "dense_as_convolution", initializers={"w": normal(8, 8)}
    )
    kernels = [node.inputs[1] for node in checked.model.graph if node.op_type == "Conv"]
    assert len(kernels) == 2
    assert kernels[0] is kernels[1]


def test_products_that_are_no_linear_layers_stay(check):
    body = "t = Transpose<perm=[0,2,1]>(x) a = MatMul(x, t) y = MatMul(w, a)"
    assert check(model(body), "dense_as_convolution", initializers={"w": normal(4, 3)}).ops["MatMul"] == 2
    spectrum = ir.from_proto(model("y = MatMul(x, w)"))
    spectrum.graph.register_initializer(ir.Value(name="w", const_value=ir.tensor(normal(8, 4))))
    infer_shapes(spectrum)
    spectrum.graph[0].metadata_props[KEEP_FLOAT] = "its spectrum spans decades"
    assert not get("dense_as_convolution")(spectrum)


@pytest.mark.parametrize(
    ("op", "shapes"),
    [
        ("Conv<pads=[2,1], strides=[2], dilations=[2], kernel_shape=[3]>(x, w, b)", {"w": (6, 4, 3), "b": (6,)}),
        ("Conv<group=2>(x, w)", {"w": (6, 2, 1)}),
        ('Conv<auto_pad="SAME_LOWER", strides=[3]>(x, w)', {"w": (6, 4, 4)}),
        ("ConvTranspose<strides=[2], pads=[1,0], output_padding=[1]>(x, w, b)", {"w": (4, 6, 3), "b": (6,)}),
        ("MaxPool<kernel_shape=[3], strides=[2], pads=[1,1], ceil_mode=1>(x)", {}),
        ("AveragePool<kernel_shape=[3], pads=[1,0], count_include_pad=1>(x)", {}),
    ],
)
def test_one_axis_becomes_two(check, op, shapes):
    arrays = {name: normal(*shape) for name, shape in shapes.items()}
    checked = check(model(f"a = {op} y = Relu(a)", "2,4,11"), "convolve_in_2d", initializers=arrays)
    assert checked.ops["Unsqueeze"] == checked.ops["Squeeze"] == 1
    assert {"a", "y"} <= names(checked)


def test_two_axes_and_indices_of_maxima_stay(check):
    plane = check(model("y = Conv(x, w)", "1,4,5,5"), "convolve_in_2d", initializers={"w": normal(6, 4, 3, 3)})
    assert plane.ops == {"Conv": 1}
    body = "a, i = MaxPool<kernel_shape=[2]>(x) f = Cast<to=1>(i) y = Add(a, f)"
    assert "Unsqueeze" not in check(model(body, "1,4,6"), "convolve_in_2d").ops


def test_constant_operands_have_all_axes(check):
    arrays = {"s": normal(8), "t": np.float32(3), "p": normal(3, 1), "c": RANDOM.random(8) < 0.5}
    body = "a = Mul(x, s) b = Add(t, a) d = PRelu(b, p) e = Where(c, d, t) y = Max(e, s, t)"
    checked = check(model(body), "full_rank_constants", initializers=arrays)
    constants = [v for node in checked.model.graph for v in node.inputs if v.const_value is not None]
    assert constants
    assert all(len(v.shape) == 3 for v in constants)
    assert {"a", "b", "d", "e", "y"} <= names(checked)


@pytest.mark.parametrize(
    ("body", "left"),
    [
        ("a = Relu(x) m = Mul(a, s) y = Add(m, b)", {"Relu": 1}),
        ("a = Relu(x) m = Mul(s, a) y = Sub(m, b)", {"Relu": 1}),
        ("a = Relu(x) y = Mul(a, s)", {"Relu": 1}),
        ("a = Relu(x) m = Sub(a, whole) y = Relu(m)", {"Relu": 2}),
        ("m = Mul(x, one) a = Sub(m, one) y = Relu(a)", {"Relu": 1}),
        ("m = Mul(x, s) n = Add(m, one) y = Mul(m, n)", {"Mul": 1, "BatchNormalization": 1, "Add": 1}),
    ],
)
def test_scales_and_shifts_become_batch_norms(check, body, left):
    arrays = {"s": normal(4, 1, 1), "b": normal(1, 4, 1, 1), "whole": normal(4, 1, 1), "one": np.float32(0.3)}
    checked = check(model(body, "2,4,3,5"), "scale_as_batch_norm", initializers=arrays)
    assert checked.ops == {"BatchNormalization": 1} | left
    assert "y" in names(checked)


@pytest.mark.parametrize(
    "body",
    [
        "a = Relu(x) y = Mul(a, one)",  # one number: part of an activation
        "a = Relu(x) y = Sub(b, a)",
        "a = Relu(x) y = Mul(a, along)",  # another axis
        "a = Relu(x) y = Add(a, a)",
        "a = ReduceMean<keepdims=1>(x) y = Mul(a, whole)",  # the constant makes the result larger
    ],
)
def test_other_products_and_sums_stay(check, body):
    arrays = {"b": normal(1, 4, 1, 1), "whole": normal(4, 1, 1), "along": normal(5), "one": np.float32(0.3)}
    used = {name: array for name, array in arrays.items() if f"{name})" in body or f"({name}," in body}
    assert "BatchNormalization" not in check(model(body, "2,4,3,5"), "scale_as_batch_norm", initializers=used).ops
