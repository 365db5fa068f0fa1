"""Sliding windows of convolutions and pools: padding, sizes, and views of the taps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product
from math import ceil

import numpy as np

from edgeport.targets.coreml.evaluator.call import Call
from edgeport.targets.coreml.evaluator.registry import Array, EvaluationError


@dataclass(frozen=True)
class Window:
    """A window that slides over the spatial dimensions; every tuple has one entry a dimension.

    Attributes:
        kernel: taps.
        strides: steps from window to window.
        dilations: steps from tap to tap.
        before: elements of padding in front.
        after: elements of padding behind; with ceil_mode more than the file says, up to the last window's end.
        sizes: windows, which is the spatial shape of the output.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    sizes: tuple[int, ...]

    @cached_property
    def plain(self) -> bool:
        """Whether nothing is padded."""
        return not any(self.before) and not any(self.after)

    def pad(self, x: Array, value: float = 0.0) -> Array:
        """`x` [n, c, *d] with the padding around it."""
        if self.plain:
            return x
        shape = [size + a + b for size, a, b in zip(x.shape[2:], self.before, self.after, strict=True)]
        whole = (*x.shape[:2], *shape)
        padded = np.full(whole, value, x.dtype) if value else np.zeros(whole, x.dtype)
        inner = tuple(slice(a, a + size) for size, a in zip(x.shape[2:], self.before, strict=True))
        padded[(slice(None), slice(None), *inner)] = x
        return padded

    def taps(self, padded: Array) -> Iterator[tuple[tuple[int, ...], Array]]:
        """Each tap's place in the kernel, with the elements it meets: a view [n, c, *sizes]."""
        for tap in product(*(range(size) for size in self.kernel)):
            where = (
                slice(index * dilation, index * dilation + (size - 1) * stride + 1, stride)
                for index, dilation, size, stride in zip(tap, self.dilations, self.sizes, self.strides, strict=True)
            )
            yield tap, padded[(slice(None), slice(None), *where)]

    def patches(self, padded: Array) -> Array:
        """All windows as a view of shape [n, c, *kernel, *sizes]."""
        padded = np.ascontiguousarray(padded)
        steps = padded.strides[2:]
        between = [step * dilation for step, dilation in zip(steps, self.dilations, strict=True)]
        along = [step * stride for step, stride in zip(steps, self.strides, strict=True)]
        shape = (*padded.shape[:2], *self.kernel, *self.sizes)
        return np.ndarray(shape, padded.dtype, padded, strides=(*padded.strides[:2], *between, *along))


def read_window(call: Call, sizes: tuple[int, ...], kernel: tuple[int, ...], dilated: bool) -> Window:
    """The window of a convolution (`dilated`) or pool over spatial dimensions of the given sizes.

    `same` pads so that the output has ceil(size / stride) elements, the odd one behind (`same_lower`: in front), as
    TensorFlow does it. `pad` counts for `custom` only. With `ceil_mode` the last window may reach over the padding, but
    does not begin behind the input and its padding in front, as in PyTorch.
    """
    rank = len(kernel)
    strides = spatial_ints(call, "strides", rank)
    dilations = spatial_ints(call, "dilations", rank) if dilated else (1,) * rank
    pad_type = call.text("pad_type", "valid").lower()
    pad = call.ints("pad", (0,) * (2 * rank))
    rounds_up = not dilated and call.flag("ceil_mode", False)
    window = _fit(sizes, kernel, strides, dilations, pad_type, pad, rounds_up)
    call.room(tuple([size + a + b for size, a, b in zip(sizes, window.before, window.after, strict=True)]))
    return window


@lru_cache(maxsize=1024)
def _fit(
    sizes: tuple[int, ...],
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
    pad_type: str,
    pad: tuple[int, ...],
    rounds_up: bool,
) -> Window:
    """The window of the given parameters over spatial dimensions of `sizes`; the next run asks for the same ones."""
    rank = len(kernel)
    if len(sizes) != rank or len(pad) != 2 * rank or min(pad) < 0:
        raise EvaluationError(f"a kernel of rank {rank} with padding {list(pad)} over {len(sizes)} spatial dimensions")
    spans = tuple((size - 1) * dilation + 1 for size, dilation in zip(kernel, dilations, strict=True))
    if pad_type == "custom":
        before, after = pad[::2], pad[1::2]
    elif pad_type == "valid":
        before = after = (0,) * rank
    elif pad_type in ("same", "same_lower"):
        total = [
            max(0, (ceil(size / step) - 1) * step + span - size)
            for size, step, span in zip(sizes, strides, spans, strict=True)
        ]
        less = tuple(amount // 2 for amount in total)
        more = tuple(amount - half for amount, half in zip(total, less, strict=True))
        before, after = (less, more) if pad_type == "same" else (more, less)
    else:
        raise EvaluationError(f"unknown pad_type {pad_type!r}")
    counts, reach = [], []
    for size, front, back, span, step in zip(sizes, before, after, spans, strides, strict=True):
        room = size + front + back - span
        count = (-(-room // step) if rounds_up else room // step) + 1
        if rounds_up and (count - 1) * step >= size + front and front + back:
            count -= 1
        if count < 1:
            raise EvaluationError(f"a window of {span} does not fit into {size + front + back} elements")
        if rounds_up and front + back == 0 and (count - 1) * step >= size:
            raise EvaluationError("what a window of ceil_mode behind all elements holds is not documented")
        counts.append(count)
        reach.append(max(back, (count - 1) * step + span - size - front))
    return Window(kernel, strides, dilations, before, tuple(reach), tuple(counts))


def spatial_ints(call: Call, name: str, rank: int) -> tuple[int, ...]:
    """A parameter with one number, 1 or greater, for each spatial dimension; all 1 when it is left out."""
    values = call.ints(name, (1,) * rank)
    if len(values) != rank or min(values) < 1:
        raise EvaluationError(f"{name!r} is {list(values)} for {rank} spatial dimensions")
    return values
