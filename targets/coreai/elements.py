"""Element by element: functions, casts, comparisons, choices."""

from __future__ import annotations

import math

import numpy as np

from edgeport.targets.coreai.program import Operand, Tensor, binary

_RANGES = {d: (np.iinfo(d).min, np.iinfo(d).max) for d in ("int8", "uint8", "int16", "uint16", "int32", "uint32")}
_BITS = {"int8": 8, "uint8": 8, "int16": 16, "uint16": 16, "int32": 32, "uint32": 32, "int64": 64, "uint64": 64}


def unary(kind: str, x: Tensor) -> Tensor:
    """A function of one operand that keeps its dtype."""
    return x.builder.step(kind, [x], x.shape, x.dtype)


def cast(x: Tensor, dtype: str) -> Tensor:
    """Another dtype; integers that do not fit keep their lower bits, as in C and ONNX, where Core AI saturates."""
    if x.dtype == dtype:
        return x
    if x.dtype in _BITS and dtype in _BITS and _BITS[dtype] <= _BITS[x.dtype]:
        x = _wrapped(x, dtype)
    return raw_cast(x, dtype)


def raw_cast(x: Tensor, dtype: str) -> Tensor:
    """Core AI's own cast, which saturates integers."""
    return x if x.dtype == dtype else x.builder.step("cast", [x], x.shape, dtype)


def _wrapped(x: Tensor, dtype: str) -> Tensor:
    """The number that the lower bits of an integer are as another integer type, in the type of `x`."""
    bits, signed = _BITS[dtype], not dtype.startswith("u")
    if bits == 64 or (bits == _BITS[x.dtype] and x.dtype.startswith("u") == signed):
        # As many bits of the other signedness: halves fit, and are put together in the wider or in the same type.
        return x
    low = binary("bitwise_and", x, (1 << bits) - 1) if bits < _BITS[x.dtype] else x
    if not signed:
        return low
    half = 1 << (bits - 1)
    return binary("bitwise_xor", low, half) - half


def truth(x: Tensor) -> Tensor:
    """Whether elements are not zero."""
    return raw_cast(x, "bool")


def where(condition: Tensor, a: Tensor, b: Operand) -> Tensor:
    """`a` where the condition holds, else `b`."""
    b = a.like(b)
    shape = np.broadcast_shapes(condition.shape, a.shape, b.shape)
    return a.builder.step("broadcasting_where", [condition, a, b], shape, a.dtype)


def equal(x: Tensor, y: Operand) -> Tensor:
    """Whether elements are equal."""
    return binary("equal", x, y, "bool")


def maximum(x: Tensor, y: Operand) -> Tensor:
    """The larger one."""
    return binary("maximum", x, y)


def minimum(x: Tensor, y: Operand) -> Tensor:
    """The smaller one."""
    return binary("minimum", x, y)


def logical_not(x: Tensor) -> Tensor:
    """Negation of booleans."""
    return x.builder.step("not_", [x], x.shape, "bool")


def both(x: Tensor, y: Tensor) -> Tensor:
    """Conjunction of booleans."""
    return binary("and", x, y)


def either(x: Tensor, y: Tensor) -> Tensor:
    """Disjunction of booleans."""
    return binary("or", x, y)


def floor(x: Tensor) -> Tensor:
    """Largest whole number not above; there is no such operation, and floor division loses infinities."""
    nearest = unary("round_", x)
    return nearest - raw_cast(nearest > x, x.dtype)


def ceil(x: Tensor) -> Tensor:
    """Smallest whole number not below."""
    nearest = unary("round_", x)
    return nearest + raw_cast(x > nearest, x.dtype)


def clamp(x: Tensor, low: float, high: float) -> Tensor:
    """Numbers between two bounds, infinite ones left out."""
    if low != -math.inf:
        x = maximum(x, low)
    return x if high == math.inf else minimum(x, high)


def is_nan(x: Tensor) -> Tensor:
    """Which elements are not a number."""
    return binary("not_equal", x, x, "bool")


def exp(x: Tensor) -> Tensor:
    """e to the power of x."""
    return unary("exp", x)


def log(x: Tensor) -> Tensor:
    """Natural logarithm."""
    return unary("log", x)


def sqrt(x: Tensor) -> Tensor:
    """Square root."""
    return unary("sqrt", x)


def absolute(x: Tensor) -> Tensor:
    """Without sign."""
    return unary("abs_", x)


def sigmoid(x: Tensor) -> Tensor:
    """Logistic function."""
    return unary("sigmoid", x)


def tanh(x: Tensor) -> Tensor:
    """Hyperbolic tangent."""
    return unary("tanh", x)


def relu(x: Tensor) -> Tensor:
    """Not below zero."""
    return unary("relu", x)
