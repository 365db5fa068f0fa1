"""Convolution over one to three axes: dense, grouped, depthwise, dilated."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from edgeport.quantize.plan import QParams
from edgeport.targets.qnnpack.reference.kernels import centred, finished
from edgeport.targets.qnnpack.reference.rounding import Int8, Int32, Machine, UInt8, activation_qparams, weight_scales
from edgeport.targets.qnnpack.reference.windows import at_tap, output_size, under_tap


def conv(
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
    dilations: Sequence[int],
    groups: int = 1,
    relu: bool = False,
) -> UInt8:
    """quantized::conv1d, conv2d, conv3d and their _relu forms.

    The padding is the input's zero point, that is a real zero. Sums are int32; 8-bit operands are centred first, and
    nothing saturates on the way. Source: `qconv.cpp`, `conv-prepack.cc`, `conv-run.cc`, `q8conv/`, `q8dwconv/`.

    Args:
        x: uint8, shape (N, C, *spatial).
        weight: int8, shape (M, C / groups, *kernel).
        bias: int32, shape (M,), from `quantize_bias`, or None.
        x_q: of x.
        weight_q: symmetric, with one scale or M of them along axis 0.
        y_q: of the output.
        machine: see `rounding.requantized`.
        strides: one an axis of space.
        padding: one an axis of space, on both of its sides.
        dilations: one an axis of space.
        groups: divides C and M.
        relu: whether max(y, 0) is fused.

    Returns:
        uint8, shape (N, M, *output).

    Raises:
        ValueError: The shapes or the parameters do not fit.
    """
    space = x.ndim - 2
    if not len(strides) == len(padding) == len(dilations) == weight.ndim - 2 == space:
        raise ValueError(f"strides, padding, dilations and the kernel must have {space} axes of space")
    channels, inputs = weight.shape[:2]
    if x.shape[1] != inputs * groups or channels % groups:
        raise ValueError(f"{x.shape[1]} channels, weights of {weight.shape} and {groups} groups do not fit")
    scales = weight_scales(weight_q, 0, channels)
    zeros = [(0, 0), (0, 0), *((p, p) for p in padding)]
    real = np.pad(centred(x, activation_qparams("x", x_q)[1]), zeros)
    kernel = weight.shape[2:]
    output = output_size(real.shape[2:], kernel, strides, dilations)
    grouped = real.reshape(x.shape[0], groups, inputs, *real.shape[2:])
    filters = weight.astype(np.float64).reshape(groups, channels // groups, inputs, *kernel)
    sums = np.zeros((x.shape[0], groups, channels // groups, int(np.prod(output))))
    for tap in itertools.product(*map(range, kernel)):
        part = grouped[under_tap(tap, strides, dilations, output)].reshape(x.shape[0], groups, inputs, -1)
        sums += filters[at_tap(tap)] @ part
    return finished(
        sums.reshape(x.shape[0], channels, *output),
        bias,
        scales,
        x_q,
        y_q,
        channel_axis=1,
        relu=relu,
        machine=machine,
    )
