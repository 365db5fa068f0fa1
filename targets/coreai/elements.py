"""Element by element: functions, casts, comparisons, choices."""

from __future__ import annotations

import math

import numpy as np

from edgeport.targets.coreai.program import Operand, Tensor, binary

_INTEGERS = tuple(f"{sign}int{bits}" for bits in (8, 16, 32, 64) for sign in ("", "u"))
_LOWER_63 = (1 << 63) - 1


def unary(kind: str, x: Tensor) -> Tensor:
    """A function of one operand that keeps its dtype."""
    return x.builder.step(kind, [x], x.shape, x.dtype)


def cast(x: Tensor, dtype: str) -> Tensor:
    """Another dtype; integers that do not fit keep their lower bits, as in C and ONNX, where Core AI saturates."""
    if x.dtype in _INTEGERS and dtype in _INTEGERS:
        have, want = np.iinfo(x.dtype), np.iinfo(dtype)
        if not want.min <= have.min <= have.max <= want.max:
            return _lower_bits(x, dtype)
    return raw_cast(x, dtype)


def raw_cast(x: Tensor, dtype: str) -> Tensor:
    """Core AI's own cast, which saturates integers."""
    return x if x.dtype == dtype else x.builder.step("cast", [x], x.shape, dtype)


def _lower_bits(x: Tensor, dtype: str) -> Tensor:
    """The number that the lower bits of an integer are as another integer type."""
    bits, signed = np.iinfo(dtype).bits, not dtype.startswith("u")
    if x.dtype == "uint64":
        low = raw_cast(binary("bitwise_and", x, _LOWER_63), "int64")
        x = where(binary("greater", x, _LOWER_63, "bool"), low + np.iinfo("int64").min, low)
    x = raw_cast(x, "int64")
    if bits == 64:
        if signed:
            return x
        low = raw_cast(binary("bitwise_and", x, _LOWER_63), dtype)
        return where(x < 0, low + (1 << 63), low)
    low = binary("bitwise_and", x, (1 << bits) - 1)
    half = 1 << (bits - 1)
    return raw_cast(binary("bitwise_xor", low, half) - half if signed else low, dtype)


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


def expm1(x: Tensor) -> Tensor:
    """exp(x) - 1 without cancellation next to 0: tanh(x / 2) (exp(x) + 1)."""
    return tanh(x * 0.5) * (exp(x) + 1)


def softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x)); log(1 + t) as 2 atanh(t / (2 + t)), which is exact for small t."""
    small = exp(-absolute(x))
    return relu(x) + unary("atanh", small / (small + 2)) * 2


def sign(x: Tensor) -> Tensor:
    """-1, 0 or 1."""
    above = raw_cast(x > 0, x.dtype)
    return above if x.dtype.startswith("u") else above - raw_cast(x < 0, x.dtype)
