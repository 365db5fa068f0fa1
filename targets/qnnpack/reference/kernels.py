"""What convolution, transposed convolution and linear share: scales of requantization, bias and fused relu."""

from __future__ import annotations

import numpy as np

from edgeport.quantize.plan import QParams
from edgeport.sample import Array
from edgeport.targets.qnnpack.reference.rounding import (
    Float32,
    Int32,
    Machine,
    UInt8,
    activation_qparams,
    requantized,
    wrapped,
)


def centred(x: UInt8, zero_point: int) -> Array:
    """x - z as float64, in which products and sums of 8-bit integers are exact."""
    return x.astype(np.float64) - zero_point


def finished(
    sums: Array,
    bias: Int32 | None,
    scales: Float32,
    x_q: QParams,
    y_q: QParams,
    *,
    channel_axis: int,
    relu: bool,
    machine: Machine,
) -> UInt8:
    """Sums of (x - z_x) * w as uint8 outputs.

    The bias is added in int32; the scale is (s_w * s_x) * (1 / s_y), each step in float32. (A quotient instead flips
    some sums that lie next to ties.)
    Source: `generate_requantization_scales` in `QnnpackUtils.h`; a fused relu is a lower limit at the zero point.

    Args:
        sums: whole numbers, any dtype, the output's shape.
        bias: int32, shape (channels,), from `quantize_bias`.
        scales: float32, shape (channels,), of the weights.
        x_q: of the input.
        y_q: of the output.
        channel_axis: of `sums`.
        relu: whether max(y, 0) is fused.
        machine: see `requantized`.
    """
    x_scale, _ = activation_qparams("x", x_q)
    y_scale, zero_point = activation_qparams("y", y_q)
    shape = [-1 if axis == channel_axis % sums.ndim else 1 for axis in range(sums.ndim)]
    ratio = (scales * x_scale * (np.float32(1) / y_scale)).reshape(shape)
    if not np.all(np.isfinite(ratio) & (ratio >= np.finfo(np.float32).tiny)):
        raise ValueError("a requantization scale is no positive normal float32")
    total = sums.astype(np.int64)
    if bias is not None:
        total = total + bias.astype(np.int64).reshape(shape)
    low = zero_point if relu else 0
    return requantized(wrapped(total), ratio, zero_point, low=low, machine=machine)
