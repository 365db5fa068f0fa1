"""Activations in int8: quantize and dequantize."""

from __future__ import annotations

import numpy as np

from edgeport.targets.coreml.evaluator.call import Call
from edgeport.targets.coreml.evaluator.program import BY_NAME
from edgeport.targets.coreml.evaluator.registry import Array, EvaluationError, evaluates

_LIMITS = {
    name: (np.array(low, np.float32), np.array(high, np.float32))
    for name, low, high in (("int8", -128, 127), ("uint8", 0, 255))
}


@evaluates("quantize")
def quantize(call: Call) -> Array:
    """`clip(round(input / scale) + zero_point)`, halves to even."""
    x = call.array("input")
    dtype = call.text("output_dtype")
    if dtype not in _LIMITS:
        raise EvaluationError(f"output type {dtype!r}; only int8 and uint8 are defined")
    scale, zero_point = _parameters(call, x)
    low, high = _LIMITS[dtype]
    steps = np.asarray(x / scale)
    np.rint(steps, out=steps)
    if zero_point is not None:
        steps += zero_point
    np.maximum(steps, low, out=steps)
    np.minimum(steps, high, out=steps)
    return steps.astype(BY_NAME[dtype].numpy)


@evaluates("dequantize")
def dequantize(call: Call) -> Array:
    """`scale * (input - zero_point)`."""
    x = call.array("input")
    scale, zero_point = _parameters(call, x)
    result: Array = x.astype(np.float32)
    if zero_point is not None:
        result -= zero_point
    result *= scale
    return result


def _parameters(call: Call, x: Array) -> tuple[Array, Array | None]:
    """Scale and zero point as float32, of rank 0 or along `axis`."""
    scale, zero_point, axis = call.array("scale"), call.maybe("zero_point"), call.maybe("axis")
    return _along(scale, axis, x), None if zero_point is None else _along(zero_point, axis, x)


def _along(vector: Array, axis: Array | None, x: Array) -> Array:
    vector = vector.astype(np.float32, copy=False)
    if vector.ndim == 0:
        return vector
    if axis is None or vector.ndim != 1 or vector.size != x.shape[int(axis)]:
        raise EvaluationError(f"a parameter of shape {list(vector.shape)} on {list(x.shape)}, axis {axis}")
    return vector.reshape([-1 if index == int(axis) % x.ndim else 1 for index in range(x.ndim)])
