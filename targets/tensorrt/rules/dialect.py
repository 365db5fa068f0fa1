"""What an older TensorRT does not read although the newest does."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from edgeport.targets.tensorrt.rules.reading import Quantizer, Reading, constant, label
from edgeport.targets.tensorrt.rules.registry import Broken, rule
from edgeport.targets.tensorrt.version import Version

_TENSORRT_10 = Version(10, 0)
_REPEAT = "give every Q and DQ an int8 zero point 0 of the scale's shape as its third input"
_SMALL = (ir.DataType.INT8, ir.DataType.UINT8)


def _is_old(reading: Reading) -> bool:
    return reading.board.oldest < _TENSORRT_10


def _older(reading: Reading) -> str:
    return f"TensorRT {reading.board.oldest}"


@rule("trt-opset", "error")
def opset(reading: Reading) -> Iterator[Broken]:
    """The file's opset must be one that the board's parser knows.

    The parsers do not look at it, and import what an operator meant in the newest opset they know (docs/operators.md of
    each branch of onnx-tensorrt says which): what moved since, such as axes from attribute to input, is lost.
    """
    found, newest = reading.opsets.get("", 1), reading.board.opset
    if found > newest:
        message = f"the file has opset {found}; {_older(reading)} of {reading.board.device} reads up to opset {newest}"
        yield Broken(None, message, f"export it with opset {newest}")


@rule("trt-missing-zero-point", "error")
def missing_zero_point(reading: Reading) -> Iterator[Broken]:
    """Before TensorRT 10 every Q and DQ needs all three inputs.

    onnx-tensorrt of 8.x asserts "This version of TensorRT requires 3 inputs for the DequantizeLinear operator".
    """
    for q in reading.parameters():
        if q.zero_point is None and _is_old(reading):
            message = f"the {_kind(q)} of {label(q.data)} has no zero point input; {_older(reading)} requires one"
            yield Broken(q.node, message, _REPEAT)


@rule("trt-implied-uint8", "warning")
def implied_uint8(reading: Reading) -> Iterator[Broken]:
    """A Q that names no type gives uint8 by ONNX's definition and int8 in TensorRT 10 and later.

    So TensorRT's numbers are others than those of every other runtime, which clips what is negative.
    """
    for q in reading.quantizers:
        if q.quantizes and q.stored is None and not _is_old(reading):
            message = f"the Q of {label(q.data)} names no type: ONNX says uint8, TensorRT makes it int8"
            yield Broken(q.node, message, _REPEAT)


@rule("trt-int8-initializer", "error")
def int8_initializer(reading: Reading) -> Iterator[Broken]:
    """Before TensorRT 10 weights must be float32 in front of Q and DQ.

    An int8 constant fails as "invalid weights type of Int8" (NVIDIA/TensorRT#2163 on 8.4, microsoft/onnxruntime#11535).
    """
    for q in reading.quantizers:
        alone = not q.quantizes and reading.made_by(q.data, quantizes=True) is None
        if alone and _is_old(reading) and q.stored in _SMALL and reading.is_constant(q.data):
            message = f"{label(q.data)} is stored as {_type(q)}; {_older(reading)} takes no weights of that type"
            hint = "store float32 weights in front of Q and DQ (ONNX Runtime: AddQDQPairToWeight=True)"
            yield Broken(q.node, message, hint)


@rule("trt-half-scale", "error")
def half_scale(reading: Reading) -> Iterator[Broken]:
    """Before TensorRT 10 scales must be float32: the parser reads their bytes as float32, whatever they are."""
    for q in reading.parameters():
        scale = constant(q.scale)
        if scale is not None and _is_old(reading) and scale.dtype != "float32":
            message = f"the scale of {label(q.data)} is {scale.dtype}; {_older(reading)} reads its bytes as float32"
            yield Broken(q.node, message, "store float32 scales (ModelOpt: --high_precision_dtype fp32)")


@rule("trt-shared-zero-point", "error")
def shared_zero_point(reading: Reading) -> Iterator[Broken]:
    """Before TensorRT 10 a zero point must be an initializer itself.

    Exporters that store equal constants once hand them on through Identity, which makes an int8 tensor of the zero
    point: "invalid weights type of Int8", as for weights.
    """
    for q in reading.parameters():
        node = None if q.zero_point is None else q.zero_point.producer()
        if _is_old(reading) and node is not None and node.op_type != "Constant":
            message = f"the zero point of {label(q.data)} comes through {node.op_type} {node.name!r}"
            hint = "give every Q and DQ its own zero point initializer (polygraphy surgeon sanitize --fold-constants)"
            yield Broken(q.node, f"{message}; {_older(reading)} takes an initializer only", hint)


@rule("trt-missing-axis", "error")
def missing_axis(reading: Reading) -> Iterator[Broken]:
    """Scales by channel need a stated axis: without one, ONNX means 1 and TensorRT 8's parser 0.

    onnx-tensorrt of 8.x: without the attribute the axis is the rank, which becomes 0 where there are several scales.
    """
    for q in reading.quantizers:
        count = q.scales
        if q.axis is None and not q.block and count is not None and count > 1 and _is_old(reading):
            message = f"the {count} scales of {label(q.data)} have no axis: ONNX means 1, {_older(reading)} 0"
            yield Broken(q.node, message, "state the axis of the output channels on Q and DQ")


@rule("trt-microsoft-domain", "error")
def microsoft_domain(reading: Reading) -> Iterator[Broken]:
    """Q and DQ must be ONNX's own; those of com.microsoft are read by the newest parsers only (measured: 11 does)."""
    for q in reading.quantizers:
        if _is_old(reading) and q.node.domain == "com.microsoft":
            message = f"the {_kind(q)} of {label(q.data)} is of the domain com.microsoft, not ONNX's own"
            yield Broken(q.node, message, "quantize without UseQDQContribOps, for opset 13 or newer")


def _kind(q: Quantizer) -> str:
    return "Q" if q.quantizes else "DQ"


def _type(q: Quantizer) -> str:
    return "integers" if q.stored is None else q.stored.name.lower()
