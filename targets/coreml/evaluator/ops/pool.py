"""Pools: the largest, the average or the Euclidean norm of each window."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgeport.targets.coreml.evaluator.call import Call
from edgeport.targets.coreml.evaluator.registry import Array, EvaluationError, evaluates
from edgeport.targets.coreml.evaluator.window import Window, read_window


@evaluates("max_pool")
def max_pool(call: Call) -> Array:
    """The largest element of each window; padding does not count."""
    x, window = _read(call)
    return _fold(window.pad(x, -np.inf), window, np.maximum)


@evaluates("avg_pool")
def avg_pool(call: Call) -> Array:
    """The mean of each window.

    Padding counts as zeros, unless `exclude_padding_from_average`. What a window of `ceil_mode` covers behind the
    padding never counts, as in PyTorch.
    """
    x, window = _read(call)
    excluded = call.flag("exclude_padding_from_average", False)
    total = _fold(window.pad(x), window, np.add)
    if window.plain:
        total /= np.float32(np.prod(window.kernel))
        return total
    stated = _stated_after(call, window)
    for axis, size in enumerate(x.shape[2:]):
        counted = (0, size) if excluded else (-window.before[axis], size + stated[axis])
        starts = np.arange(window.sizes[axis]) * window.strides[axis] - window.before[axis]
        ends = np.minimum(starts + window.kernel[axis], counted[1])
        numbers = np.maximum(ends - np.maximum(starts, counted[0]), 1).astype(np.float32)
        total /= numbers.reshape([-1 if index == axis + 2 else 1 for index in range(x.ndim)])
    return total


@evaluates("l2_pool")
def l2_pool(call: Call) -> Array:
    """The square root of the sum of squares of each window."""
    x, window = _read(call)
    return np.sqrt(_fold(window.pad(x * x), window, np.add))


def _read(call: Call) -> tuple[Array, Window]:
    x, kernel = call.array("x"), call.ints("kernel_sizes")
    if x.ndim != len(kernel) + 2 or min(kernel) < 1:
        raise EvaluationError(f"a kernel {list(kernel)} on an array of rank {x.ndim}")
    return x, read_window(call, x.shape[2:], kernel, dilated=False)


def _stated_after(call: Call, window: Window) -> tuple[int, ...]:
    """Padding behind each dimension as the file states it, without the reach of `ceil_mode`."""
    if call.flag("ceil_mode", False):
        return call.ints("pad", window.after)[1::2] if call.text("pad_type") == "custom" else (0,) * len(window.after)
    return window.after


def _fold(padded: Array, window: Window, join: Callable[..., Array]) -> Array:
    """Joins the elements of each window, one dimension after the other."""
    rank = len(window.kernel)
    for axis in reversed(range(rank)):
        count, stride = window.sizes[axis], window.strides[axis]
        part: list[slice] = [slice(None)] * padded.ndim
        result: Array | None = None
        for tap in range(window.kernel[axis]):
            part[axis + 2] = slice(tap, tap + (count - 1) * stride + 1, stride)
            met = padded[tuple(part)]
            result = met.copy() if result is None else join(result, met, out=result)
        assert result is not None
        padded = result
    return padded
