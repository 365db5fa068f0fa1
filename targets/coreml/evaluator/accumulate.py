"""Sums of products: in float32, or in fp16 term after term where the mode `accumulate16` asks for it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product as all_pairs

import numpy as np

from edgeport.targets.coreml.evaluator.call import Call
from edgeport.targets.coreml.evaluator.registry import Array

_LEAST_INFINITE = 65520.0
"""The least magnitude that fp16 rounds to infinity; a sum that came back from there was at least that large."""
_LEAST_NORMAL = np.float32(2.0**-14)
_EXPONENT = np.uint32(0x7F800000)
_BESIDE = np.float32(1.5 * 2**13)
_TILE, _WIDEST = 1 << 15, 1 << 12
"""Sums that run side by side, so that they stay in the cache; and how many of them along the columns."""


def product(call: Call, x: Array, y: Array) -> Array:
    """The matrix product of two arrays, broadcast like `numpy.matmul`; integers are summed in int64.

    Args:
        call: the operation for which it is computed; decides how sums accumulate.
        x: shape [..., m, k], or [k].
        y: shape [..., k, n], or [k].
    """
    if x.dtype.kind in "iu":
        x, y = x.astype(np.int64), y.astype(np.int64)
    elif accumulates_in_half(call) and x.ndim > 1 and y.ndim > 1:
        total = _product_in_half(x, y)
        note_overflow(call, total, lambda: np.matmul(x, y))
        return total
    result: Array = np.matmul(_as_matrices(x), _as_matrices(y))
    return result


def _as_matrices(array: Array) -> Array:
    """The array itself where BLAS can read its matrices or their transposes, else a copy: numpy's own loop is slow."""
    if array.ndim < 2:
        return array
    (down, across), (rows, columns) = (step // array.itemsize for step in array.strides[-2:]), array.shape[-2:]
    straight, transposed = across == 1 and down >= columns, down == 1 and across >= rows
    return array if straight or transposed else np.ascontiguousarray(array)


def accumulates_in_half(call: Call) -> bool:
    """Whether the operation's sums run in fp16: the mode asks for it and the result is stored as fp16."""
    return call.accumulate16 and call.types[0].dtype == "fp16"


def note_overflow(call: Call, total: Array, exact: Callable[[], Array]) -> None:
    """Notes sums that left fp16 on the way, which the stored result does not tell from infinities of the operands.

    Args:
        call: the operation.
        total: its sums, accumulated in fp16.
        exact: computes the same sums in float32.
    """
    if np.isfinite(total.sum()):
        return
    wide = exact()
    lost = ~np.isfinite(total) & np.isfinite(wide)
    if lost.any():
        call.overflowed = max(call.overflowed, _LEAST_INFINITE, float(np.abs(wide[lost]).max()))


def note_infinities(call: Call, result: Array, *operands: Array) -> Array:
    """Notes infinities that finite operands gave, beyond even float32, and returns the result."""
    if result.dtype.kind == "f" and not np.isfinite(result.sum()):
        finite = np.broadcast_arrays(*(np.isfinite(operand) for operand in operands))
        if (np.isinf(result) & np.logical_and.reduce(finite)).any():
            call.overflowed = max(call.overflowed, float(np.finfo(np.float32).max))
    return result


def _product_in_half(x: Array, y: Array) -> Array:
    """A matrix product whose running sum is rounded to fp16 after each fused multiply-add, in order of k."""
    batch = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    rows, depth, columns = x.shape[-2], x.shape[-1], y.shape[-1]
    left = np.broadcast_to(x, (*batch, rows, depth)).reshape(-1, rows, depth)
    right = np.broadcast_to(y, (*batch, depth, columns)).reshape(-1, depth, columns)
    total = np.zeros((left.shape[0], rows, columns), np.float32)
    wide = max(1, min(columns, _WIDEST))
    high = max(1, min(rows, _TILE // wide))
    deep = max(1, _TILE // (wide * high))
    for image, row, column in all_pairs(range(0, left.shape[0], deep), range(0, rows, high), range(0, columns, wide)):
        some, upper, across = slice(image, image + deep), slice(row, row + high), slice(column, column + wide)
        _accumulate(left[some, upper], right[some, :, across], total[some, upper, across])
    return total.reshape(*batch, rows, columns)


def _accumulate(x: Array, y: Array, total: Array) -> None:
    """Adds one tile of the product to `total`, which is zero before."""
    # No partial sum is larger than the sum of magnitudes, which each rounding enlarges by up to 2^-11.
    fits = np.matmul(np.abs(x), np.abs(y)).max(initial=0) * (1 + 2.0**-11) ** x.shape[-1] < _LEAST_INFINITE
    sums, term = np.zeros(total.shape, np.float32), np.empty(total.shape, np.float32)
    unit, half = np.empty(total.shape, np.float32), np.empty(0 if fits else total.shape, np.float16)
    exponents = unit.view(np.uint32)
    for index in range(x.shape[-1]):
        np.multiply(x[:, :, index, None], y[:, None, index], out=term)
        sums += term
        if not fits:
            np.copyto(half, sums, casting="unsafe")
            np.copyto(sums, half)
            continue
        # 3/2 of 2^13 times the number's power of two: beside it float32 has exactly the bits that fp16 keeps, and
        # adding rounds halves to even. Under the normal range the power of two stays that of its least number.
        np.bitwise_and(sums.view(np.uint32), _EXPONENT, out=exponents)
        np.maximum(unit, _LEAST_NORMAL, out=unit)
        unit *= _BESIDE
        sums += unit
        sums -= unit
    total[...] = sums
