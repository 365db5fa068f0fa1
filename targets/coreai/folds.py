"""Along axes: sums and extremes, running sums, orders, products of matrices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeport.targets.coreai.program import Given, Tensor
from edgeport.targets.coreai.views import signed

_EMPTY = {"reduce_sum": 0.0, "reduce_product": 1.0, "reduce_max": -np.inf, "reduce_min": np.inf, "reduce_mean": np.nan}
"""What of no elements is; Core AI gives uninitialised memory."""


def reduce(kind: str, x: Tensor, axes: Sequence[int]) -> Tensor:
    """Sum, product, max, min or mean over axes, which stay with size 1."""
    axes = sorted(a % x.rank for a in axes) if x.rank else []
    if not axes:
        return x
    shape = [1 if a in axes else d for a, d in enumerate(x.shape)]
    if any(x.shape[a] == 0 for a in axes):
        value = _EMPTY[kind]
        if not x.is_float and not np.isfinite(value):
            info = np.iinfo(x.dtype)
            value = info.min if value < 0 else info.max
        return x.builder.constant(np.full(shape, value, x.dtype))
    return x.builder.step(kind, [x, signed(axes)], shape, x.dtype)


def total(x: Tensor, axes: Sequence[int]) -> Tensor:
    """Sum over axes, which stay with size 1."""
    return reduce("reduce_sum", x, axes)


def mean(x: Tensor, axes: Sequence[int]) -> Tensor:
    """Mean over axes, which stay with size 1; of integers as ONNX does, without the fraction."""
    if x.is_float:
        return reduce("reduce_mean", x, axes)
    count = int(np.prod([x.shape[a] for a in axes], dtype=np.int64))
    return total(x, axes) / count


def scan(x: Tensor, axis: int, combiner: str = "sum", reverse: bool = False) -> Tensor:
    """Running sum, product, min or max along an axis."""
    operands: list[Given] = [x, np.asarray(axis % x.rank, np.uint32), np.asarray(reverse)]
    return x.builder.step("scan", operands, x.shape, x.dtype, combiner=combiner)


def argsort(x: Tensor, axis: int, descending: bool) -> Tensor:
    """Places of the elements in order, int32; equal ones in the order in which they stand."""
    operands: list[Given] = [x, signed(axis % x.rank), np.asarray(descending), np.asarray(True)]
    return x.builder.step("argsort", operands, x.shape, "int32")


def argmax(x: Tensor, axis: int) -> Tensor:
    """Place of the first of the largest along an axis, which stays with size 1; int32."""
    shape = [1 if a == axis % x.rank else d for a, d in enumerate(x.shape)]
    return x.builder.step("argmax", [x, signed(axis % x.rank)], shape, "int32")


def softmax(x: Tensor, axis: int) -> Tensor:
    """Softmax along an axis."""
    return x.builder.step("softmax", [x, signed(axis % x.rank)], x.shape, x.dtype)


def matmul(x: Tensor, y: Tensor) -> Tensor:
    """Products of matrices, of rank 2 and more, with broadcast leading axes."""
    lead = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    shape = (*lead, x.shape[-2], y.shape[-1])
    return x.builder.step("broadcasting_batch_matmul", [x, y], shape, x.dtype)
