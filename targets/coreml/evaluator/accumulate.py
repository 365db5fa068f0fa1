"""Sums of products: in float32, or in fp16 term after term where the mode `accumulate16` asks for it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgeport.targets.coreml.evaluator.call import Call
from edgeport.targets.coreml.evaluator.registry import Array

_LEAST_INFINITE = 65520.0
"""The least magnitude that fp16 rounds to infinity; a sum that came back from there was at least that large."""


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
    result: Array = np.matmul(x, y)
    return result


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
    shape = (*batch, x.shape[-2], y.shape[-1])
    total, term, half = np.zeros(shape, np.float32), np.empty(shape, np.float32), np.empty(shape, np.float16)
    for index in range(x.shape[-1]):
        np.multiply(x[..., index, None], y[..., index, None, :], out=term)
        np.add(total, term, out=term)
        np.copyto(half, term, casting="unsafe")
        np.copyto(total, half)
    return total
