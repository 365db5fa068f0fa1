"""Pad in all its modes."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.sample import Array
from edgeport.targets.tflite.attributes import string_attr
from edgeport.targets.tflite.builder import Tensor
from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.layout_choice import full_layout
from edgeport.targets.tflite.ops.index import MAX_RANK, first
from edgeport.targets.tflite.ops.repeat import repeated
from edgeport.targets.tflite.ops.unary import same
from edgeport.targets.tflite.pieces import MOST_PARTS, joined, sliced
from edgeport.targets.tflite.registry import Refused, lowers

_MOST_RUNS = 8
"""Beyond, a GATHER is no slower."""
_FEW = 4
"""Up to here single elements are cheaper than to leave XNNPACK."""
_NUMPY_MODE = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}


@lowers("Pad", attributes=("mode",), inputs=4, int8=True)
def pad(ctx: Context, node: ir.Node) -> None:
    """PAD or PADV2 for constant mode, SLICE and CONCATENATION for the others; negative pads are a SLICE."""
    x, y = first(node), node.outputs[0]
    rank, shape = ctx.rank(x), ctx.shape(x)
    pads, mode = ctx.constant_ints(node, 1), string_attr(node, "mode", "constant")
    if pads is None:
        raise Refused("pads are missing")
    axes = ctx.constant_ints(node, 3) or tuple(range(rank))
    amounts = [(0, 0)] * rank
    for i, axis in enumerate(axes):
        amounts[axis % rank] = (pads[i], pads[i + len(axes)])
    if not any(p for pair in amounts for p in pair):
        same(ctx, node)
        return
    layout = full_layout(ctx, x)
    data = ctx.read(node, x, layout)
    stored = [amounts[a] for a in layout]
    if mode == "constant":
        result = _constant(ctx, node, data, stored)
    elif mode in _NUMPY_MODE:
        if any(p < 0 for pair in amounts for p in pair):
            raise Refused(f"negative pads in mode {mode!r} are not supported", "crop with Slice instead")
        result = data
        for position, (before, after) in enumerate(stored):
            if before or after:
                index = np.pad(np.arange(shape[layout[position]]), (before, after), mode=_NUMPY_MODE[mode])  # type: ignore[call-overload]
                result = _surrounded(ctx, y, result, index, position, before)
    else:
        raise Refused(f"mode {mode!r} is not supported")
    ctx.bind(node, y, result, layout)


def _surrounded(ctx: Context, y: ir.Value, data: Tensor, index: Array, position: int, before: int) -> Tensor:
    """The whole axis between copies of parts of it, which XNNPACK joins: up to 50 times faster than MIRROR_PAD."""
    size = data.shape[position]
    ends = [_runs(index[:before]), _runs(index[before + size :])]
    known = data.dtype == "float32" or (data.quant is not None and data.dtype == "int8")
    if len(data.shape) > MAX_RANK or not known or sum(map(len, ends)) > _MOST_RUNS:
        return gathered(ctx, y, data, index, position)
    low, high = ([part for run in end for part in _copies(ctx, y, data, position, *run)] for end in ends)
    if len(low) + 1 + len(high) > MOST_PARTS:  # the whole axis is copied once
        low, high = ([joined(ctx, y, parts, position)] if parts else [] for parts in (low, high))
    return joined(ctx, y, [*low, data, *high], position)


def _runs(index: Array) -> list[tuple[int, int, int]]:
    """The indices as (start, step, count) with steps of -1, 0 and 1; few where they are regular."""
    runs: list[tuple[int, int, int]] = []
    for i in index.tolist():
        start, step, count = runs[-1] if runs else (0, 0, 0)
        if count == 1 and abs(i - start) <= 1:
            runs[-1] = (start, i - start, 2)
        elif count > 1 and i == start + count * step:
            runs[-1] = (start, step, count + 1)
        else:
            runs.append((i, 1, 1))
    return runs


def _copies(ctx: Context, y: ir.Value, data: Tensor, position: int, start: int, step: int, count: int) -> list[Tensor]:
    """A run of elements of an axis, in one part or, if it is short and runs backwards, in one for each element.

    REVERSE_V2 is off XNNPACK.
    """
    if step == 0:
        counts = [count if i == position else 1 for i in range(len(data.shape))]
        return [repeated(ctx, y, sliced(ctx, y, data, position, start, 1), counts)]
    if step == 1:
        return [sliced(ctx, y, data, position, start, count)]
    if count <= _FEW:
        return [sliced(ctx, y, data, position, start - i, 1) for i in range(count)]
    part = sliced(ctx, y, data, position, start - count + 1, count)
    out = ctx.temporary(y, "reversed", part.shape, part.dtype, part.quant)
    ctx.emit("REVERSE_V2", [part, ctx.ints("axes", (position,))], [out], "ReverseV2Options")
    return [out]


def gathered(ctx: Context, y: ir.Value, data: Tensor, index: Array, position: int) -> Tensor:
    """GATHER of constant indices along one stored axis."""
    shape = (*data.shape[:position], len(index), *data.shape[position + 1 :])
    out = ctx.temporary(y, "gather", shape, data.dtype, data.quant)
    where = ctx.builder.constant("const/index", index.astype(np.int32))
    ctx.emit("GATHER", [data, where], [out], "GatherOptions", axis=position, batchDims=0)
    return out


def _constant(ctx: Context, node: ir.Node, data: Tensor, amounts: list[tuple[int, int]]) -> Tensor:
    y = node.outputs[0]
    value = node.inputs[2] if len(node.inputs) > 2 else None
    fill = np.asarray(0) if value is None else ctx.constant(value)
    if fill is None:
        raise Refused("a padding value computed at run time is not supported", "make it a constant")
    fill = fill.reshape(-1)[0]
    if any(p < 0 for pair in amounts for p in pair):
        begin = [max(-before, 0) for before, _ in amounts]
        size = [d + min(before, 0) + min(after, 0) for d, (before, after) in zip(data.shape, amounts, strict=True)]
        cropped = ctx.temporary(y, "crop", size, data.dtype, data.quant)
        ctx.emit("SLICE", [data, ctx.ints("begin", begin), ctx.ints("size", size)], [cropped], "SliceOptions")
        data, amounts = cropped, [(max(before, 0), max(after, 0)) for before, after in amounts]
        if not any(p for pair in amounts for p in pair):
            return data
    if len(amounts) > MAX_RANK:
        raise Refused(f"padding {len(amounts)} dimensions is not supported, at most {MAX_RANK} are")
    shape = [d + sum(pair) for d, pair in zip(data.shape, amounts, strict=True)]
    out = ctx.temporary(y, "pad", shape, data.dtype, data.quant)
    where = ctx.builder.constant("const/pads", np.asarray(amounts, np.int32))
    if fill == 0:
        ctx.emit("PAD", [data, where], [out], "PadOptions")
    elif data.quant is not None:
        raise Refused("padding with another value than 0 has no integer form", "keep it in float")
    else:
        constant = ctx.builder.constant("const/scalar", np.asarray(fill, data.dtype))
        ctx.emit("PADV2", [data, where, constant], [out], "PadV2Options")
    return out
