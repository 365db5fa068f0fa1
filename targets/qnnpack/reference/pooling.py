"""Pooling of uint8 tensors; the output keeps the input's scale and zero point."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from edgeport.quantize.plan import QParams
from edgeport.sample import Array
from edgeport.targets.qnnpack.reference.rounding import Machine, UInt8, activation_qparams, requantized, wrapped
from edgeport.targets.qnnpack.reference.windows import output_size, under_tap


def _windows(padded: Array, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int] = (1, 1)) -> Array:
    """The elements under each tap of the window, shape (taps, N, C, height, width)."""
    output = output_size(padded.shape[2:], kernel, strides, dilations)
    taps = itertools.product(*map(range, kernel))
    return np.stack([padded[under_tap(tap, strides, dilations, output)] for tap in taps])


def _mean(sums: Array, count: int, x_q: QParams, machine: Machine) -> UInt8:
    """Sums of (x - z) over `count` elements each, as uint8 at the input's parameters: the factor is s / (s * count)."""
    scale, zero_point = activation_qparams("x", x_q)
    factor = scale / (scale * np.float32(count))
    return requantized(wrapped(sums), factor, zero_point, low=0, machine=machine)


def max_pool2d(
    x: UInt8,
    *,
    kernel: Sequence[int],
    strides: Sequence[int],
    padding: Sequence[int] = (0, 0),
    dilations: Sequence[int] = (1, 1),
) -> UInt8:
    """quantized::max_pool2d without ceil mode: the largest stored integer in each window.

    Padding repeats the edge, which a window without dilation holds anyway. A dilated one may not hold it: there the
    engine's answer differs from that of ONNX and of PyTorch's float pooling, and this function gives the engine's.
    Source: `max-pooling.c`, `indirection.c` (its indices are clamped to the input), `u8maxpool/`, `Pooling.cpp`.

    Args:
        x: uint8, shape (N, C, H, W).
        kernel: height and width of the window.
        strides: by height and width.
        padding: on both sides, at most half of the kernel.
        dilations: by height and width.

    Raises:
        ValueError: The window is a single element, which the engine refuses, a padding is more than half of its
            kernel, or nothing comes out.
    """
    if int(np.prod(kernel)) == 1:
        raise ValueError("QNNPACK has no pooling over one element")
    if any(p * 2 > k for p, k in zip(padding, kernel, strict=True)):
        raise ValueError(f"a padding of {tuple(padding)} is more than half of the kernel {tuple(kernel)}")
    padded = np.pad(x, [(0, 0), (0, 0), *((p, p) for p in padding)], mode="edge")
    largest: UInt8 = _windows(padded, kernel, strides, dilations).max(axis=0)
    return largest


def avg_pool2d(
    x: UInt8,
    x_q: QParams,
    *,
    kernel: Sequence[int],
    strides: Sequence[int],
    padding: Sequence[int] = (0, 0),
    machine: Machine,
) -> UInt8:
    """avg_pool2d of a quantized tensor without ceil mode.

    The padding is the zero point and always counts: this engine reads neither `count_include_pad` nor
    `divisor_override`. Source: `AveragePool2d.cpp` (qnnpack_avg_pool2d), `average-pooling.c`, `q8avgpool/`.

    Args:
        x: uint8, shape (N, C, H, W).
        x_q: of x, and of the output.
        kernel: height and width of the window.
        strides: by height and width.
        padding: on both sides.
        machine: see `rounding.requantized`.

    Raises:
        ValueError: The window is a single element, which the engine refuses, or nothing comes out.
    """
    if int(np.prod(kernel)) == 1:
        raise ValueError("QNNPACK has no pooling over one element")
    zero_point = activation_qparams("x", x_q)[1]
    padded = np.pad(x.astype(np.int64) - zero_point, [(0, 0), (0, 0), *((p, p) for p in padding)])
    return _mean(_windows(padded, kernel, strides).sum(axis=0), int(np.prod(kernel)), x_q, machine)


def adaptive_avg_pool2d(x: UInt8, x_q: QParams, output: Sequence[int], *, machine: Machine) -> UInt8:
    """adaptive_avg_pool2d of a quantized tensor to a size that divides the input's, which is then an average pooling.

    Source: `AdaptiveAveragePooling.cpp` (qnnpack_adaptive_avg_pool2d).

    Args:
        x: uint8, shape (N, C, H, W).
        x_q: of x, and of the output.
        output: height and width.
        machine: see `rounding.requantized`.

    Raises:
        ValueError: `output` does not divide the input's size; torch then leaves QNNPACK for loops of its own.
    """
    if x.shape[2:] == tuple(output):
        return x.copy()
    if any(size % count for size, count in zip(x.shape[2:], output, strict=True)):
        raise ValueError(f"QNNPACK pools {x.shape[2:]} to a size that divides it, not to {tuple(output)}")
    step = [size // count for size, count in zip(x.shape[2:], output, strict=True)]
    return avg_pool2d(x, x_q, kernel=step, strides=step, machine=machine)


def global_avg_pool(x: UInt8, x_q: QParams, *, machine: Machine) -> UInt8:
    """torch.mean over height and width, shape (N, C, H, W) to (N, C).

    Source: `ReduceOps.cpp` (qnnpack_mean), `global-average-pooling.c`, `q8gavgpool/`.
    """
    zero_point = activation_qparams("x", x_q)[1]
    sums = (x.astype(np.int64) - zero_point).sum(axis=(2, 3))
    return _mean(sums, x.shape[2] * x.shape[3], x_q, machine)
