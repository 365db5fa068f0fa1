"""Where a sliding window stands: the size of what it leaves, and the elements under one of its taps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def output_size(
    padded: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> list[int]:
    """How many windows fit, one number an axis of space; the size is rounded down.

    Raises:
        ValueError: None fits.
    """
    output = [
        (size - step * (k - 1) - 1) // stride + 1
        for size, k, stride, step in zip(padded, kernel, strides, dilations, strict=True)
    ]
    if min(output) < 1:
        raise ValueError(f"a window of {tuple(kernel)} does not fit into {tuple(padded)}")
    return output


def under_tap(
    tap: Sequence[int], strides: Sequence[int], dilations: Sequence[int], counts: Sequence[int]
) -> tuple[Any, ...]:
    """An index of the last axes of an array: the element under this tap in `counts` windows along each axis."""
    return (
        ...,
        *(
            slice(k * step, k * step + (count - 1) * stride + 1, stride)
            for k, stride, step, count in zip(tap, strides, dilations, counts, strict=True)
        ),
    )


def at_tap(tap: Sequence[int]) -> tuple[Any, ...]:
    """An index of the last axes of a weight: its elements at this tap."""
    return (..., *tap)
