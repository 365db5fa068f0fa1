"""Convolutions as products of matrices: pointwise as they stand, all others by gathering windows into columns."""

from __future__ import annotations

from itertools import product as all_pairs
from math import prod

import numpy as np

from edgeport.targets.coreml.evaluator.accumulate import accumulates_in_half, note_overflow, product
from edgeport.targets.coreml.evaluator.call import Call
from edgeport.targets.coreml.evaluator.registry import Array, EvaluationError, evaluates
from edgeport.targets.coreml.evaluator.window import Window, read_window, spatial_ints

_COLUMN_ELEMENTS = 1 << 18
"""Elements of columns gathered at a time (1 MiB): they stay in the cache, and memory does not grow with the image."""


@evaluates("conv")
def conv(call: Call) -> Array:
    """A convolution over 1 to 3 spatial dimensions, `x` [n, c, *d], `weight` [o, c / groups, *k]."""
    x, weight = call.array("x"), call.array("weight")
    groups = call.integer("groups", 1)
    if x.ndim != weight.ndim or x.ndim < 3 or groups < 1 or x.shape[1] != weight.shape[1] * groups:
        raise EvaluationError(f"weights of shape {list(weight.shape)} on {list(x.shape)} in {groups} groups")
    if weight.shape[0] % groups:
        raise EvaluationError(f"{weight.shape[0]} output channels in {groups} groups")
    window = read_window(call, x.shape[2:], weight.shape[2:], dilated=True)
    padded = window.pad(x)
    return _add_bias(call, _by_columns(call, padded, weight, groups, window))


def _add_bias(call: Call, result: Array) -> Array:
    bias = call.maybe("bias")
    if bias is not None:
        result += bias.reshape(-1, *[1] * (result.ndim - 2))
    return result


def _by_columns(call: Call, padded: Array, weight: Array, groups: int, window: Window) -> Array:
    """Windows gathered as columns of a matrix, times the weights as rows; some groups or rows at a time."""
    count, channels = padded.shape[:2]
    outputs, inner, spatial = weight.shape[0], channels // groups, len(window.sizes)
    depth = inner * prod(window.kernel)
    factors = weight.reshape(groups, outputs // groups, depth)
    if prod(window.kernel) == 1 and padded.shape[2:] == window.sizes:
        columns = padded.reshape(count, groups, inner, -1)
        return product(call, factors, columns).reshape(count, outputs, *window.sizes)
    result = np.empty((count, groups, outputs // groups, *window.sizes), np.float32)
    patches = window.patches(padded)
    patches = patches.reshape(count, groups, inner, *patches.shape[2:])
    elements = _COLUMN_ELEMENTS << (4 if accumulates_in_half(call) else 0)  # sums in fp16 run side by side
    rows = max(1, elements // max(1, depth * prod(window.sizes[1:])))
    step = max(1, rows // window.sizes[0])
    for image, group, row in all_pairs(range(count), range(0, groups, step), range(0, window.sizes[0], rows)):
        some, within = slice(group, group + step), slice(row, row + rows)
        taken: tuple[int | slice, ...] = (image, some, *[slice(None)] * (1 + spatial), within)
        part = patches[taken]
        gathered = np.ascontiguousarray(part).reshape(part.shape[0], depth, -1)
        shape = (part.shape[0], outputs // groups, *part.shape[2 + spatial :])
        result[image, some, :, within] = product(call, factors[some], gathered).reshape(shape)
    return result.reshape(count, outputs, *window.sizes)


@evaluates("conv_transpose")
def conv_transpose(call: Call) -> Array:
    """The gradient of a convolution, `x` [n, c, *d], `weight` [c, o / groups, *k].

    Each input element adds the kernel, weighted, to the output; the padding is cut off. With `same` the output has
    size * stride elements (or `output_shape`) and the smaller half of the surplus is cut in front.
    """
    x, weight = call.array("x"), call.array("weight")
    groups = call.integer("groups", 1)
    if x.ndim != weight.ndim or x.ndim < 3 or groups < 1 or x.shape[1] != weight.shape[0] or x.shape[1] % groups:
        raise EvaluationError(f"weights of shape {list(weight.shape)} on {list(x.shape)} in {groups} groups")
    kernel, sizes = weight.shape[2:], x.shape[2:]
    strides, dilations = spatial_ints(call, "strides", len(kernel)), spatial_ints(call, "dilations", len(kernel))
    full = tuple(
        (size - 1) * step + (taps - 1) * dilation + 1
        for size, step, taps, dilation in zip(sizes, strides, kernel, dilations, strict=True)
    )
    count, inner, outputs = x.shape[0], x.shape[1] // groups, weight.shape[1] * groups
    front, wanted = _cut(call, full, tuple(size * step for size, step in zip(sizes, strides, strict=True)))
    reach = tuple(max(size, a + b) for size, a, b in zip(full, front, wanted, strict=True))
    rows = weight.reshape(groups, inner, -1).swapaxes(-1, -2)
    terms = product(call, rows, x.reshape(count, groups, inner, -1)).reshape(count, outputs, *kernel, *sizes)
    window = Window(kernel, strides, dilations, (0,) * len(kernel), (0,) * len(kernel), sizes)
    shape = call.room((count, outputs, *reach))
    kept = (slice(None), slice(None), *(slice(a, a + size) for a, size in zip(front, wanted, strict=True)))
    result = np.ascontiguousarray(_spread(terms, window, shape, accumulates_in_half(call))[kept])
    if accumulates_in_half(call):
        note_overflow(call, result, lambda: _spread(terms, window, shape, False)[kept])
    return _add_bias(call, result)


def _spread(terms: Array, window: Window, shape: tuple[int, ...], in_half: bool) -> Array:
    """Adds the terms [n, o, *k, *d] of every tap where its window puts them, in an array of `shape`."""
    result = np.zeros(shape, np.float32)
    for tap, place in window.taps(result):
        whole: tuple[int | slice, ...] = (slice(None), slice(None), *tap)
        place += terms[whole]
        if in_half:
            place[...] = place.astype(np.float16)
    return result


def _cut(call: Call, full: tuple[int, ...], same: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What a transposed convolution cuts off in front, and the spatial shape that it keeps.

    Args:
        call: the operation.
        full: spatial shape before the cut.
        same: spatial shape with `pad_type` same where no `output_shape` is given.
    """
    pad_type = call.text("pad_type", "valid").lower()
    pad = call.ints("pad", (0,) * (2 * len(full)))
    shape = call.ints("output_shape", ())
    if len(pad) != 2 * len(full) or min(pad) < 0 or (shape and len(shape) != len(full) + 2):
        raise EvaluationError(f"padding {list(pad)} and output shape {list(shape)} for {len(full)} spatial dimensions")
    if pad_type == "same":
        wanted = shape[2:] or same
        return tuple(max(0, size - keep) // 2 for size, keep in zip(full, wanted, strict=True)), wanted
    if pad_type not in ("valid", "custom"):
        raise EvaluationError(f"pad_type {pad_type!r} is not defined for a transposed convolution")
    if pad_type == "valid":
        pad = (0,) * len(pad)
    left = tuple(size - a - b for size, a, b in zip(full, pad[::2], pad[1::2], strict=True))
    return pad[::2], shape[2:] or left
