"""How floats become integers: requantization of int32 sums, and the one rounding of a fused multiply-add.

A desktop (x86-64, torch built with FBGEMM) and a phone (ARM, torch built without it) differ in three places:

* floats to uint8: `rint(x / s + z)` with one rounding (a fused multiply-add) there, `rint(x / s) + z` here
  (`quantization.py`); half of a step decides differently where the zero point is odd;
* scaled sums of 2**31 and more: x86 converts them to the smallest int32, so that they become 0; ARM saturates;
* concatenation, which dequantizes and quantizes (`concatenation.py`).

All else is the same on both: 44 kinds of operators gave identical bytes on x86-64 and on an emulated Cortex-A76.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from edgeport.quantize.plan import QParams
from edgeport.sample import Array

Machine = Literal["desktop", "phone"]
"""Whose float rounding is meant: torch's x86-64 wheels with AVX2, or torch for phones (ARM NEON, no FBGEMM)."""

UInt8 = npt.NDArray[np.uint8]
Int8 = npt.NDArray[np.int8]
Int32 = npt.NDArray[np.int32]
Float32 = npt.NDArray[np.float32]


def activation_qparams(name: str, qparams: QParams) -> tuple[np.float32, int]:
    """Scale and zero point of uint8 activations.

    Raises:
        ValueError: They are not uint8 per tensor, or the scale is no positive normal float32.
    """
    if qparams.dtype != "uint8" or qparams.axis is not None or qparams.scale.size != 1:
        raise ValueError(f"{name} must be uint8 with one scale, not {qparams.dtype} with axis {qparams.axis}")
    scale = np.float32(qparams.scale.reshape(()))
    if not np.isfinite(scale) or scale < np.finfo(np.float32).tiny:
        raise ValueError(f"the scale {scale} of {name} is no positive normal float32")
    zero_point = int(qparams.zero_point.reshape(()))
    if not 0 <= zero_point <= 255:
        raise ValueError(f"the zero point {zero_point} of {name} is outside 0..255")
    return scale, zero_point


def weight_scales(qparams: QParams, axis: int, channels: int) -> Float32:
    """Scales of int8 weights, shape (channels,), for a kernel whose output channels stand at `axis`.

    Raises:
        ValueError: The weights are not int8, not symmetric, or have scales along another axis.
    """
    if qparams.dtype != "int8" or np.any(qparams.zero_point) or qparams.block is not None:
        raise ValueError(f"weights must be symmetric int8 without blocks, not {qparams.dtype}")
    if qparams.scale.size == 1:
        return np.full(channels, qparams.scale.reshape(()), np.float32)
    if qparams.axis != axis or qparams.scale.shape != (channels,):
        raise ValueError(f"weights need one scale or {channels} along axis {axis}, not {qparams.scale.shape}")
    return qparams.scale.astype(np.float32)


def wrapped(sums: Array) -> Int32:
    """Sums as int32 registers hold them: modulo 2**32."""
    return np.asarray(sums).astype(np.int64).astype(np.int32)


def requantized(sums: Int32, scale: Float32 | np.float32, zero_point: int, *, low: int, machine: Machine) -> UInt8:
    """Int32 sums as uint8: float32(sum) * scale, rounded half to even, plus the zero point, saturated to [low, 255].

    The sum becomes float32 first (rounded beyond 2**24), the product is rounded to float32, then to an integer.
    Source: `q8gemm/4x4c2-sse2.c`, `q8gemm/8x8-neon.c`, `requantization/fp32-*.c` (fp32 requantization).

    Args:
        sums: int32, any shape.
        scale: float32, broadcast to `sums`; any ratio, one and above included.
        zero_point: of the output.
        low: smallest value to emit: 0, or the zero point under a fused relu.
        machine: decides about products beyond int32 only.
    """
    rounded = np.rint(sums.astype(np.float32) * scale)
    if machine == "desktop":
        # cvtps2dq answers 0x80000000 to whatever does not fit, and that saturates to 0.
        rounded = np.where(np.abs(rounded) >= 2.0**31, np.float32(-(2.0**31)), rounded)
    limited = np.clip(rounded, -(2**15), 2**15 - 1).astype(np.int32)
    stored: UInt8 = np.clip(limited + zero_point, low, 255).astype(np.uint8)
    return stored


def fused_multiply_add(x: Float32, factor: np.float32, addend: float) -> Float32:
    """x * factor + addend, rounded once to float32, as one instruction does it.

    The product of two float32 is exact in float64; the sum is rounded to odd there, so that the second rounding cannot
    err (Boldo and Melquiond 2008, Emulation of FMA and correctly rounded sums, doi:10.1109/TC.2007.70819).
    """
    product = x.astype(np.float64) * np.float64(factor)
    total = product + addend
    part = total - product
    error = np.where(np.isfinite(total), (product - (total - part)) + (addend - part), 0.0)
    even = (total.view(np.int64) & 1) == 0
    toward = np.where(error > 0, np.inf, -np.inf)
    return np.where((error != 0) & even, np.nextafter(total, toward), total).astype(np.float32)
