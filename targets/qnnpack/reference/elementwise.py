"""Sum, product and relu of uint8 tensors."""

from __future__ import annotations

import numpy as np

from edgeport.quantize.plan import QParams
from edgeport.targets.qnnpack.reference.rounding import UInt8, activation_qparams, requantized, wrapped

_SMALLEST, _SMALLEST_OF_LARGER, _LIMIT = np.float32(2.0**-14), np.float32(2.0**-10), np.float32(2.0**8)
"""Bounds for the ratios of the operands' scales to the sum's."""


def add(a: UInt8, b: UInt8, a_q: QParams, b_q: QParams, y_q: QParams, *, relu: bool = False) -> UInt8:
    """quantized::add and add_relu of two tensors of one shape, the same on all machines.

    Fixed point: both ratios of scales become integers of at most 22 bits under one power of two, and the sum of the
    products is shifted back, half rounded away from zero. (So it is neither the float formula nor half to even.)
    Source: `add.c`, `pytorch_qnnp_compute_add_quantization_params` in `qnnpack/requantization.h`, `q8vadd/`.

    Args:
        a: uint8, any shape.
        b: uint8, the same shape.
        a_q: of a.
        b_q: of b.
        y_q: of the output.
        relu: whether max(y, 0) is fused.

    Raises:
        ValueError: The shapes differ (torch then leaves QNNPACK for a float loop); the ratio of an operand's scale to
            the sum's is not in [2**-14, 2**8), or a relu is fused at a zero point of 255, where the engine fails, too;
            or both ratios are under 2**-10, where the engine shifts int32 by 32 bits and more, with any result.
    """
    if a.shape != b.shape:
        raise ValueError(f"QNNPACK adds tensors of one shape, not {a.shape} and {b.shape}")
    (a_scale, a_zero), (b_scale, b_zero) = activation_qparams("a", a_q), activation_qparams("b", b_q)
    y_scale, y_zero = activation_qparams("y", y_q)
    ratios = (a_scale / y_scale, b_scale / y_scale)
    if not all(_SMALLEST <= ratio < _LIMIT for ratio in ratios):
        raise ValueError(f"QNNPACK adds where scale ratios are in [2**-14, 2**8), not {ratios}")
    if max(ratios) < _SMALLEST_OF_LARGER:
        raise ValueError(f"QNNPACK adds wrongly where both scale ratios are under 2**-10: {ratios}")
    if relu and y_zero == 255:
        raise ValueError("QNNPACK has no sum with relu at a zero point of 255")
    shift = 22 - int(np.frexp(max(ratios))[1])
    a_factor, b_factor = (int(np.rint(ratio * np.float32(2.0**shift))) for ratio in ratios)
    total = wrapped(
        a.astype(np.int64) * a_factor + b.astype(np.int64) * b_factor - (a_factor * a_zero + b_factor * b_zero)
    ).astype(np.int64)
    mask = (1 << shift) - 1
    remainder = (total & mask) - (total < 0)
    rounded = (total >> shift) + (remainder > mask >> 1)
    stored: UInt8 = np.clip(rounded + y_zero, y_zero if relu else 0, 255).astype(np.uint8)
    return stored


def mul(a: UInt8, b: UInt8, a_q: QParams, b_q: QParams, y_q: QParams, *, relu: bool = False) -> UInt8:
    """quantized::mul and mul_relu, with broadcasting, the same on all machines.

    QNNPACK has no product; with its engine torch runs its own: (a - z_a) * (b - z_b) in int32, requantized with
    s_a * s_b * (1 / s_y) in float32. Source: `qmul.cpp`, `qmul_kernel` in `kernels/QuantizedOpKernels.cpp`.

    Args:
        a: uint8, any shape.
        b: uint8, a shape that broadcasts with it.
        a_q: of a.
        b_q: of b.
        y_q: of the output.
        relu: whether max(y, 0) is fused.

    Raises:
        ValueError: The largest product could pass int32 at the output's scale; whether that becomes 0 or 255 depends on
            where the element stands in memory.
    """
    (a_scale, a_zero), (b_scale, b_zero) = activation_qparams("a", a_q), activation_qparams("b", b_q)
    y_scale, y_zero = activation_qparams("y", y_q)
    factor = a_scale * b_scale * (np.float32(1) / y_scale)
    if not factor * np.float32(255 * 255) < 2.0**31:
        raise ValueError(f"a scale ratio of {factor} takes products beyond int32")
    product = (a.astype(np.int32) - a_zero) * (b.astype(np.int32) - b_zero)
    return requantized(product, factor, y_zero, low=y_zero if relu else 0, machine="phone")


def relu(x: UInt8, x_q: QParams) -> UInt8:
    """torch.relu of a quantized tensor, which keeps its parameters: the larger of q and z. Source: `qrelu.cpp`."""
    return np.maximum(x, np.uint8(activation_qparams("x", x_q)[1]))
