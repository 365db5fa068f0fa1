"""Quantized operators of a source, written out in floats, give ONNX Runtime's own integers."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

HEAD = '<ir_version: 10, opset_import: ["": 21]>'
PASSES = ("convert_version", "expand_quantization", "expand_integer_products")
FORMS = {
    "quantize": "g (float[3,4] x) => (uint8[3,4] y) <float s = {0.05}, uint8 z = {3}>{ y = QuantizeLinear(x, s, z) }",
    "quantize without zero point": "g (float[3,4] x) => (uint8[3,4] y) <float s = {0.5}>{ y = QuantizeLinear(x, s) }",
    "quantize to 16 bits": "g (float[3,4] x) => (int16[3,4] y) <float s = {0.0001}>"
    "{ y = QuantizeLinear<output_dtype = 5>(x, s) }",
    "quantize channels": "g (float[2,3,4] x) => (int8[2,3,4] y) <float[3] s = {0.1, 0.02, 1.5}, int8[3] z = {1, -2, 3}>"
    "{ y = QuantizeLinear(x, s, z) }",
    "quantize blocks": "g (float[2,5] x) => (int8[2,5] y) <float[2,3] s = {0.1, 0.2, 0.3, 0.4, 0.5, 0.6},"
    "int8[2,3] z = {1, 2, 3, 4, 5, 6}> { y = QuantizeLinear<axis = 1, block_size = 2>(x, s, z) }",
    "quantize with a computed scale": "g (float[3,4] x, uint8 z) => (uint8[3,4] y) { a = Abs(x) "
    "s = ReduceMean<keepdims = 0>(a) y = QuantizeLinear(x, s, z) }",
    "dequantize": "g (int8[3,4] x) => (float[3,4] y) <float s = {0.05}, int8 z = {-7}>"
    "{ y = DequantizeLinear(x, s, z) }",
    "dequantize channels": "g (uint8[3,4] x) => (float[3,4] y) <float[3] s = {0.1, 0.2, 0.3}, uint8[3] z = {1, 128, 9}>"
    "{ y = DequantizeLinear<axis = 0>(x, s, z) }",
    "dequantize int32": "g (int32[3,4] x) => (float[3,4] y) <float s = {0.05}>{ y = DequantizeLinear(x, s) }",
    "there and back": "g (float[3,4] x) => (float[3,4] y) <float s = {0.05}, int8 z = {3}>"
    "{ q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z) }",
    "dynamic": "g (float[3,4] x) => (uint8[3,4] y, float s, uint8 z) { y, s, z = DynamicQuantizeLinear(x) }",
    "product": "g (uint8[2,3,4] a, int8[4,5] b) => (uint8[2,3,5] y) <float s = {0.1}, float t = {0.02},"
    "float u = {0.05}, uint8 z = {3}, int8 w = {-1}, uint8 v = {9}> { y = QLinearMatMul(a, s, z, b, t, w, u, v) }",
    "convolution": "g (uint8[1,2,5,5] x) => (uint8[1,3,5,5] y) <float s = {0.1}, uint8 z = {2},"
    "float[3] t = {0.11, 0.23, 0.31}, int8[3] w = {0, 0, 0}, float u = {0.5}, uint8 v = {4},"
    "int32[3] b = {100, -50, 0}> { y = QLinearConv<pads = [1, 1, 1, 1]>(x, s, z, k, t, w, u, v, b) }",
    "integer product": "g (uint8[3,4] a, int8[4,5] b) => (int32[3,5] y) <uint8 z = {3}, int8 w = {-1}>"
    "{ y = MatMulInteger(a, b, z, w) }",
    "integer convolution": "g (uint8[1,2,5,5] x) => (int32[1,3,4,4] y) <uint8 z = {2}>"
    "{ y = ConvInteger<pads = [1, 1, 0, 0], kernel_shape = [3, 3]>(x, k, z) }",
}


@pytest.mark.parametrize("form", FORMS)
def test_integers_are_onnx_runtimes(form: str, check) -> None:
    weights = np.random.default_rng(0).integers(-100, 100, (3, 2, 3, 3)).astype(np.int8)
    kernel = {"k": weights} if "convolution" in form else {}
    # check() compares integers with a relative tolerance of 1e-5, which below 1e5 means equality.
    done = check(HEAD + FORMS[form], *PASSES, initializers=kernel, seeds=(0, 1))
    assert not {op for op in done.ops if "Quantize" in op or "QLinear" in op or "Integer" in op}


def test_nothing_is_cast_between_quantization_and_back(check) -> None:
    assert "Cast" not in check(HEAD + FORMS["there and back"]).ops


@pytest.mark.parametrize("op", ["MatMulInteger", "ConvInteger"])
def test_sums_beyond_float32_are_exact(op: str, check) -> None:
    """600 products of 255 * 255 add up to more than 2^24: a single float32 sum would lose the last bits."""
    rng = np.random.default_rng(0)
    shape, weights = ((2, 600), (600, 3)) if op == "MatMulInteger" else ((1, 600, 2, 2), (3, 600, 1, 1))
    data: Any = rng.integers(200, 256, shape, dtype=np.uint8)
    dims = ",".join(map(str, shape))
    out = "2,3" if op == "MatMulInteger" else "1,3,2,2"
    text = f"{HEAD} g (uint8[{dims}] x) => (int32[{out}] y) {{ y = {op}(x, w) }}"
    wide = rng.integers(200, 256, weights, dtype=np.uint8)
    done = check(text, *PASSES, initializers={"w": wide}, feeds={"x": data}, tolerance=0.0)
    assert done.ops["Slice"] >= 2


def test_weights_of_a_quantized_source_become_float_constants(check) -> None:
    text = (
        HEAD + "g (float[2,4] x) => (float[2,3] y) <float s = {0.05}, int8 z = {3}>"
        "{ f = DequantizeLinear(w, s, z) y = MatMul(x, f) }"
    )
    weights = np.random.default_rng(0).integers(-128, 127, (4, 3)).astype(np.int8)
    assert check(text, initializers={"w": weights}).ops == {"MatMul": 1}


@pytest.mark.parametrize("kind", [TensorProto.INT4, TensorProto.UINT4])
def test_weights_of_four_bits_in_blocks(kind: int, check) -> None:
    text = (
        HEAD + "g (float[2,8] x) => (float[2,3] y)"
        "{ f = DequantizeLinear<axis = 0, block_size = 4>(w, s, z) y = MatMul(x, f) }"
    )
    proto = onnx.parser.parse_model(text)
    rng = np.random.default_rng(0)
    for name, shape in (("w", (8, 3)), ("z", (2, 3))):
        values = rng.integers(0, 8, shape).reshape(-1)
        proto.graph.initializer.append(helper.make_tensor(name, kind, shape, values))
    proto.graph.initializer.append(numpy_helper.from_array(rng.random((2, 3), np.float32), "s"))
    assert check(proto).ops == {"MatMul": 1}


def test_types_that_float32_cannot_hold_are_left_alone(check) -> None:
    text = (
        HEAD + "g (float[4] x) => (float[4] y) <float s = {0.05}>"
        "{ q = QuantizeLinear<output_dtype = 17>(x, s) y = DequantizeLinear(q, s) }"
    )
    assert check(text, *PASSES).ops["QuantizeLinear"] == 1
