"""Which operators of a loaded file XNNPACK leaves to LiteRT's own kernels, and why (LiteRT 2.3.0, each rule tried)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

# fmt: off
_INT8 = frozenset({
    "ADD", "BATCH_MATMUL", "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D", "DEPTH_TO_SPACE", "DEQUANTIZE",
    "ELU", "FULLY_CONNECTED", "LEAKY_RELU", "LOGISTIC", "MAX_POOL_2D", "MEAN", "MUL", "PAD", "QUANTIZE",
    "REDUCE_MAX", "REDUCE_MIN", "RESHAPE", "RESIZE_BILINEAR", "SLICE", "SPACE_TO_DEPTH", "SPLIT",
    "STRIDED_SLICE", "SUB", "SUM", "TANH", "TRANSPOSE", "TRANSPOSE_CONV",
})
_FLOAT_ONLY = frozenset({
    "ABS", "AVERAGE_POOL_2D", "CEIL", "COS", "DIV", "EXP", "FLOOR", "GELU", "HARD_SWISH", "LOG", "MAXIMUM",
    "MINIMUM", "NEG", "PRELU", "RELU", "RELU6", "RELU_N1_TO_1", "ROUND", "RSQRT", "SIN", "SOFTMAX", "SQRT",
    "SQUARE", "SQUARED_DIFFERENCE",
})
# fmt: on
_MOST_PARTS = {"CONCATENATION": 5, "SPLIT": 4}
_WIDE_GAIN = {"ADD": (2.0**-10, 2.0**8), "SUB": (2.0**-10, 2.0**8), "MUL": (2.0**-16, 2.0**8)}
"""Input scale (for MUL their product) divided by output scale."""


@dataclass(frozen=True)
class Left:
    """An operator that runs outside of XNNPACK.

    Attributes:
        op: TFLite's name of it.
        node: the tensor that it computes, which is named after its value in the canonical graph.
        dtype: what it computes with.
        reason: why XNNPACK does not take it.
    """

    op: str
    node: str
    dtype: str
    reason: str


_CONTROL = frozenset({"WHILE"})
"""Operators that only call a subgraph, whose own operators XNNPACK takes (the LSTM loop without it: twice the time)."""


def left_over(engine: Any) -> tuple[list[str], list[Left]]:
    """All operators, and those left over, in the file's order.

    Args:
        engine: an interpreter with `experimental_disable_delegate_node_fusion`: every operator that XNNPACK takes
            stands beside a DELEGATE with the same outputs.
    """
    details = engine._get_ops_details()
    tensors = {t["index"]: t for t in engine.get_tensor_details()}
    delegated = {i for op in details if op["op_name"] == "DELEGATE" for i in op["outputs"].tolist()}
    own = [op for op in details if op["op_name"] != "DELEGATE"]
    return [op["op_name"] for op in own], [
        _left(op, tensors)
        for op in own
        if op["op_name"] not in _CONTROL and not delegated.intersection(op["outputs"].tolist())
    ]


def _left(op: Mapping[str, Any], tensors: Mapping[int, Mapping[str, Any]]) -> Left:
    name = op["op_name"]
    inputs = [tensors[i] for i in op["inputs"].tolist() if i in tensors]
    outputs = [tensors[i] for i in op["outputs"].tolist() if i in tensors]  # a WHILE's unread ones are -1
    values = [t for t in (*outputs, *inputs) if np.dtype(t["dtype"]).kind == "f" or _scale(t) is not None]
    dtypes = list(dict.fromkeys(np.dtype(t["dtype"]).name for t in (values or [*outputs, *inputs])))
    reason = next(_reasons(name, dtypes, inputs, outputs))
    return Left(name, outputs[0]["name"] if outputs else "", "/".join(sorted(dtypes)), reason)


def _reasons(
    name: str, dtypes: Sequence[str], inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    if name not in _INT8 | _FLOAT_ONLY:
        yield f"XNNPACK has no {name}"
    foreign = next((d for d in dtypes if d not in ("float32", "int8")), None)
    if foreign is not None:
        yield f"XNNPACK has no {name} for {foreign}"
    if "int8" in dtypes and name not in _INT8:
        yield f"XNNPACK has {name} for float32 only"
    if name == "BATCH_MATMUL" and len(inputs) > 1 and (zero := _zero_point(inputs[1])):
        yield f"its right-hand side has zero point {zero}, and XNNPACK's integer kernel takes 0 only"
    if name == "DEPTHWISE_CONV_2D" and "float32" in dtypes and "int8" in dtypes:
        yield "XNNPACK has no DEPTHWISE_CONV_2D of float32 by int8"
    parts = outputs if name == "SPLIT" else inputs
    if len(parts) > _MOST_PARTS.get(name, len(parts)):
        yield f"XNNPACK's {name} takes up to {_MOST_PARTS[name]} parts, not {len(parts)}"
    if name in _WIDE_GAIN and (gain := _outside(name, inputs, outputs)) is not None:
        yield f"its inputs' scale is {gain:.3g} times its output's, beyond what XNNPACK's integer kernel takes"
    rank = max((len(t["shape"]) for t in (*inputs, *outputs)), default=0)
    if rank > 4:
        yield f"XNNPACK does not take this {name} of {rank} dimensions"
    yield f"XNNPACK does not take this form of {name}"


def _scale(tensor: Mapping[str, Any]) -> float | None:
    scales = tensor["quantization_parameters"]["scales"]
    return float(scales[0]) if len(scales) else None


def _zero_point(tensor: Mapping[str, Any]) -> int:
    points = tensor["quantization_parameters"]["zero_points"]
    return int(points[0]) if len(points) else 0


def _outside(name: str, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]) -> float | None:
    """The first gain that is out of bounds, None if there is none."""
    result, operands = _scale(outputs[0]), [_scale(t) for t in inputs]
    if result is None or None in operands:
        return None
    scales = [s for s in operands if s is not None]
    gains = [float(np.prod(scales)) / result] if name == "MUL" else [s / result for s in scales]
    low, high = _WIDE_GAIN[name]
    return next((g for g in gains if not low <= g < high), None)
