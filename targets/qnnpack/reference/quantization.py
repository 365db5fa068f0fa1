"""Between floats and integers: quantize, dequantize, and the bias that the engine makes of a float bias."""

from __future__ import annotations

import numpy as np

from edgeport.quantize.plan import QParams
from edgeport.targets.qnnpack.reference.rounding import (
    Float32,
    Int32,
    Machine,
    UInt8,
    activation_qparams,
    fused_multiply_add,
    weight_scales,
)


def quantize(x: Float32, qparams: QParams, *, machine: Machine) -> UInt8:
    """float32 to uint8 with one scale, as torch.quantize_per_tensor does it.

    A desktop rounds `x * (1 / s) + z` once, in a fused multiply-add, then to the nearest integer, half to even
    (FBGEMM's `QuantizeAvx2`). A phone rounds `x * (1 / s)` half to even and adds the zero point to the integer
    (`quantize_tensor_arm` in `AffineQuantizerBase.cpp` and `affine_quantizer.cpp`, pytorch issue 61047). They differ by
    one step in some of those x that lie halfway between two steps, or next to it.

    Raises:
        ValueError: x holds a NaN, for which the engines give no stable answer.
    """
    scale, zero_point = activation_qparams("x", qparams)
    if np.isnan(x).any():
        raise ValueError("x holds NaN, which has no quantized form")
    inverse = np.float32(1) / scale
    with np.errstate(over="ignore"):
        if machine == "desktop":
            return saturated(np.rint(fused_multiply_add(x, inverse, float(zero_point))))
        return saturated(np.rint(x * inverse) + np.float32(zero_point))


def saturated(rounded: Float32) -> UInt8:
    """Integers held as float32, as uint8 with saturation."""
    return np.clip(rounded, 0, 255).astype(np.uint8)


def dequantize(q: UInt8, qparams: QParams) -> Float32:
    """uint8 to float32: (q - z) * s, the difference an exact integer. The same on all machines."""
    scale, zero_point = activation_qparams("q", qparams)
    return (q.astype(np.int32) - zero_point).astype(np.float32) * scale


def quantize_bias(bias: Float32, x: QParams, weight: QParams, *, axis: int = 0) -> Int32:
    """The int32 bias that the engine makes of a float32 bias, shape (channels,), when a kernel runs first.

    rint(b * (1 / (s_w * s_x))), each step in float32; a quotient in float64 (`plan.bias_qparams`) can differ by one.
    Source: `qconv.cpp` and `qlinear.cpp` (PackedConvWeightsQnnp, PackedLinearWeightsQnnp), `fbgemm::Quantize<int32>`.

    Args:
        bias: float32, shape (channels,).
        x: of the kernel's input.
        weight: of its weights.
        axis: of the output channels in the weights.

    Raises:
        ValueError: A bias does not fit into int32; engines differ there.
    """
    scales = weight_scales(weight, axis, bias.size) * activation_qparams("x", x)[0]
    rounded = np.rint(bias.astype(np.float32) * (np.float32(1) / scales))
    if not np.all(np.abs(rounded) < 2.0**31):
        raise ValueError("a bias does not fit into int32 at the scale of its sums")
    return rounded.astype(np.int32)
