"""Linear layers with static parameters."""

from __future__ import annotations

import numpy as np

from edgeport.quantize.plan import QParams
from edgeport.targets.qnnpack.reference.kernels import centred, finished
from edgeport.targets.qnnpack.reference.rounding import Int8, Int32, Machine, UInt8, activation_qparams, weight_scales


def linear(
    x: UInt8,
    weight: Int8,
    bias: Int32 | None,
    x_q: QParams,
    weight_q: QParams,
    y_q: QParams,
    *,
    machine: Machine,
    relu: bool = False,
) -> UInt8:
    """quantized::linear and linear_relu. Source: `qlinear.cpp`, `fc-run.cc`, `q8gemm/`.

    Args:
        x: uint8, shape (..., K).
        weight: int8, shape (M, K).
        bias: int32, shape (M,), from `quantize_bias`, or None.
        x_q: of x.
        weight_q: symmetric, with one scale or M of them along axis 0.
        y_q: of the output.
        machine: see `rounding.requantized`.
        relu: whether max(y, 0) is fused.

    Returns:
        uint8, shape (..., M).

    Raises:
        ValueError: The parameters do not fit.
    """
    scales = weight_scales(weight_q, 0, weight.shape[0])
    sums = centred(x, activation_qparams("x", x_q)[1]) @ weight.astype(np.float64).T
    return finished(sums, bias, scales, x_q, y_q, channel_axis=-1, relu=relu, machine=machine)
