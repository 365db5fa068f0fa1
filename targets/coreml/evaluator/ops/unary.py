"""Operations on one tensor, element by element."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgeport.targets.coreml.evaluator.accumulate import note_infinities
from edgeport.targets.coreml.evaluator.call import Call
from edgeport.targets.coreml.evaluator.erf import erf
from edgeport.targets.coreml.evaluator.program import BY_NAME
from edgeport.targets.coreml.evaluator.registry import Array, EvaluationError, evaluates

_SIMPLE: dict[str, Callable[[Array], Array]] = {
    "acos": np.arccos,
    "asin": np.arcsin,
    "atan": np.arctan,
    "atanh": np.arctanh,
    "ceil": np.ceil,
    "cos": np.cos,
    "cosh": np.cosh,
    "erf": erf,
    "exp": np.exp,
    "floor": np.floor,
    "identity": np.asarray,
    "logical_not": np.logical_not,
    "round": np.rint,  # halves go to the even neighbour
    "sign": np.sign,
    "sin": np.sin,
    "sinh": np.sinh,
    "sqrt": np.sqrt,
    "tan": np.tan,
    "tanh": np.tanh,
}
_GROWING = ("cosh", "exp", "sinh")
_LARGEST = 2.0**62
"""What int64 holds without wrapping by itself."""


@evaluates(*_SIMPLE)
def simple(call: Call) -> Array:
    """One numpy function of `x`."""
    x = call.array("x")
    result = _SIMPLE[call.kind](x)
    return note_infinities(call, result, x) if call.kind in _GROWING else result


@evaluates("abs", "square", "exp2")
def widening(call: Call) -> Array:
    """Operations whose integer results may leave the input's type."""
    x = call.array("x")
    if x.dtype.kind != "f":
        x = x.astype(np.int64)
    if call.kind == "abs":
        return np.abs(x)
    if call.kind == "square":
        return note_infinities(call, np.square(x), x)
    if x.dtype.kind == "f":
        return note_infinities(call, np.exp2(x), x)
    if (x < 0).any():
        raise EvaluationError("2 to a negative integer has no documented integer result")
    return np.exp2(np.minimum(x, 62)).astype(np.int64)


@evaluates("clip")
def clip(call: Call) -> Array:
    """min(max(x, alpha), beta)."""
    return np.minimum(np.maximum(call.array("x"), call.array("alpha")), call.array("beta"))


@evaluates("threshold")
def threshold(call: Call) -> Array:
    """max(x, alpha)."""
    return np.maximum(call.array("x"), call.array("alpha"))


@evaluates("inverse")
def inverse(call: Call) -> Array:
    """1 / (x + epsilon)."""
    return np.reciprocal(call.array("x") + np.float32(call.number("epsilon", 1e-4)))


@evaluates("log")
def log(call: Call) -> Array:
    """log(x + epsilon)."""
    return np.log(call.array("x") + np.float32(call.number("epsilon", 1e-45)))


@evaluates("rsqrt")
def rsqrt(call: Call) -> Array:
    """1 / sqrt(x + epsilon)."""
    return np.float32(1) / np.sqrt(call.array("x") + np.float32(call.number("epsilon", 1e-12)))


_SPELLINGS = {"float16": "fp16", "float32": "fp32", "half": "fp16", "float": "fp32", "int": "int32"}


@evaluates("cast")
def cast(call: Call) -> Array:
    """Another element type: floats lose their fraction towards zero, anything but 0 is True.

    What an integer does that the new type cannot hold is undocumented: it wraps, and is reported as overflow. A float
    that no integer type holds is held at the ends of 63 bits first.
    """
    name = call.text("dtype")
    data_type = BY_NAME.get(_SPELLINGS.get(name, name))
    x = call.array("x")
    if data_type is None or data_type.name == "string":
        raise EvaluationError(f"unknown dtype {name!r}")
    kind = data_type.numpy.kind
    if kind == "b":
        return np.not_equal(x, 0)
    if kind == "f":
        return x.astype(np.float32)
    if x.dtype.kind == "f":
        if np.isnan(x).any():
            raise EvaluationError(f"NaN has no {name} value")
        x = np.clip(np.trunc(x.astype(np.float64)), -_LARGEST, _LARGEST)
    return x.astype(np.int64)
