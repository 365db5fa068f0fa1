"""Concatenation, which dequantizes its inputs and quantizes the result."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeport.quantize.plan import QParams
from edgeport.targets.qnnpack.reference.quantization import dequantize, quantize, saturated
from edgeport.targets.qnnpack.reference.rounding import Machine, UInt8, activation_qparams, fused_multiply_add

_LANES = 8
"""Floats in a register of AVX2, for which torch compiles this kernel even where AVX-512 is there."""


def cat(
    arrays: Sequence[UInt8],
    qparams: Sequence[QParams],
    y_q: QParams,
    *,
    axis: int,
    machine: Machine,
    channels_last: bool = False,
) -> UInt8:
    """quantized::cat. An input whose scale and zero point are the output's comes out as it was.

    Each input is dequantized and the whole is quantized, with the machine's rounding. Source: `TensorShape.cpp`
    (quantized_cat_impl).

    Args:
        arrays: uint8, shapes that differ along `axis` only.
        qparams: of each.
        y_q: of the output.
        axis: that of concatenation.
        machine: whose rounding.
        channels_last: the inputs are (N, C, H, W) and lie so in memory, as the outputs of convolutions and poolings do.
            Along the channels a desktop then takes another way (`qcat_nhwc_kernel`): it fuses the dequantization of
            whole vectors of channels and adds the zero point after rounding there, before rounding in the rest. A
            phone gives the same numbers in either layout.
    """
    if machine == "desktop" and channels_last and arrays[0].ndim == 4 and axis % 4 == 1:
        return np.concatenate([_rescaled(x, q, y_q) for x, q in zip(arrays, qparams, strict=True)], axis=1)
    real = np.concatenate([dequantize(x, q) for x, q in zip(arrays, qparams, strict=True)], axis=axis)
    return quantize(real, y_q, machine=machine)


def _rescaled(x: UInt8, x_q: QParams, y_q: QParams) -> UInt8:
    """One input of a concatenation by channels, shape (N, C, H, W), on a desktop, in channels-last order."""
    (scale, zero_point), (y_scale, y_zero) = activation_qparams("x", x_q), activation_qparams("y", y_q)
    if (scale, zero_point) == (y_scale, y_zero):
        return x
    inverse = np.float32(1) / y_scale
    whole = x.shape[1] // _LANES * _LANES
    vectors = fused_multiply_add(x[:, :whole].astype(np.float32), scale, float(-(np.float32(zero_point) * scale)))
    rest = dequantize(x[:, whole:], x_q)
    return np.concatenate(
        [
            saturated(np.rint(vectors * inverse) + np.float32(y_zero)),
            saturated(np.rint(rest * inverse + np.float32(y_zero))),
        ],
        axis=1,
    )
