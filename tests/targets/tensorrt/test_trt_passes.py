"""Pools and Resize modes that TensorRT lacks, against ONNX Runtime's own kernels."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper

from edgeport.passes.pipeline import rewritten
from edgeport.targets.tensorrt.passes import plain_pools, resize_products

assert plain_pools
assert resize_products
RANDOM = np.random.default_rng(7)


def run(model: ir.Model, x: np.ndarray) -> np.ndarray:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    data = ir.to_proto(model).SerializeToString()
    return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


def model_of(
    op_type: str, x: np.ndarray, constants: Mapping[int, np.ndarray], attributes: Mapping[str, Any]
) -> ir.Model:
    """One node of opset 22, its output's shape as ONNX Runtime has it."""
    names = ["x", *(f"c{i}" if i in constants else "" for i in range(1, max(constants, default=0) + 1))]
    node = helper.make_node(op_type, names, ["y"], **attributes)
    kind = helper.np_dtype_to_tensor_dtype(x.dtype)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", kind, x.shape)],
        [onnx.ValueInfoProto(name="y")],
        [numpy_helper.from_array(array, f"c{i}") for i, array in constants.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    model = ir.from_proto(proto)
    out = model.graph.outputs[0]
    out.type, out.shape = ir.TensorType(ir.DataType(kind)), ir.Shape(run(model, x).shape)
    return model


def assert_same(model: ir.Model, x: np.ndarray, name: str, unwanted: str | None = None) -> ir.Model:
    plain = rewritten(model, [name])
    assert unwanted is None or unwanted not in {node.op_type for node in plain.graph}
    got, want = run(plain, x), run(model, x)
    assert (got.dtype, got.shape) == (want.dtype, want.shape)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=2e-6)  # float32: sums of up to 20 terms in another order
    return plain


POOLS = [
    {"kernel_shape": [3, 2], "strides": [2, 1], "dilations": [2, 3], "pads": [1, 0, 1, 1]},
    {"kernel_shape": [3, 3], "dilations": [2, 2], "ceil_mode": 1, "strides": [2, 2]},
    {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1},
    {"kernel_shape": [2, 3], "strides": [2, 2], "ceil_mode": 1, "pads": [1, 1, 0, 1]},
    {"kernel_shape": [1, 2], "strides": [3, 3], "ceil_mode": 1},
    {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"},
]
KINDS: list[dict[str, Any]] = [{"op": "MaxPool"}, {"op": "AveragePool"}, {"op": "AveragePool", "count_include_pad": 1}]


@pytest.mark.parametrize("pool", POOLS, ids=str)
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_pools(kind: dict[str, Any], pool: dict[str, Any]) -> None:
    x = RANDOM.standard_normal((2, 3, 10, 9)).astype(np.float32)
    attributes = {**pool, **kind}
    plain = assert_same(model_of(attributes.pop("op"), x, {}, attributes), x, "plain_pools")
    for node in plain.graph:
        assert "ceil_mode" not in node.attributes
        assert node.op_type == "Conv" or "dilations" not in node.attributes


def test_pools_of_one_and_three_axes() -> None:
    for shape, kernel in (((1, 2, 11), [3]), ((1, 2, 5, 6, 7), [2, 2, 3])):
        x = RANDOM.standard_normal(shape).astype(np.float32)
        attributes = {"kernel_shape": kernel, "dilations": [2] * len(kernel)}
        assert_same(model_of("MaxPool", x, {}, attributes), x, "plain_pools", "MaxPool")
        assert_same(model_of("AveragePool", x, {}, attributes), x, "plain_pools", "AveragePool")


SIZES = np.asarray([1, 2, 5, 11]), np.asarray([1, 2, 12, 4])
MODES = [
    {"antialias": 1, "mode": "linear"},
    {"antialias": 1, "mode": "cubic", "exclude_outside": 1},
    {"keep_aspect_ratio_policy": "not_larger", "mode": "nearest", "axes": [2, 3]},
    {"keep_aspect_ratio_policy": "not_smaller", "mode": "linear", "axes": [3, 2]},
    {"coordinate_transformation_mode": "half_pixel_symmetric", "mode": "linear"},
    {"coordinate_transformation_mode": "half_pixel_symmetric", "mode": "nearest"},
]


@pytest.mark.parametrize(("mode", "sizes"), list(itertools.product(MODES, SIZES)), ids=str)
def test_resize_modes(mode: dict[str, Any], sizes: np.ndarray) -> None:
    x = RANDOM.standard_normal((1, 2, 8, 7)).astype(np.float32)
    given = sizes[mode["axes"]] if "axes" in mode else sizes
    plain = assert_same(model_of("Resize", x, {3: given}, mode), x, "resize_as_products", "Resize")
    assert ("Gather" in {node.op_type for node in plain.graph}) == (mode["mode"] == "nearest")


@pytest.mark.parametrize("coordinates", ["half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"])
def test_cubic(coordinates: str) -> None:
    x = RANDOM.standard_normal((1, 2, 8, 7)).astype(np.float32)
    attributes = {"mode": "cubic", "coordinate_transformation_mode": coordinates}
    assert_same(model_of("Resize", x, {3: SIZES[1]}, attributes), x, "cubic_resize_as_products", "Resize")


@pytest.mark.parametrize("mode", ["linear", "cubic", "nearest"])
def test_crops(mode: str) -> None:
    """Half of the crop lies outside of the data and becomes the extrapolation value."""
    x = RANDOM.standard_normal((1, 1, 8, 7)).astype(np.float32)
    roi = np.asarray([0, 0, 0.4, 0.2, 1, 1, 1.6, 0.9], np.float32)
    attributes = {"mode": mode, "coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 9.0}
    model = model_of("Resize", x, {1: roi, 3: np.asarray([1, 1, 5, 4])}, attributes)
    assert_same(model, x, "resize_as_products", "Resize")


def test_volumes_are_resized_axis_by_axis() -> None:
    x = RANDOM.standard_normal((1, 1, 5, 4, 6)).astype(np.float32)
    model = model_of("Resize", x, {3: np.asarray([1, 1, 3, 8, 4])}, {"mode": "linear", "antialias": 1})
    assert_same(model, x, "resize_as_products", "Resize")


def test_integers_are_picked() -> None:
    x = RANDOM.integers(0, 99, (1, 1, 6, 6)).astype(np.int32)
    attributes = {"mode": "nearest", "coordinate_transformation_mode": "half_pixel_symmetric"}
    model = model_of("Resize", x, {3: np.asarray([1, 1, 4, 9])}, attributes)
    np.testing.assert_array_equal(run(rewritten(model, ["resize_as_products"]), x), run(model, x))
