"""Operations on two tensors, element by element with numpy's broadcasting; integers are computed in int64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgeport.targets.coreml.evaluator.accumulate import note_infinities
from edgeport.targets.coreml.evaluator.call import Call
from edgeport.targets.coreml.evaluator.registry import Array, EvaluationError, evaluates

_COMPARISONS: dict[str, Callable[[Array, Array], Array]] = {
    "equal": np.equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_xor": np.logical_xor,
    "not_equal": np.not_equal,
}
_ARITHMETIC: dict[str, Callable[[Array, Array], Array]] = {
    "add": np.add,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "mul": np.multiply,
    "sub": np.subtract,
}


def _operands(call: Call) -> tuple[Array, Array, bool]:
    """Both operands and whether they are integers, which come in int64."""
    x, y = call.array("x"), call.array("y")
    if x.dtype.kind == "f" or y.dtype.kind == "f":
        return x, y, False
    return x.astype(np.int64), y.astype(np.int64), True


@evaluates(*_COMPARISONS)
def compare(call: Call) -> Array:
    """Truth values."""
    return _COMPARISONS[call.kind](call.array("x"), call.array("y"))


@evaluates(*_ARITHMETIC)
def arithmetic(call: Call) -> Array:
    """One numpy function of both operands."""
    x, y, _ = _operands(call)
    result = _ARITHMETIC[call.kind](x, y)
    return note_infinities(call, result, x, y) if call.kind == "mul" else result


@evaluates("floor_div", "mod")
def floored(call: Call) -> Array:
    """Quotient rounded towards minus infinity, and the remainder that belongs to it (it has the divisor's sign).

    For floats both are numpy's, as coremltools folds them: floor_div(1, 0.1) is 9, the floor of the exact quotient.
    """
    x, y, integers = _operands(call)
    if integers and not y.all():
        raise EvaluationError("divides integers by zero")
    return np.floor_divide(x, y) if call.kind == "floor_div" else np.mod(x, y)


@evaluates("real_div")
def real_div(call: Call) -> Array:
    """x / y. Integers give integers, cut towards zero.

    Apple's own tests of devices only show positive quotients cut, so a negative one that is not whole is refused.
    """
    x, y, integers = _operands(call)
    if not integers:
        return np.divide(x, y)
    if not y.all():
        raise EvaluationError("divides integers by zero")
    quotient = np.floor_divide(x, y)
    if ((quotient < 0) & (quotient * y != x)).any():
        raise EvaluationError(
            "how a negative integer quotient is rounded is not documented; cast to a float type first"
        )
    return quotient


@evaluates("pow")
def power(call: Call) -> Array:
    """X to the power y; NaN for a negative base with a fractional exponent."""
    x, y, integers = _operands(call)
    if not integers:
        return np.power(x, y)
    if (y < 0).any():
        raise EvaluationError("an integer to a negative power has no documented integer result")
    wide = np.power(x.astype(np.float64), y)  # exact up to 2^53, far over what fits int32
    return np.clip(wide, -(2.0**62), 2.0**62).astype(np.int64)
