"""Terms of quantized arithmetic as standard float operators: what the passes on quantized operators share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import constant, input_of, producer, scalar, static_shape
from edgeport.passes.site import Site

EIGHT_BITS = (ir.DataType.INT8, ir.DataType.UINT8)
INTEGERS = (*EIGHT_BITS, ir.DataType.INT16, ir.DataType.UINT16, ir.DataType.INT32)
"""Types that float32 holds exactly, or to 2^-24 for int32; others stay as they are."""


def centred(site: Site, x: ir.Value, zero_point: ir.Value | None, shape: Sequence[int] | None, role: str) -> ir.Value:
    """x - zero point in float32, folded at once where both are constants; exact up to 16 bits.

    Args:
        site: where it stands.
        x: integers.
        zero_point: None for 0.
        shape: what the zero point is reshaped to, in order to broadcast; None leaves it.
        role: name of the result.
    """
    array, zeros = constant(x), constant(zero_point)
    if array is not None and (zero_point is None or zeros is not None):
        data = array.astype(np.float32)
        if zeros is not None:
            data = data - zeros.astype(np.float32).reshape(zeros.shape if shape is None else shape)
        return site.constant(role, data.astype(np.float32))
    real = _before_cast(x)
    if real is None:
        real = site.op("Cast", [x], f"{role}/real", to=ir.DataType.FLOAT.value)
    if zero_point is None or (zeros is not None and not zeros.any()):
        return real
    return site.op("Sub", [real, shaped(site, real_number(site, zero_point, role), shape, role)], role)


def _before_cast(x: ir.Value) -> ir.Value | None:
    """The float32 numbers that `x` was cast from, if they are integers already: what `rounded` wrote."""
    cast = producer(x, "Cast")
    clip = producer(cast.inputs[0] if cast is not None else None, "Clip")
    total = producer(clip.inputs[0] if clip is not None else None, "Add", "Round")
    if clip is None or total is None or x.dtype not in INTEGERS:
        return None
    if total.op_type == "Add":
        zeros = constant(total.inputs[1])
        if producer(total.inputs[0], "Round") is None or zeros is None or np.any(zeros != np.round(zeros)):
            return None
    bounds = [scalar(input_of(clip, index)) for index in (1, 2)]
    return clip.outputs[0] if bounds == [x.dtype.min, x.dtype.max] else None


def real_number(site: Site, value: ir.Value, role: str) -> ir.Value:
    """An integer parameter in float32."""
    array = constant(value)
    if array is not None:
        return site.constant(f"{role}/zero", array.astype(np.float32))
    return site.op("Cast", [value], f"{role}/zero", to=ir.DataType.FLOAT.value)


def shaped(site: Site, value: ir.Value, shape: Sequence[int] | None, role: str) -> ir.Value:
    """A parameter reshaped to broadcast."""
    if shape is None or static_shape(value) == tuple(shape):
        return value
    array = constant(value)
    if array is not None:
        return site.constant(f"{role}/shaped", array.reshape(shape))
    return site.reshape(value, shape, f"{role}/shaped")


def rounded(site: Site, scaled: ir.Value, zero_point: ir.Value | None, dtype: ir.DataType) -> ir.Value:
    """saturate(round(scaled) + zero point) in float32, ties to even, which a Cast turns into integers."""
    total = site.op("Round", [scaled], "rounded")
    zeros = constant(zero_point)
    if zero_point is not None and (zeros is None or zeros.any()):
        if zero_point.dtype != ir.DataType.FLOAT:
            zero_point = real_number(site, zero_point, "point")
        total = site.op("Add", [total, zero_point], "shifted")
    low, high = (np.float32(limit) for limit in (dtype.min, dtype.max))
    return site.op("Clip", [total, site.constant("low", low), site.constant("high", high)], "clipped")
