"""Arithmetic on plain 8-bit integers in int32: LiteRT's own kernels would read the bytes as quantized numbers.

    a, b: uint8 --> ADD --> y: uint8      ==>      a, b --> CAST(int32) --> ADD --> CAST(uint8) --> y

CAST keeps the low bits, which is ONNX's wraparound. Some kernels lack int64 or bool; where another operator gives the
same numbers, that one is used by the lowering itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgeport.targets.tflite.builder import Builder, Tensor, schema

WIDE = "int32"
_NARROW = ("int8", "uint8")
_IN_INT32 = frozenset(
    {
        "ABS",
        "ADD",
        "CUMSUM",
        "DEPTH_TO_SPACE",
        "DIV",
        "EQUAL",
        "FLOOR_DIV",
        "FLOOR_MOD",
        "GREATER",
        "GREATER_EQUAL",
        "LESS",
        "LESS_EQUAL",
        "MAXIMUM",
        "MEAN",
        "MINIMUM",
        "MUL",
        "NEG",
        "NOT_EQUAL",
        "PAD",
        "PADV2",
        "POW",
        "REDUCE_MAX",
        "REDUCE_MIN",
        "REDUCE_PROD",
        "RESIZE_NEAREST_NEIGHBOR",
        "SIGN",
        "SPACE_TO_DEPTH",
        "SQUARED_DIFFERENCE",
        "SUB",
        "SUM",
    }
)
"""Operators that LiteRT knows for quantized bytes only and whose int32 kernels are exact (LiteRT 2.3.0, each tried)."""


def needs_width(code: str, inputs: Sequence[Tensor | None]) -> bool:
    """Whether an operator would take 8-bit integers that are plain numbers for quantized ones."""
    return code in _IN_INT32 and any(t is not None and _narrow(t) for t in inputs)


def widened(builder: Builder, tensor: Tensor | None) -> Tensor | None:
    """An operand in int32; one that is no 8-bit integer as it is."""
    if tensor is None or not _narrow(tensor):
        return tensor
    wide = builder.tensor(f"{tensor.name}/wide", tensor.shape, WIDE)
    emit_cast(builder, tensor, wide)
    return wide


def wide_result(builder: Builder, tensor: Tensor) -> Tensor:
    """Where the operator in int32 writes what `tensor` is to hold."""
    return builder.tensor(f"{tensor.name}/wide", tensor.shape, WIDE) if _narrow(tensor) else tensor


def emit_cast(builder: Builder, x: Tensor, out: Tensor) -> None:
    """CAST between plain types."""
    types = schema().TensorType
    source, target = (int(getattr(types, t.dtype.upper())) for t in (x, out))
    builder.op("CAST", [x], [out], "CastOptions", inDataType=source, outDataType=target)


def _narrow(tensor: Tensor) -> bool:
    return tensor.quant is None and tensor.dtype in _NARROW
