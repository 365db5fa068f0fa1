"""From ranges and constants to scales: affine parameters of activations, symmetric parameters of weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeport.quantize.plan import QParams
from edgeport.sample import Array

_INT32_HEADROOM = 2.0**30
"""Quantized biases stay below this, so that bias plus accumulator cannot overflow int32."""


def activation_qparams(low: float, high: float, *, symmetric: bool = False, wide: bool = False) -> QParams:
    """int8 parameters (if `wide`, symmetric int16) for [low, high], widened to contain 0: zero is stored exactly.

    Asymmetric: scale = (high - low) / 255 with the zero point rounded to an integer (Jacob et al. 2018,
    arXiv:1712.05877, section 2.1). Symmetric: scale = max(|low|, |high|) / 127 (32767), zero point 0. A range of only
    zeros gets scale 1.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    if symmetric or wide:
        scale = max(-low, high) / (32767 if wide else 127)
        zero = 0
    else:
        scale = (high - low) / 255
        zero = 0 if scale == 0 else int(np.clip(np.rint(-128 - low / scale), -128, 127))
    scale32 = np.float32(scale) if np.float32(scale) >= np.finfo(np.float32).tiny else np.float32(1)
    return QParams("int16" if wide else "int8", np.asarray(scale32), np.asarray(zero, np.int32))


def float8_qparams(low: float, high: float) -> QParams:
    """float8e4m3fn parameters for [low, high]: the scale takes the largest magnitude to 448, the largest number.

    A range of only zeros gets scale 1. Clipping would win nothing, because steps are relative.
    """
    scale = np.float32(max(-low, high, 0.0) / 448)
    if scale < np.finfo(np.float32).tiny:
        scale = np.float32(1)
    return QParams("float8e4m3fn", np.asarray(scale), np.asarray(0, np.int32))


def weight_qparams(
    weight: Array, axis: int | None, biases: Sequence[tuple[QParams | None, Array]] = (), steps: int = 127
) -> QParams:
    """Symmetric int8 parameters of a constant weight, values in [-127, 127].

    Args:
        weight: float32 constant.
        axis: channel axis, None for one scale for the whole tensor.
        biases: for every kernel that uses the weight, its input's parameters (None: a float input) and its bias,
            shape (channels,). A channel of tiny weights under a large bias gets a wider scale, because
            bias / (input scale * weight scale) must fit int32; its weights lose nothing that the sum could show.
        steps: the largest stored magnitude; less than 127 for kernels whose sums of two products saturate.

    A channel of only zeros gets the scale of the largest channel: any scale is exact, and 0 is refused by runtimes.
    """
    magnitudes = np.abs(weight.astype(np.float64))
    if axis is None:
        peak = np.atleast_1d(magnitudes.max(initial=0.0))
    else:
        peak = magnitudes.max(axis=tuple(i for i in range(weight.ndim) if i != axis % weight.ndim), initial=0.0)
    scale = peak / steps
    for x, bias in biases:
        if x is not None and x.dtype == "int8":  # biases of wider kernels are int64
            bound = np.abs(bias.astype(np.float64)).reshape(-1) / (float(x.scale) * _INT32_HEADROOM)
            scale = np.maximum(scale, bound if axis is not None else bound.max(initial=0.0))
    largest = scale.max(initial=0.0) or 1.0
    # Below 2^-24 of the largest channel a weight cannot move a per-tensor quantized output by one step.
    scale32 = np.where(scale < largest * 2.0**-24, largest, scale).astype(np.float32)
    if axis is None:
        scale32 = scale32.reshape(())
    return QParams(
        "int8", scale32, np.zeros(scale32.shape, np.int32), None if axis is None else axis % weight.ndim, True
    )
