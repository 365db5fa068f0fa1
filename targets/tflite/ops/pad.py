"""Pad in all its modes."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.sample import Array
from edgeport.targets.tflite.attributes import string_attr
from edgeport.targets.tflite.builder import Tensor
from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.ops.index import MAX_RANK, first
from edgeport.targets.tflite.ops.unary import same
from edgeport.targets.tflite.registry import Refused, lowers

_NUMPY_MODE = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}


@lowers("Pad", attributes=("mode",), inputs=4, int8=True)
def pad(ctx: Context, node: ir.Node) -> None:
    """PAD or PADV2 for constant mode, one GATHER a padded axis for the others; negative pads are a SLICE."""
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
    layout = ctx.full_layout(x)
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
                result = gathered(ctx, y, result, index, position)
    else:
        raise Refused(f"mode {mode!r} is not supported")
    ctx.bind(node, y, result, layout)


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
