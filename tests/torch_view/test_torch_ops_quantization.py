"""QuantizeLinear and DequantizeLinear in the torch view: every integer equals ONNX Runtime's."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper
from small_models import small_cnn, smooth_images
from view_graphs import Graph, assert_same, normal, reference

from edgeport.errors import ModelError
from edgeport.passes.infer_shapes import infer_shapes
from edgeport.passes.pipeline import canonicalize
from edgeport.quantize.assign import assign
from edgeport.quantize.planner import make_plan
from edgeport.quantize.qdq import write_qdq
from edgeport.targets.tflite.scheme import tflite_scheme
from edgeport.torch_view.runner import TorchViewRunner
from edgeport.torch_view.view import torch_view


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16"])
def test_a_scale_a_tensor(dtype: str) -> None:
    """Ties, saturation and infinities included."""
    g, limits = Graph(), np.iinfo(dtype)
    ties = (np.arange(-200, 200, dtype=np.float32) + 0.5) * np.float32(0.1)
    x = g.input("x", np.concatenate([ties, normal(400) * 1e4, [np.inf, -np.inf]]).astype(np.float32))
    scale, zero = g.const(np.float32(0.1)), g.const(np.asarray((limits.min + limits.max) // 2 + 3, dtype))
    q = g.op("QuantizeLinear", x, scale, zero)
    assert_same(g.model(q, g.op("DequantizeLinear", q, scale, zero)), g.inputs, tolerance=0)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_a_scale_a_channel(axis: int) -> None:
    g = Graph()
    shape = (3, 4, 5)
    x = g.input("x", normal(*shape) * 40)
    scale = g.const(np.abs(normal(shape[axis], seed=1)) + np.float32(0.1))
    zero = g.const(np.arange(shape[axis], dtype=np.int8) - 2)
    q = g.op("QuantizeLinear", x, scale, zero, axis=axis)
    assert_same(g.model(q, g.op("DequantizeLinear", q, scale, zero, axis=axis)), g.inputs, tolerance=0)


@pytest.mark.parametrize(("axis", "block"), [(0, 2), (1, 4), (1, 3)])
def test_a_scale_a_block(axis: int, block: int) -> None:
    """The last block may be shorter."""
    g = Graph()
    shape = (6, 8)
    blocks = tuple(-(-d // block) if a == axis else d for a, d in enumerate(shape))
    x = g.input("x", normal(*shape) * 40)
    scale = g.const(np.abs(normal(*blocks, seed=1)) + np.float32(0.1))
    zero = g.const((np.arange(np.prod(blocks)).reshape(blocks) % 5).astype(np.uint8))
    q = g.op("QuantizeLinear", x, scale, zero, axis=axis, block_size=block)
    assert_same(
        g.model(q, g.op("DequantizeLinear", q, scale, zero, axis=axis, block_size=block)), g.inputs, tolerance=0
    )


def test_without_a_zero_point() -> None:
    g = Graph()
    x, scale = g.input("x", normal(50) * 90), g.const(np.float32(0.7))
    outputs = [g.op("QuantizeLinear", x, scale), g.op("QuantizeLinear", x, scale, output_dtype=TensorProto.INT8)]
    outputs += [g.op("DequantizeLinear", q, scale) for q in tuple(outputs)]
    assert_same(g.model(*outputs), g.inputs, tolerance=0)


def test_biases_of_32_bits() -> None:
    """Numbers that float32 does not hold are rounded as ONNX Runtime rounds them."""
    g = Graph()
    x = g.input("x", np.asarray([2**31 - 1, -(2**31), 16777217, 3, -33554431], np.int32))
    assert_same(g.model(g.op("DequantizeLinear", x, g.const(np.float32(1e-4)))), g.inputs, tolerance=0)


def test_half_precision() -> None:
    g = Graph()
    x, scale = g.input("x", (normal(300) * 5).astype(np.float16)), g.const(np.float16(0.06))
    zero = g.const(np.int8(7))
    q = g.op("QuantizeLinear", x, scale, zero)
    assert_same(g.model(q, g.op("DequantizeLinear", q, scale, zero)), g.inputs, tolerance=0)


@pytest.mark.parametrize("kind", ["INT4", "UINT4"])
@pytest.mark.parametrize("block", [0, 4])
def test_weights_of_4_bits(kind: str, block: int) -> None:
    rng = np.random.default_rng(0)
    data = rng.integers(-8, 8, (6, 8)) if kind == "INT4" else rng.integers(0, 16, (6, 8))
    shape = (6, 2) if block else (6,)
    stored = [
        helper.make_tensor("w", getattr(TensorProto, kind), data.shape, data.reshape(-1).tolist()),
        onnx.numpy_helper.from_array(rng.uniform(0.1, 1, shape).astype(np.float32), "s"),
        helper.make_tensor("z", getattr(TensorProto, kind), shape, [1] * int(np.prod(shape))),
    ]
    more = {"axis": 1, "block_size": block} if block else {"axis": 0}
    g = Graph()
    x = g.input("x", normal(3, 6))
    g.constants += stored
    outputs = [g.op("MatMul", x, g.op("DequantizeLinear", "w", "s", "z", **more))]
    assert_same(g.model(*outputs), g.inputs)


def test_round_trips_of_4_bits() -> None:
    g = Graph()
    g.constants.append(helper.make_tensor("z", TensorProto.INT4, (), [2]))
    scale = g.const(np.float32(0.3))
    q = g.op("QuantizeLinear", g.input("x", normal(100) * 2), scale, "z")
    assert_same(g.model(g.op("DequantizeLinear", q, scale, "z")), g.inputs, tolerance=0)


@pytest.mark.parametrize(
    ("zero", "attributes", "message"),
    [
        (TensorProto.FLOAT8E4M3FN, {}, "float8|FLOAT8"),
        (TensorProto.INT8, {"precision": TensorProto.FLOAT16}, "precision"),
        (TensorProto.INT8, {"axis": 7}, None),
    ],
)
def test_what_is_refused(zero: int, attributes: dict[str, Any], message: str | None) -> None:
    g = Graph()
    count = (2,) if "axis" in attributes else ()
    g.constants.append(helper.make_tensor("z", zero, count, [1] * (2 if count else 1)))
    scale = g.const(np.full(count, 0.5, np.float32))
    nodes = helper.make_node("QuantizeLinear", ["x", scale, "z"], ["y"], name="q", **attributes)
    declared = helper.make_tensor_value_info("y", zero, (2, 3))
    graph = helper.make_graph(
        [nodes], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, (2, 3))], [declared], g.constants
    )

    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 24)], ir_version=10)
    with pytest.raises(ModelError, match=message):
        torch_view(ir.serde.deserialize_model(model))


@pytest.mark.parametrize("precision", ["int8", "int8-weights", "int4-weights"])
def test_a_quantized_network(precision: str) -> None:
    """A plan written out as Q/DQ: integers of activations, weights and biases."""
    model = canonicalize(ir.serde.deserialize_model(small_cnn()))
    scheme = tflite_scheme(precision)
    assignment = assign(model.graph, scheme)
    feeds = {"image": smooth_images(6, 3, 16)}
    seen = {**feeds, **reference(model, feeds)}
    table = {name: (float(seen[name].min()), float(seen[name].max())) for name in assignment.requests}
    plan = make_plan(assignment, scheme, lambda name, within, symmetric: table[name], "min-max")
    quantized = write_qdq(model, plan, scheme)
    infer_shapes(quantized)
    assert any(node.op_type == "QuantizeLinear" for node in quantized.graph) == (precision == "int8")
    wanted = reference(quantized, feeds)
    got = TorchViewRunner(torch_view(quantized), quantized).intermediates(feeds, list(wanted))
    for name, want in wanted.items():
        if want.dtype.kind != "f" and want.dtype.itemsize == 1:
            # A sum in another order may fall on the other side of a tie, a step that later layers carry on.
            assert np.abs(got[name].astype(int) - want).max() <= 1, name
            assert np.mean(got[name] != want) < 0.01, name
    if precision != "int8":
        np.testing.assert_allclose(got["logits"], wanted["logits"], rtol=1e-5, atol=1e-5)
