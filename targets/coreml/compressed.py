"""Compressed constants: MIL's constexpr operations, which the device decompresses when it loads the model or later.

Systems before iOS 18 have one form for each kind of compression, with flat, packed data (`iOS16.constexpr_ops`); from
iOS 18 on the same kinds come with blocks and groups (`iOS18.compression`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeport.quantize.compression import Palette, Sparse
from edgeport.quantize.plan import Compression, QParams
from edgeport.sample import Array
from edgeport.targets.coreml import mil
from edgeport.targets.coreml.mil import Var
from edgeport.targets.coreml.registry import Refused
from edgeport.targets.halves import LEAST_HALF

if TYPE_CHECKING:
    from edgeport.targets.coreml.context import Context


def compressed(
    ctx: Context, array: Array, how: Compression, perm: Sequence[int], shape: Sequence[int], name: str
) -> Var:
    """A constant that is stored compressed, with its axes in another order and then reshaped.

    Args:
        ctx: where it is emitted.
        array: float32, as the canonical graph has it.
        how: parameters along the axes of `array`.
        perm: order of the axes.
        shape: the shape of the result.
        name: hint for the names of what is emitted.
    """
    if isinstance(how, QParams):
        return _integers(ctx, array, how, perm, shape, name)
    if isinstance(how, Palette):
        return _indices(ctx, array, how, perm, shape, name)
    return _nonzero(ctx, array, how, perm, shape, name)


def _integers(ctx: Context, array: Array, how: QParams, perm: Sequence[int], shape: Sequence[int], name: str) -> Var:
    how = replace(how, scale=_representable(ctx, how.scale))
    stored = how.quantize(array).transpose(perm).reshape(shape)
    if how.dtype == "int8" and how.block is None:
        axis = 0 if how.axis is None else _moved_axis(how.axis, array.shape, perm, shape)
        inputs: dict[str, Any] = {
            "quantized_data": stored,
            "scale": ctx.floating(how.scale),
            "zero_point": how.zero_point.astype(np.int8),
            "axis": np.int32(axis),
        }
        if how.axis is None:
            inputs |= {"scale": ctx.number(float(how.scale)), "zero_point": np.int8(how.zero_point)}
        if not ctx.at_least("iOS18"):
            return ctx.emit("constexpr_affine_dequantize", name, **inputs)
    if not ctx.at_least("iOS18"):
        raise Refused(f"{how.dtype} weights{' in blocks' if how.block else ''} need iOS 18", code="unsupported-dtype")
    scale, zero = (_spread(how, values, array, perm, shape) for values in (how.scale, how.zero_point))
    data = mil.narrow(stored, how.dtype)
    offset = {"offset": mil.narrow(zero.astype(np.int8), how.dtype)} if zero.any() else {}
    return ctx.emit("constexpr_blockwise_shift_scale", name, data=data, scale=ctx.floating(scale), **offset)


def _representable(ctx: Context, scale: Array) -> Array:
    """Scales as the program holds them. Below 2**-14 float16 has few digits left, so integers follow from these."""
    held = np.asarray(ctx.floating(scale), np.float32)
    return np.maximum(held, LEAST_HALF) if ctx.width == "float16" else held


def _spread(how: QParams, values: Array, array: Array, perm: Sequence[int], shape: Sequence[int]) -> Array:
    """Scales or zero points with one axis for each of the result's, 1 where all elements share them."""
    if how.block is not None:
        ones = (1,) * (len(shape) - array.ndim)
        if tuple(shape) != (*(array.shape[a] for a in perm), *ones):
            raise Refused("weights in blocks cannot be reshaped", code="unsupported-variant")
        ordered = values.transpose(perm)
        return ordered.reshape(*ordered.shape, *ones)
    if how.axis is None:
        return values.reshape([1] * len(shape))
    axis = _moved_axis(how.axis, array.shape, perm, shape)
    return values.reshape([-1 if a == axis else 1 for a in range(len(shape))])


def _indices(ctx: Context, array: Array, how: Palette, perm: Sequence[int], shape: Sequence[int], name: str) -> Var:
    indices = how.indices(array).transpose(perm).reshape(shape)
    if ctx.at_least("iOS18"):
        axis = None if how.axis is None else _moved_axis(how.axis, array.shape, perm, shape)
        groups = [len(how.lut) if a == axis else 1 for a in range(len(shape))]
        lut = ctx.floating(how.lut).reshape(*groups, 2**how.bits, 1)
        return ctx.emit("constexpr_lut_to_dense", name, indices=mil.narrow(indices, f"uint{how.bits}"), lut=lut)
    if len(how.lut) > 1:
        raise Refused("palettes for groups of channels need iOS 18", code="unsupported-variant")
    lut = ctx.floating(how.lut[0])
    packed, dims = _packed(indices, how.bits), np.asarray(shape, np.uint32)
    return ctx.emit("constexpr_lut_to_dense", name, indices=packed, lut=lut, shape=dims)


def _nonzero(ctx: Context, array: Array, how: Sparse, perm: Sequence[int], shape: Sequence[int], name: str) -> Var:
    moved = replace(how, mask=how.mask.transpose(perm).reshape(shape))
    kept = ctx.floating(moved.nonzero(array.transpose(perm).reshape(shape)))
    if ctx.at_least("iOS18"):
        mask = mil.narrow(moved.mask.astype(np.uint8), "uint1")
        return ctx.emit("constexpr_sparse_to_dense", name, nonzero_data=kept, mask=mask)
    packed, dims = _packed(moved.mask.astype(np.uint8), 1), np.asarray(shape, np.uint32)
    return ctx.emit("constexpr_sparse_to_dense", name, nonzero_data=kept, mask=packed, shape=dims)


def _packed(values: Array, bits: int) -> Array:
    """Integers of few bits side by side in bytes, the lowest bits first; uint8 [ceil(size * bits / 8)]."""
    flat = np.unpackbits(values.reshape(-1, 1), axis=1, bitorder="little")[:, :bits]
    return np.packbits(flat.reshape(-1), bitorder="little")


def _moved_axis(axis: int, before: Sequence[int], perm: Sequence[int], after: Sequence[int]) -> int:
    """Where an axis is after a permutation and a reshape that leaves it whole.

    Raises:
        Refused: the reshape does not.
    """
    place = list(perm).index(axis % len(before))
    moved = [before[a] for a in perm]
    ahead = int(np.prod(moved[:place]))
    for candidate, size in enumerate(after):
        if size == moved[place] and int(np.prod(after[:candidate])) == ahead:
            return candidate
    raise Refused(f"weights with scales along axis {axis} cannot be reshaped to {tuple(after)}")
