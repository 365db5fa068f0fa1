"""A transposed convolution as one convolution a phase of its stride, for what TRANSPOSE_CONV does not take.

    x --+--> convolution with the taps that meet outputs 0, s, 2s, ...    --+
        +--> convolution with the taps that meet outputs 1, s + 1, ...    --+--> interleaved --> SLICE --> y
        +--> ...                                                          --+

Nothing is multiplied by inserted zeros. All phases read the same padded input, so their kernels have the same length.
Odena, Dumoulin & Olah, "Deconvolution and Checkerboard Artifacts", 2016, describes the correspondence (sub-pixel
convolution).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgeport.sample import Array
from edgeport.targets.tflite.builder import Tensor
from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.pieces import box, joined, shaped


@dataclass(frozen=True)
class Phases:
    """One axis of a transposed convolution.

    Attributes:
        stride: number of phases.
        steps: for each phase, for each tap of the kernel, by how many inputs it looks ahead; None where it meets none.
        low: the smallest step.
        taps: length of the phases' kernels.
        count: outputs of each phase.
        before: elements to pad in front of the input, to drop where negative.
        after: the same behind it.
    """

    stride: int
    steps: tuple[tuple[int | None, ...], ...]
    low: int
    taps: int
    count: int
    before: int
    after: int


def phases(size: int, out: int, kernel: int, stride: int, dilation: int, begin: int) -> Phases:
    """Output o adds up input i times weight t wherever o + begin = i * stride + t * dilation."""
    steps = tuple(
        tuple(
            (r + begin - t * dilation) // stride if (r + begin - t * dilation) % stride == 0 else None
            for t in range(kernel)
        )
        for r in range(stride)
    )
    used = [e for row in steps for e in row if e is not None]
    low, high = min(used), max(used)
    count = -(-out // stride)
    return Phases(stride, steps, low, high - low + 1, count, -low, count - 1 + high - (size - 1))


def phase_weights(weights: Array, axes: Sequence[Phases], groups: int, offsets: Sequence[int]) -> Array:
    """[C, M/g, *k] of a ConvTranspose -> [M, C/g, *taps] of the convolution of one phase."""
    channels, each = weights.shape[:2]
    kernel = weights.shape[2:]
    grouped = weights.reshape(groups, channels // groups, each, *kernel).swapaxes(1, 2)
    source = grouped.reshape(groups * each, channels // groups, *kernel)
    source = np.moveaxis(source, (0, 1), (-2, -1))
    result = np.zeros((*(axis.taps for axis in axes), *source.shape[-2:]), weights.dtype)
    for taps in itertools.product(*(range(k) for k in kernel)):
        steps = [axis.steps[r][t] for axis, r, t in zip(axes, offsets, taps, strict=True)]
        places = tuple(e - axis.low for axis, e in zip(axes, steps, strict=True) if e is not None)
        if len(places) == len(axes):
            result[places] = source[taps]
    return np.moveaxis(result, (-2, -1), (0, 1))


def by_phases(
    ctx: Context,
    y: ir.Value,
    data: Tensor,
    out: Sequence[int],
    axes: Sequence[Phases],
    convolve: Callable[[Tensor, tuple[int, ...]], Tensor],
    merged: bool = False,
) -> Tensor:
    """The whole transposed convolution.

    Args:
        ctx: the lowering's state.
        y: names the inner tensors.
        data: [N, *sizes, C].
        out: kept output sizes.
        axes: one for each spatial axis.
        convolve: runs one phase (given by its offset on every axis) over the padded data, without further padding.
        merged: `convolve` gives all phases of the last axis at once, interleaved; its offset there is 0.

    Returns:
        [N, *out, M].
    """
    padded = _padded(ctx, y, data, axes)
    counts = [axis.stride for axis in axes[:-1]] + [1 if merged else axes[-1].stride]
    parts = {offsets: convolve(padded, offsets) for offsets in itertools.product(*map(range, counts))}
    for position in reversed(range(len(axes))):
        heads = dict.fromkeys(offsets[:position] for offsets in parts)
        parts = {
            h: _interleaved(ctx, y, [v for k, v in parts.items() if k[:position] == h], position + 1) for h in heads
        }
    whole = parts[()]
    shape = (data.shape[0], *out, whole.shape[-1])
    return box(ctx, y, whole, (0,) * len(shape), shape)


def _padded(ctx: Context, y: ir.Value, data: Tensor, axes: Sequence[Phases]) -> Tensor:
    before = [0, *(a.before for a in axes), 0]
    after = [0, *(a.after for a in axes), 0]
    if any(b < 0 for b in (*before, *after)):
        shape = [d + min(b, 0) + min(a, 0) for d, b, a in zip(data.shape, before, after, strict=True)]
        data = box(ctx, y, data, [max(-b, 0) for b in before], shape)
    pads = [(max(b, 0), max(a, 0)) for b, a in zip(before, after, strict=True)]
    if not any(map(any, pads)):
        return data
    shape = [d + sum(p) for d, p in zip(data.shape, pads, strict=True)]
    amounts = ctx.builder.constant("const/pads", np.asarray(pads, np.int32))
    return ctx.step(y, "PAD", [data, amounts], "PadOptions", shape)


def _interleaved(ctx: Context, y: ir.Value, parts: Sequence[Tensor], position: int) -> Tensor:
    """The parts' elements along an axis in turn."""
    if len(parts) == 1:
        return parts[0]
    shape = parts[0].shape
    before, count, behind = math.prod(shape[:position]), shape[position], math.prod(shape[position + 1 :])
    views = [shaped(ctx, y, part, (before, count, behind)) for part in parts]
    whole = joined(ctx, y, views, 2)
    return shaped(ctx, y, whole, (*shape[:position], count * len(parts), *shape[position + 1 :]))
