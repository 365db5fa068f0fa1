"""Transposed convolution over one to three axes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from edgeport.quantize.plan import QParams
from edgeport.targets.qnnpack.reference.kernels import centred, finished
from edgeport.targets.qnnpack.reference.rounding import Int8, Int32, Machine, UInt8, activation_qparams, weight_scales
from edgeport.targets.qnnpack.reference.windows import at_tap, under_tap


def conv_transpose(
    x: UInt8,
    weight: Int8,
    bias: Int32 | None,
    x_q: QParams,
    weight_q: QParams,
    y_q: QParams,
    *,
    machine: Machine,
    strides: Sequence[int],
    padding: Sequence[int],
    output_padding: Sequence[int],
    dilations: Sequence[int],
    groups: int = 1,
) -> UInt8:
    """quantized::conv_transpose1d and conv_transpose2d, which have no fused relu.

    Source: `qconv.cpp` (PackedConvWeightsQnnp with transpose), `deconv-run.cc`.

    Args:
        x: uint8, shape (N, C, *spatial).
        weight: int8, shape (C, M / groups, *kernel).
        bias: int32, shape (M,), from `quantize_bias` with axis 1, or None.
        x_q: of x.
        weight_q: symmetric, with one scale, or M of them along axis 1 where there is one group.
        y_q: of the output.
        machine: see `rounding.requantized`.
        strides: one an axis of space.
        padding: what is cut off both sides of the output, one an axis of space.
        output_padding: what is added to its end, one an axis of space.
        dilations: one an axis of space.
        groups: divides C and M.

    Returns:
        uint8, shape (N, M, *output).

    Raises:
        ValueError: The shapes or the parameters do not fit.
    """
    space = x.ndim - 2
    if not len(strides) == len(padding) == len(output_padding) == len(dilations) == weight.ndim - 2 == space:
        raise ValueError(f"strides, paddings, dilations and the kernel must have {space} axes of space")
    inputs, outputs = weight.shape[:2]
    if x.shape[1] != inputs or inputs % groups:
        raise ValueError(f"{x.shape[1]} channels, weights of {weight.shape} and {groups} groups do not fit")
    if weight_q.scale.size > 1 and groups > 1:
        raise ValueError("the engine has no transposed convolution with scales by channel and several groups")
    channels = outputs * groups
    scales = weight_scales(weight_q, 1, channels)
    kernel = weight.shape[2:]
    full = [
        (size - 1) * stride + step * (k - 1) + 1 + extra
        for size, stride, step, k, extra in zip(x.shape[2:], strides, dilations, kernel, output_padding, strict=True)
    ]
    grouped = centred(x, activation_qparams("x", x_q)[1]).reshape(x.shape[0], groups, inputs // groups, -1)
    filters = weight.astype(np.float64).reshape(groups, inputs // groups, outputs, *kernel)
    sums = np.zeros((x.shape[0], channels, *full))
    for tap in itertools.product(*map(range, kernel)):
        part = filters[at_tap(tap)].swapaxes(1, 2) @ grouped
        reached = under_tap(tap, strides, dilations, x.shape[2:])
        sums[reached] += part.reshape(x.shape[0], channels, *x.shape[2:])
    left = [size - 2 * cut for size, cut in zip(full, padding, strict=True)]
    if min(left) < 1:
        raise ValueError(f"a padding of {list(padding)} leaves nothing of the output {full}")
    ones = [1] * space
    return finished(
        sums[under_tap(padding, ones, ones, left)], bias, scales, x_q, y_q, channel_axis=1, relu=False, machine=machine
    )
