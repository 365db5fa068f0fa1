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
_LARGEST_POWER, _LEAST_NORMAL, _EXPONENT, _SIGN = (
    np.array(bits, np.uint32) for bits in (0x47000000, 0x38800000, 0x7F800000, 0x80000000)
)
"""Of float32: 2^15, 2^-14, and the masks. Arrays of rank 0 pass into numpy's functions faster than scalars."""
_BESIDE = np.array(1.5 * 2**13, np.float32)
_NONE = np.empty(0, np.intp)
_BLOCK = 1 << 15
"""Elements rounded at a time, so that what is in between stays in the cache."""

EXACT = frozenset({
    "concat", "crop", "depth_to_space", "expand_dims", "flatten2d", "gather", "gather_along_axis",
    "gather_nd", "identity", "max_pool", "maximum", "minimum", "pixel_shuffle", "pixel_unshuffle",
    "reduce_max", "reduce_min", "relu", "relu6", "reshape", "reshape_like", "reverse", "select",
    "slice_by_index", "slice_by_size", "sliding_windows", "space_to_depth", "split", "squeeze", "stack",
    "tile", "transpose",
})  # fmt: skip
"""Operations that give elements of their inputs, 0 or 6: of fp16 values they need not be rounded again."""


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
    if array.shape != declared.shape and not declared.admits(array.shape):
        raise EvaluationError(f"the value has shape {list(array.shape)}, the program declares {declared}")
    want = BY_NAME[declared.dtype].numpy
    family = array.dtype.kind
    if want.kind == "f":
        if family != "f":
            raise EvaluationError(f"the value is of type {array.dtype}, the program declares {declared}")
        array = array if array.dtype == np.float32 else array.astype(np.float32)
        return _round_to_half(array) if declared.dtype == "fp16" and arithmetic != "float32" else (array, None)
    if want.kind in "iu":
        if family not in "iu":
            raise EvaluationError(f"the value is of type {array.dtype}, the program declares {declared}")
        return _narrow(array, want)
    if want.kind != ("O" if family in "OU" else family):
        raise EvaluationError(f"the value is of type {array.dtype}, the program declares {declared}")
    return array, None


def _round_to_half(array: Array) -> tuple[Array, float | None]:
    """fp16's value nearest to each element, halves to even, and the largest finite magnitude that became infinite."""
    flat = np.ascontiguousarray(array).reshape(-1)
    rounded, scratch = np.empty_like(flat), np.empty(min(flat.size, _BLOCK), np.uint32)
    left = 0.0
    for start in range(0, flat.size, _BLOCK):
        block = flat[start : start + _BLOCK]
        left = max(left, _round_block(block, rounded[start : start + _BLOCK], scratch[: block.size]))
    return rounded.reshape(array.shape), left or None


def _round_block(values: Array, rounded: Array, scratch: Array) -> float:
    """Writes the rounded values; returns the largest finite magnitude that became infinite, 0 when there is none."""
    bits, result = values.view(np.uint32), rounded.view(np.uint32)
    powers = np.bitwise_and(bits, _EXPONENT, out=scratch)  # as float32: the power of two under each magnitude
    large = np.flatnonzero(powers >= _LARGEST_POWER) if np.maximum.reduce(powers) >= _LARGEST_POWER else _NONE
    if large.size:
        powers[large] = 0
    # numpy converts numbers under fp16's normal range thirty times slower than others, so rounding is an addition here:
    # beside 3/2 of 2^13 times its power of two float32 has exactly the bits of a number that fp16 keeps, and adding
    # rounds halves to even. Under the normal range the power of two stays that of its least number.
    np.maximum(powers, _LEAST_NORMAL, out=powers)
    beside = powers.view(np.float32)
    beside *= _BESIDE
    np.add(values, beside, out=rounded)
    rounded -= beside
    result |= np.bitwise_and(bits, _SIGN, out=scratch)  # that of zero is lost on the way
    return _round_large(values, rounded, large) if large.size else 0.0


def _round_large(values: Array, rounded: Array, where: Array) -> float:
    """Rounds what may overflow, infinity and NaN; returns the largest finite magnitude that became infinite."""
    large = values[where]
    rounded[where] = large.astype(np.float16)
    magnitude = np.abs(large)
    left = np.isfinite(large) & (magnitude >= _LEAST_INFINITE)
    return float(magnitude[left].max()) if left.any() else 0.0


def _narrow(array: Array, want: np.dtype[Any]) -> tuple[Array, float | None]:
    if array.dtype == want or not array.size:
        return array.astype(want, copy=False), None
    limits = np.iinfo(want)
    low, high = int(array.min()), int(array.max())
    fits = limits.min <= low and high <= limits.max
    return array.astype(want), None if fits else float(max(abs(low), abs(high)))
