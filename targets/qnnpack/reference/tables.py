"""Functions that QNNPACK looks up in a table of 256 bytes: sigmoid, tanh, hard swish."""

from __future__ import annotations

import numpy as np

from edgeport.quantize.plan import QParams
from edgeport.targets.qnnpack.reference.rounding import Float32, UInt8, activation_qparams

SIGMOID = QParams("uint8", np.asarray(1 / 256, np.float32), np.asarray(0, np.int32))
"""The parameters of every sigmoid's output: the engine has no other."""
TANH = QParams("uint8", np.asarray(2 / 256, np.float32), np.asarray(128, np.int32))
"""The parameters of every hyperbolic tangent's output: the engine has no other."""


def _reals(x_q: QParams) -> Float32:
    scale, zero_point = activation_qparams("x", x_q)
    return scale * (np.arange(256) - zero_point).astype(np.float32)


def _table(scaled: Float32) -> UInt8:
    return np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)


def sigmoid(x: UInt8, x_q: QParams) -> UInt8:
    """torch.sigmoid of a quantized tensor; the output has the parameters `SIGMOID`.

    256 / (1 + exp(-x)) in float32, half to even, with the correctly rounded `exp`. The engine takes that of the C
    library, whose last bit may differ and move a value next to a tie: 0 of 3.84 million with glibc 2.36.
    Source: `sigmoid.c`, `qsigmoid.cpp`.
    """
    with np.errstate(over="ignore"):
        power = np.exp(-_reals(x_q).astype(np.float64)).astype(np.float32)
    return _table(np.float32(256) / (np.float32(1) + power))[x]


def tanh(x: UInt8, x_q: QParams) -> UInt8:
    """torch.tanh of a quantized tensor; the output has the parameters `TANH`.

    128 * tanh(x) + 128 in float32, half to even, with the correctly rounded `tanh`. The engine takes that of the C
    library, whose last bits may differ and move a value next to a tie: 5 of 3.84 million with glibc 2.36, by one step.
    Source: `tanh.c`, `qtanh.cpp`.
    """
    value = np.tanh(_reals(x_q).astype(np.float64)).astype(np.float32)
    return _table(np.float32(128) * value + np.float32(128))[x]


def hardswish(x: UInt8, x_q: QParams, y_q: QParams) -> UInt8:
    """quantized::hardswish: x * clip(x + 3, 0, 6) / 6, each step in float32, then (1 / s_y) * that + z_y, half to even.

    Source: `hardswish.c`, `qhardswish.cpp`.
    """
    y_scale, y_zero = activation_qparams("y", y_q)
    real = _reals(x_q)
    value = real * np.clip(real + np.float32(3), 0, 6) / np.float32(6)
    return _table(np.float32(1) / y_scale * value + np.float32(y_zero))[x]
