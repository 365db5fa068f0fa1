"""The types that numbers are stored in."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from edgeport.targets.tensorrt.rules.reading import Quantizer, Reading, constant, label
from edgeport.targets.tensorrt.rules.registry import Broken, rule

_SIXTEEN = (ir.DataType.INT16, ir.DataType.UINT16)
_KNOWN = (
    ir.DataType.INT8,
    ir.DataType.UINT8,
    ir.DataType.INT4,
    ir.DataType.INT32,
    ir.DataType.FLOAT8E4M3FN,
    ir.DataType.FLOAT4E2M1,
    *_SIXTEEN,
)


def _of_type(reading: Reading, *types: ir.DataType) -> Iterator[Quantizer]:
    """The Q nodes of these types, and the DQ nodes that stand without a Q."""
    for q in reading.quantizers:
        if q.stored in types and (q.quantizes or reading.made_by(q.data, quantizes=True) is None):
            yield q


@rule("trt-uint8", "error")
def uint8(reading: Reading) -> Iterator[Broken]:
    """Integers must be int8.

    With zero point 128 every parser refuses uint8. With 0, those of TensorRT 10 and 11 only warn and read int8: what is
    above 127 steps, half of the range of a ReLU, is clipped silently (measured: 45 dB become 24 dB).
    """
    for q in _of_type(reading, ir.DataType.UINT8):
        zero = constant(q.zero_point)
        if zero is not None and zero.any():
            message = (
                f"{label(q.data)} is quantized to uint8 with zero point {zero.reshape(-1)[0]}; TensorRT refuses it"
            )
        else:
            message = (
                f"{label(q.data)} is quantized to uint8; TensorRT reads int8 and clips the upper half of the range"
            )
        yield Broken(
            q.node, message, "quantize to int8 (ONNX Runtime: activation_type and weight_type QuantType.QInt8)"
        )


@rule("trt-int32-bias", "error")
def int32_bias(reading: Reading) -> Iterator[Broken]:
    """Biases must be float: a DQ of int32 is refused.

    Measured with NVIDIA's parser ("input has type Int32 but must have type FP8, FP4, Int4, Int8"), and
    onnx/onnx-tensorrt#850 for TensorRT 8.
    """
    for q in _of_type(reading, ir.DataType.INT32):
        message = f"{label(q.data)} is an int32 bias behind DequantizeLinear; TensorRT refuses int32 there"
        yield Broken(q.node, message, "keep biases in float (ONNX Runtime: extra_options={'QuantizeBias': False})")


@rule("trt-int16", "error")
def int16(reading: Reading) -> Iterator[Broken]:
    """There are no kernels of 16-bit integers; every parser refuses them (measured)."""
    for q in _of_type(reading, *_SIXTEEN):
        assert q.stored is not None
        message = f"{label(q.data)} is quantized to {q.stored.name.lower()}; TensorRT has no 16-bit integers"
        yield Broken(q.node, message, "quantize to int8, or leave the layer in float16")


@rule("trt-unsupported-type", "error")
def unsupported_type(reading: Reading) -> Iterator[Broken]:
    """Of ONNX's small types only int8, int4, float8e4m3fn and float4e2m1 exist in TensorRT.

    onnx-tensorrt, checkQuantizationDatatype: "TensorRT only allows FP8, INT8, INT4, and FP4 quantization".
    """
    for q in reading.quantizers:
        of_dq = not q.quantizes and reading.made_by(q.data, quantizes=True) is not None
        if q.stored is not None and q.stored not in _KNOWN and not of_dq:
            message = f"{label(q.data)} is quantized to {q.stored.name.lower()}, a type that TensorRT does not have"
            yield Broken(q.node, message, "quantize to int8 with zero point 0")


@rule("trt-no-int8", "error")
def no_int8(reading: Reading) -> Iterator[Broken]:
    """Boards without integer kernels build no network with Q/DQ.

    NVIDIA/TensorRT#3157: "Networks with QuantizeLayer/DequantizeLayer layers require hardware with Int8 support".
    """
    if "int8" in reading.board.precisions or not reading.quantizers:
        return
    first = reading.quantizers[0]
    message = f"{reading.board.device} has no int8: TensorRT builds no network with Q/DQ on it"
    yield Broken(first.node, message, "ship the float model and build it with --fp16")


@rule("trt-no-fp8", "error")
def no_fp8(reading: Reading) -> Iterator[Broken]:
    """float8 needs Ada, Hopper or Blackwell; elsewhere the builder refuses: "HW-specific datatypes: fp8_e4m3"."""
    if "fp8" in reading.board.precisions:
        return
    for q in _of_type(reading, ir.DataType.FLOAT8E4M3FN):
        message = f"{label(q.data)} is quantized to float8, which {reading.board.device} cannot compute"
        yield Broken(q.node, message, "quantize to int8; of the Jetsons, Thor has float8")


@rule("trt-no-int4", "error")
def no_int4(reading: Reading) -> Iterator[Broken]:
    """int4 came with TensorRT 10, and a board must read its opset (21)."""
    if "int4-weights" in reading.board.precisions:
        return
    for q in _of_type(reading, ir.DataType.INT4):
        message = f"{label(q.data)} is stored as int4, which TensorRT {reading.board.oldest} of the board cannot read"
        yield Broken(q.node, message, "store int8 weights, or leave them in float16")


@rule("trt-int4-activation", "error")
def int4_activation(reading: Reading) -> Iterator[Broken]:
    """int4 is for weights only: they are made float again before they are used.

    NVIDIA's guide on quantized types has int4 for weights alone. The parser takes such a file, the builder fails
    (measured).
    """
    for q in reading.quantizers:
        if q.quantizes and q.stored == ir.DataType.INT4 and not reading.is_constant(q.data):
            message = f"the activation {label(q.data)} is quantized to int4; TensorRT has int4 for weights only"
            yield Broken(q.node, message, "quantize activations to int8, or leave them in float16")
