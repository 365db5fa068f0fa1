"""Reductions over axes and running sums."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgeport.targets.coreml.evaluator.accumulate import note_overflow
from edgeport.targets.coreml.evaluator.call import Call
from edgeport.targets.coreml.evaluator.registry import Array, EvaluationError, evaluates

Axes = tuple[int, ...] | None
_LARGEST = 2.0**62


def _log_sum_exp(x: Array, axes: Axes) -> Array:
    """log(sum(exp(x))) from differences to the largest, which must be finite for that."""
    largest = x.max(axis=axes, keepdims=True)
    shift = np.where(np.isfinite(largest), largest, np.zeros_like(largest))
    result: Array = np.log(np.exp(x - shift).sum(axis=axes, keepdims=True)) + shift
    return result


_REDUCTIONS: dict[str, Callable[[Array, Axes], Array]] = {
    "reduce_l1_norm": lambda x, axes: np.sum(np.abs(x), axis=axes, keepdims=True),
    "reduce_l2_norm": lambda x, axes: np.sqrt(np.sum(np.square(x), axis=axes, keepdims=True)),
    "reduce_log_sum": lambda x, axes: np.log(np.sum(x, axis=axes, keepdims=True)),
    "reduce_log_sum_exp": _log_sum_exp,
    "reduce_max": lambda x, axes: np.max(x, axis=axes, keepdims=True),
    "reduce_mean": lambda x, axes: np.mean(x, axis=axes, keepdims=True),
    "reduce_min": lambda x, axes: np.min(x, axis=axes, keepdims=True),
    "reduce_prod": lambda x, axes: np.prod(x, axis=axes, keepdims=True),
    "reduce_sum": lambda x, axes: np.sum(x, axis=axes, keepdims=True),
    "reduce_sum_square": lambda x, axes: np.sum(np.square(x), axis=axes, keepdims=True),
}

_PLAIN_SUMS = ("reduce_sum", "reduce_mean")


def _half_sum(x: Array, axes: Axes) -> Array:
    """A sum whose every step is rounded to fp16, term after term."""
    total = x.astype(np.float16)
    for axis in range(x.ndim) if axes is None else axes:
        total = np.add.accumulate(total, axis=axis).take([-1], axis)  # accumulate, unlike sum, does not add in pairs
    return total.astype(np.float32)


@evaluates(*_REDUCTIONS)
def reduce(call: Call) -> Array:
    """A reduction over `axes`, all of them by default.

    Integers are reduced in float64, exact for whatever fits int32. A result that is not whole, such as most means, has
    no documented rounding and is refused.
    """
    x, axes = call.array("x"), call.maybe("axes")
    over = None if axes is None else tuple(int(axis) for axis in axes.reshape(-1))
    operand = x if x.dtype.kind == "f" else x.astype(np.float64)
    if call.kind in _PLAIN_SUMS and call.accumulate16 and call.types[0].dtype == "fp16":
        result = _half_sum(operand, over)
        note_overflow(call, result, lambda: np.asarray(operand.sum(axis=over, keepdims=True)))
        if call.kind == "reduce_mean":
            result = result / np.float32(x.size // max(result.size, 1))
    else:
        result = np.asarray(_REDUCTIONS[call.kind](operand, over))
    if not call.flag("keep_dims", False):
        result = result.squeeze(over) if over is not None else result.reshape(())
    if x.dtype.kind == "f":
        return result
    if (result != np.rint(result)).any():
        raise EvaluationError(
            "how an integer result with a fraction is rounded is not documented; cast to a float type first"
        )
    return np.clip(result, -_LARGEST, _LARGEST).astype(np.int64)


@evaluates("cumsum")
def cumsum(call: Call) -> Array:
    """Running sum along `axis`: `exclusive` leaves the element itself out, `reverse` runs from the end."""
    x, axis = call.array("x"), call.integer("axis", 0)
    reverse = call.flag("reverse", False)
    operand = x if x.dtype.kind == "f" else x.astype(np.int64)
    operand = np.flip(operand, axis) if reverse else operand
    total = np.cumsum(operand, axis=axis, dtype=operand.dtype)
    if call.flag("exclusive", False):
        total = np.roll(total, 1, axis)
        total[(slice(None),) * (axis % x.ndim) + (slice(0, 1),)] = 0
    return np.flip(total, axis) if reverse else total
