"""Linear layers whose input is quantized at run time and whose output is float."""

from __future__ import annotations

import numpy as np

from edgeport.quantize.plan import QParams
from edgeport.targets.qnnpack.reference.kernels import centred
from edgeport.targets.qnnpack.reference.quantization import quantize
from edgeport.targets.qnnpack.reference.rounding import (
    Float32,
    Int8,
    Machine,
    activation_qparams,
    weight_scales,
    wrapped,
)

_SMALLEST_SCALE = float(np.float32(6.1e-5))


def choose_qparams(low: float, high: float) -> QParams:
    """The uint8 parameters that torch chooses at run time for float32 numbers between `low` and `high`.

    The range is widened to hold 0 and, where its scale is under 6.1e-5, to that scale. All in float64, except that the
    limits and the factor of the widening are float32.
    Source: `quant_utils::ChooseQuantizationParams` in ATen's `native/quantized/cpu/QuantUtils.h`.

    Raises:
        ValueError: A limit is no finite number, or they are in the wrong order.
    """
    if not (np.isfinite(low) and np.isfinite(high) and low <= high):
        raise ValueError(f"no parameters for the range [{low}, {high}]")
    least, most = min(np.float32(low), np.float32(0)), max(np.float32(high), np.float32(0))
    scale = (float(most) - float(least)) / 255
    with np.errstate(over="ignore", divide="ignore"):
        if np.float32(scale) == 0 or np.isinf(np.float32(1) / np.float32(scale)):
            scale = 0.1
    if scale < _SMALLEST_SCALE:
        amplifier = np.float32(_SMALLEST_SCALE) / np.float32(scale)
        widest = np.float32(_SMALLEST_SCALE) * np.float32(255)
        scale = _SMALLEST_SCALE
        if least == 0:
            most = widest
        elif most == 0:
            least = -widest
        else:
            least, most = least * amplifier, most * amplifier
    from_least, from_most = -float(least) / scale, 255 - float(most) / scale
    chosen = from_least if -abs(float(least) / scale) < 255 - abs(float(most) / scale) else from_most
    zero_point = int(np.rint(np.clip(chosen, 0, 255)))
    return QParams("uint8", np.asarray(scale, np.float32), np.asarray(zero_point, np.int32))


def linear_dynamic(
    x: Float32, weight: Int8, bias: Float32 | None, weight_q: QParams, *, machine: Machine, relu: bool = False
) -> Float32:
    """quantized::linear_dynamic and linear_relu_dynamic with this engine, which never reduces the range to 7 bits.

    float32(sum) * (s_w * s_x), rounded, plus the float bias. On x86-64 this is exact (`q8gemm/4x4c2-dq-sse2.c`); ARM
    kernels may fuse the two steps (not measured), and floats then differ there in the last bit.
    Source: `qlinear_dynamic.cpp` (PackedLinearWeightsQnnp), `fc-dynamic-run.cc`.

    Args:
        x: float32, shape (..., K), not empty.
        weight: int8, shape (M, K).
        bias: float32, shape (M,), or None.
        weight_q: symmetric, with one scale or M of them along axis 0.
        machine: whose rounding quantizes x.
        relu: whether max(y, 0) follows.

    Returns:
        float32, shape (..., M).

    Raises:
        ValueError: x holds what is not finite, or the parameters do not fit.
    """
    x_q = choose_qparams(float(x.min()), float(x.max()))
    scale, zero_point = activation_qparams("x", x_q)
    scales = weight_scales(weight_q, 0, weight.shape[0]) * scale
    sums = wrapped(centred(quantize(x, x_q, machine=machine), zero_point) @ weight.astype(np.float64).T)
    y = sums.astype(np.float32) * scales
    if bias is not None:
        y = y + bias.astype(np.float32)
    return np.maximum(y, np.float32(0)) if relu else y
