"""Operator versions: the smallest that has the feature used, and the oldest runtime that knows it.

Facts from LiteRT's tflite/tools/versioning/op_version.cc and runtime_version.cc. A version that is too low
would let an old runtime misread the operator; one that is too high would keep the file off old phones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from edgeport.quantize.plan import QParams


class TensorFacts(NamedTuple):
    """What a version depends on."""

    shape: tuple[int, ...]
    dtype: str
    quant: QParams | None


Facts = Sequence[TensorFacts | None]

_INT8_IS_2 = frozenset(
    {
        "ADD",
        "ARG_MAX",
        "ARG_MIN",
        "AVERAGE_POOL_2D",
        "BATCH_MATMUL",
        "CONCATENATION",
        "DEPTH_TO_SPACE",
        "EQUAL",
        "EXP",
        "GATHER",
        "GELU",
        "GREATER",
        "GREATER_EQUAL",
        "LESS",
        "LESS_EQUAL",
        "LOG",
        "LOGISTIC",
        "LOG_SOFTMAX",
        "MAXIMUM",
        "MAX_POOL_2D",
        "MEAN",
        "MINIMUM",
        "MIRROR_PAD",
        "NOT_EQUAL",
        "PAD",
        "PADV2",
        "REDUCE_MAX",
        "REDUCE_MIN",
        "REDUCE_PROD",
        "RELU",
        "RELU6",
        "RSQRT",
        "SLICE",
        "SOFTMAX",
        "SPACE_TO_DEPTH",
        "SPLIT_V",
        "SQUARED_DIFFERENCE",
        "STRIDED_SLICE",
        "SUB",
        "SUM",
        "TANH",
        "TOPK_V2",
        "TRANSPOSE",
    }
)
_BROADCAST_OVER_4D = {"MAXIMUM": 3, "MINIMUM": 3, "SUB": 3, "DIV": 2}
_OVER_4D = {"SLICE": 5, "STRIDED_SLICE": 4, "PAD": 4, "PADV2": 4, "TRANSPOSE": 4}
_INT64 = {"ADD": 4, "SUB": 4, "MUL": 5}
_BOOL = {"GATHER": 3, "TRANSPOSE": 3, "STRIDED_SLICE": 3, "REVERSE_V2": 2, "ARG_MAX": 3, "ARG_MIN": 3, "GATHER_ND": 5}
_BOOL |= {"PAD": 5, "PADV2": 5, "UNPACK": 3}

_SINCE = {
    ("BATCH_MATMUL", 1): "2.3.0",
    ("BATCH_MATMUL", 2): "2.3.0",
    ("BATCH_MATMUL", 4): "2.5.0",
    ("BROADCAST_TO", 2): "2.5.0",
    ("BROADCAST_TO", 3): "2.5.0",
    ("CONV_2D", 5): "2.4.0",
    ("CONV_2D", 6): "2.9.0",
    ("DEPTHWISE_CONV_2D", 6): "2.3.0",
    ("ADD", 4): "2.6.0",
    ("SUB", 3): "2.3.0",
    ("SUB", 4): "2.4.0",
    ("MUL", 5): "2.6.0",
    ("DIV", 2): "2.3.0",
    ("CAST", 3): "2.8.0",
    ("CAST", 5): "2.12.0",
    ("DEPTH_TO_SPACE", 1): "2.1.0",
    ("DEPTH_TO_SPACE", 2): "2.5.0",
    ("FULLY_CONNECTED", 5): "2.0.0",
    ("FULLY_CONNECTED", 6): "2.1.0",
    ("FULLY_CONNECTED", 9): "2.3.0",
    ("FULLY_CONNECTED", 12): "2.17.0",
    ("EMBEDDING_LOOKUP", 4): "2.18.0",
    ("GATHER", 5): "2.5.0",
    ("GATHER_ND", 5): "2.16.0",
    ("MAXIMUM", 3): "2.3.0",
    ("MINIMUM", 3): "2.3.0",
    ("PAD", 4): "2.6.0",
    ("PADV2", 4): "2.6.0",
    ("PAD", 5): "2.18.0",
    ("PADV2", 5): "2.18.0",
    ("TILE", 3): "2.8.0",
    ("TRANSPOSE", 4): "2.3.0",
    ("TRANSPOSE", 6): "2.12.0",
    ("RESIZE_BILINEAR", 3): "2.2.0",
    ("RESIZE_NEAREST_NEIGHBOR", 3): "2.3.0",
    ("SPLIT_V", 2): "2.3.0",
    ("STRIDED_SLICE", 3): "2.1.0",
    ("STRIDED_SLICE", 4): "2.2.0",
    ("ARG_MAX", 3): "2.9.0",
    ("ARG_MIN", 3): "2.9.0",
    ("TRANSPOSE_CONV", 2): "2.2.0",
    ("TRANSPOSE_CONV", 3): "2.3.0",
    ("TRANSPOSE_CONV", 4): "2.13.0",
    ("SLICE", 5): "2.5.0",
    ("LEAKY_RELU", 2): "2.3.0",
    ("SQUARED_DIFFERENCE", 2): "2.5.0",
    ("MIRROR_PAD", 2): "2.3.0",
    ("DEQUANTIZE", 5): "2.7.0",
    ("QUANTIZE", 3): "2.7.0",
    ("SCATTER_ND", 1): "2.1.0",
    ("SELECT_V2", 1): "2.2.0",
    ("RELU", 2): "2.1.0",
    ("EXP", 2): "2.12.0",
    ("LOG", 2): "2.15.0",
    ("RSQRT", 2): "2.5.0",
    ("ABS", 2): "2.4.0",
    ("ABS", 5): "2.12.0",
    ("REVERSE_V2", 2): "2.2.0",
    ("REVERSE_V2", 3): "2.5.0",
    ("REDUCE_PROD", 2): "2.6.0",
    ("REDUCE_ALL", 1): "2.6.0",
    ("RELU_0_TO_1", 1): "2.10.0",
    ("CUMSUM", 1): "2.4.0",
    ("GELU", 1): "2.9.0",
    ("GELU", 2): "2.9.0",
    ("SIGN", 1): "2.11.0",
    ("SIGN", 2): "2.12.0",
    ("ATAN2", 1): "2.10.0",
    ("BITWISE_XOR", 1): "2.13.0",
    ("DYNAMIC_UPDATE_SLICE", 1): "2.9.0",
    ("UNSORTED_SEGMENT_MAX", 1): "2.10.0",
    ("UNSORTED_SEGMENT_MIN", 1): "2.11.0",
    ("UNSORTED_SEGMENT_PROD", 1): "2.10.0",
}
_OLDEST = "1.15.0"
_INT16 = {
    "ADD": (3, "2.4.0"),
    "AVERAGE_POOL_2D": (3, "2.3.0"),
    "BATCH_MATMUL": (3, "2.4.0"),
    "CONCATENATION": (3, "2.3.0"),
    "CONV_2D": (4, "2.3.0"),
    "DEPTHWISE_CONV_2D": (5, "2.3.0"),
    "DEQUANTIZE": (3, "2.1.0"),
    "FULLY_CONNECTED": (7, "2.3.0"),
    "GATHER": (4, "2.4.0"),
    "LEAKY_RELU": (2, "2.3.0"),
    "LOGISTIC": (3, "2.3.0"),
    "MAX_POOL_2D": (3, "2.3.0"),
    "MEAN": (3, "2.4.0"),
    "MUL": (4, "2.3.0"),
    "PAD": (3, "2.4.0"),
    "PADV2": (3, "2.4.0"),
    "RELU": (3, "2.5.0"),
    "RESIZE_BILINEAR": (4, "2.5.0"),
    "RESIZE_NEAREST_NEIGHBOR": (4, "2.4.0"),
    "SLICE": (4, "2.4.0"),
    "SPLIT": (4, "2.3.0"),
    "SUB": (5, "2.4.0"),
    "TANH": (3, "2.3.0"),
    "TRANSPOSE": (5, "2.4.0"),
}
"""Version of an operator on quantized int16, and its first runtime."""
_SINCE |= {(code, version): since for code, (version, since) in _INT16.items()}


def min_runtime(codes: Iterable[tuple[str, int]]) -> str:
    """The oldest TFLite runtime that knows every (operator, version)."""
    return max(
        (_SINCE.get(code, _OLDEST) for code in codes), key=lambda v: [int(x) for x in v.split(".")], default=_OLDEST
    )


def op_version(code: str, inputs: Facts, outputs: Facts, options: Mapping[str, Any]) -> int:
    """The version of one operator."""
    carried = inputs[1] if code == "SPLIT" else next((t for t in inputs if t is not None), None)
    if carried is not None and carried.dtype == "int16" and code in _INT16:
        return _INT16[code][0]
    special = _SPECIAL.get(code)
    if special is not None:
        return special(inputs, outputs, options)
    data = next((t for t in inputs if t is not None), None)
    if data is None:
        return 1
    rank = max(len(t.shape) for t in inputs if t is not None)
    if code in _OVER_4D and len(data.shape) > 4:
        return 6 if code == "TRANSPOSE" and len(data.shape) > 5 else _OVER_4D[code]
    if data.dtype == "bool" and code in _BOOL:
        return _BOOL[code]
    if data.dtype == "int64" and code in _INT64:
        return _INT64[code]
    if code in _BROADCAST_OVER_4D and rank > 4 and len({t.shape for t in inputs if t is not None}) > 1:
        return _BROADCAST_OVER_4D[code]
    if data.dtype == "int8" and code in _INT8_IS_2:
        return 2
    return 1


def _dtypes(facts: Facts) -> list[str]:
    return ["" if t is None else t.dtype for t in facts]


def _per_channel(t: TensorFacts | None) -> bool:
    return t is not None and t.quant is not None and t.quant.axis is not None


def _conv(inputs: Facts, outputs: Facts, options: Mapping[str, Any]) -> int:
    x, w = inputs[0], inputs[1]
    assert x is not None
    assert w is not None
    if x.shape[3] != w.shape[3]:
        return 6
    if x.dtype == "int8":
        return 3
    if w.dtype == "int8":
        return 5 if _per_channel(w) else 2
    return 1


def _depthwise(inputs: Facts, outputs: Facts, options: Mapping[str, Any]) -> int:
    if _dtypes(inputs)[0] == "int8":
        return 3
    return 2 if (options["dilationWFactor"], options["dilationHFactor"]) != (1, 1) else 1


def _fully_connected(inputs: Facts, outputs: Facts, options: Mapping[str, Any]) -> int:
    x, w = _dtypes(inputs)[:2]
    if x == "float32" and w in ("int4", "int8") and _per_channel(inputs[1]):
        return 12
    if x == "float32" and w == "int8":
        return 9
    if len(inputs) == 2 or inputs[2] is None:
        return 6
    if options["keepNumDims"]:
        return 5
    return 4 if x == "int8" else 1


def _transpose_conv(inputs: Facts, outputs: Facts, options: Mapping[str, Any]) -> int:
    if options["fusedActivationFunction"]:
        return 4
    if len(inputs) == 4:
        return 3
    return 2 if _dtypes(inputs)[1] == "int8" else 1


def _dequantize(inputs: Facts, outputs: Facts, options: Mapping[str, Any]) -> int:
    if _dtypes(inputs)[0] == "float16":
        return 3
    return 5 if _per_channel(inputs[0]) else 2


def _quantize(inputs: Facts, outputs: Facts, options: Mapping[str, Any]) -> int:
    return 2 if _dtypes(outputs)[0] == "int16" else 1


def _mul(inputs: Facts, outputs: Facts, options: Mapping[str, Any]) -> int:
    a, b, y = inputs[0], inputs[1], outputs[0]
    assert a is not None
    assert b is not None
    assert y is not None
    if a.dtype == "int64":
        return 5
    if a.quant is not None and b.quant is not None and y.quant is not None:
        ratio = float(a.quant.scale) * float(b.quant.scale) / float(y.quant.scale)
        return 3 if ratio >= 1 else 2
    return 1


def _cast(inputs: Facts, outputs: Facts, options: Mapping[str, Any]) -> int:
    kinds = {_dtypes(inputs)[0], _dtypes(outputs)[0]}
    return 5 if {"float16", "float64"} & set(kinds) else 3 if "int8" in kinds else 1


def _split(inputs: Facts, outputs: Facts, options: Mapping[str, Any]) -> int:
    return {"int32": 3, "int8": 2}.get(_dtypes(inputs)[1], 1)


def _resize_bilinear(inputs: Facts, outputs: Facts, options: Mapping[str, Any]) -> int:
    return 3 if options["halfPixelCenters"] else 2 if _dtypes(inputs)[0] == "int8" else 1


def _resize_nearest(inputs: Facts, outputs: Facts, options: Mapping[str, Any]) -> int:
    return 3 if options["halfPixelCenters"] or options["alignCorners"] else 2 if _dtypes(inputs)[0] == "int8" else 1


def _int32(version: int) -> Callable[[Facts, Facts, Mapping[str, Any]], int]:
    def rule(inputs: Facts, outputs: Facts, options: Mapping[str, Any]) -> int:
        by_dtype = {"int32": version, "int8": 2}
        return by_dtype.get(_dtypes(inputs)[0], 1)

    return rule


def _int8_is_3(inputs: Facts, outputs: Facts, options: Mapping[str, Any]) -> int:
    return {"int8": 3, "bool": 2}.get(_dtypes(inputs)[0], 1)


def _tile(inputs: Facts, outputs: Facts, options: Mapping[str, Any]) -> int:
    return 3 if _dtypes(inputs)[0] == "int8" else 1


def _broadcast_to(inputs: Facts, outputs: Facts, options: Mapping[str, Any]) -> int:
    return 3 if _dtypes(inputs)[0] == "int8" else 2


def _gather(inputs: Facts, outputs: Facts, options: Mapping[str, Any]) -> int:
    return 5 if options["batchDims"] else {"bool": 3, "int8": 2}.get(_dtypes(inputs)[0], 1)


_Rule = Callable[[Facts, Facts, Mapping[str, Any]], int]


def _embedding_lookup(inputs: Facts, outputs: Facts, options: Mapping[str, Any]) -> int:
    return 4 if _per_channel(inputs[1]) or _dtypes(inputs)[1] == "int4" else 1


_SPECIAL: dict[str, _Rule] = {
    "QUANTIZE": _quantize,
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "FULLY_CONNECTED": _fully_connected,
    "TRANSPOSE_CONV": _transpose_conv,
    "DEQUANTIZE": _dequantize,
    "MUL": _mul,
    "CAST": _cast,
    "SPLIT": _split,
    "RESIZE_BILINEAR": _resize_bilinear,
    "RESIZE_NEAREST_NEIGHBOR": _resize_nearest,
    "ABS": _int32(5),
    "SIGN": _int32(2),
    "TILE": _tile,
    "REVERSE_V2": _int8_is_3,
    "BROADCAST_TO": _broadcast_to,
    "GATHER": _gather,
    "EMBEDDING_LOOKUP": _embedding_lookup,
}
