"""What becomes of a result on its way to storage: its declared precision, and the values that do not fit into it.

Modes: `float32` computes floats in float32 throughout. `declared` rounds each float result to the type the program
declares, which is what a chip that accumulates wide and stores fp16 does. `accumulate16` also lets sums of products run
in fp16, term after term: the pessimistic edge of what a device may do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from edgeport.targets.coreml.evaluator.program import BY_NAME, TensorType
from edgeport.targets.coreml.evaluator.registry import Array, EvaluationError

Arithmetic = Literal["float32", "declared", "accumulate16"]

_LEAST_INFINITE = np.float32(65520)
"""What fp16 rounds to infinity: halfway between its largest number and the next power of two."""
_LEAST_NORMAL = np.float32(2.0**-14)


@dataclass(frozen=True)
class Overflow:
    """A result that left the range of its declared type.

    Attributes:
        value: name of the value in the program.
        kind: the operation that computed it.
        magnitude: largest magnitude before it was stored.
        dtype: the declared type that could not hold it.
    """

    value: str
    kind: str
    magnitude: float
    dtype: str


def widen(array: Array) -> Array:
    """A stored array as operations see it: fp16 as float32, everything else as it is."""
    return array.astype(np.float32) if array.dtype == np.float16 else array


def settle(array: Array, declared: TensorType, arithmetic: Arithmetic) -> tuple[Array, float | None]:
    """Checks a result against its declared type and brings it there.

    Args:
        array: what an operation computed.
        declared: the type that the program declares.
        arithmetic: whether floats are rounded to fp16 where fp16 is declared.

    Returns:
        The value (floats as float32), and the largest magnitude that did not fit, None when all did.

    Raises:
        EvaluationError: another shape or another family of element types than declared.
    """
    if not declared.admits(array.shape):
        raise EvaluationError(f"the result has shape {list(array.shape)}, the program declares {declared}")
    want = BY_NAME[declared.dtype].numpy
    family = array.dtype.kind
    if want.kind == "f":
        if family != "f":
            raise EvaluationError(f"the result is of type {array.dtype}, the program declares {declared}")
        array = array if array.dtype == np.float32 else array.astype(np.float32)
        return _round_to_half(array) if declared.dtype == "fp16" and arithmetic != "float32" else (array, None)
    if want.kind in "iu":
        if family not in "iu":
            raise EvaluationError(f"the result is of type {array.dtype}, the program declares {declared}")
        return _narrow(array, want)
    if want.kind != ("O" if family in "OU" else family):
        raise EvaluationError(f"the result is of type {array.dtype}, the program declares {declared}")
    return array, None


def _round_to_half(array: Array) -> tuple[Array, float | None]:
    """fp16's value nearest to each element, halves to even, and the largest finite magnitude that became infinite."""
    magnitude = np.abs(array)
    largest = magnitude.max(initial=0)
    if not largest < _LEAST_INFINITE:  # NaN and infinity come here too
        left = np.isfinite(array) & (magnitude >= _LEAST_INFINITE)
        rounded = array.astype(np.float16).astype(np.float32)
        return rounded, float(magnitude[left].max()) if left.any() else None
    # numpy converts numbers under fp16's normal range thirty times slower than others, so both kinds are rounded here:
    # normal ones to 10 bits of mantissa, the others to multiples of 2^-24, which is the spacing of float32 around 0.75.
    bits = np.ascontiguousarray(array).view(np.uint32)
    rounding = (bits >> 13) & np.uint32(1)
    rounding += np.uint32(0x0FFF)
    rounding += bits
    rounding &= np.uint32(0xFFFFE000)
    rounded = rounding.reshape(array.shape).view(np.float32)
    small = magnitude < _LEAST_NORMAL
    if small.any():
        np.copyto(rounded, np.copysign((array + np.float32(0.75)) - np.float32(0.75), array), where=small)
    return rounded, None


def _narrow(array: Array, want: np.dtype[Any]) -> tuple[Array, float | None]:
    if array.dtype == want or not array.size:
        return array.astype(want, copy=False), None
    limits = np.iinfo(want)
    low, high = int(array.min()), int(array.max())
    fits = limits.min <= low and high <= limits.max
    return array.astype(want), None if fits else float(max(abs(low), abs(high)))
