"""Pad in all its modes."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_str, input_of
from edgeport.targets.coreml import mil
from edgeport.targets.coreml.context import Context
from edgeport.targets.coreml.mil import Var
from edgeport.targets.coreml.registry import Refused, lowers

_NUMPY = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}
_KERNEL = {"reflect": "reflect", "edge": "replicate"}
"""MIL's modes beside `constant`, known to work on the last two axes."""
Amounts = list[tuple[int, int]]


@lowers("Pad", attributes=("mode",), inputs=4)
def pad(ctx: Context, node: ir.Node) -> None:
    """`pad` for floats where it has the mode, else `gather` of constant places; negative pads are a slice."""
    x, y = node.inputs[0], node.outputs[0]
    assert x is not None
    shape, mode = ctx.shape(x), get_str(node, "mode", "constant")
    pads = ctx.constant_ints(node, 1)
    if pads is None:
        raise Refused("pads are missing")
    axes = ctx.constant_ints(node, 3) or tuple(range(len(shape)))
    amounts = [(0, 0)] * len(shape)
    for i, axis in enumerate(axes):
        amounts[axis % len(shape)] = (pads[i], pads[i + len(axes)])
    data = ctx.read(x)
    if not any(p for pair in amounts for p in pair):
        ctx.bind(y, data)
        return
    if mode == "constant":
        ctx.bind(y, _constant(ctx, node, data, amounts))
        return
    if mode not in _NUMPY:
        raise Refused(f"mode {mode!r} is not supported")
    if any(p < 0 for pair in amounts for p in pair):
        raise Refused(f"negative pads in mode {mode!r} are not supported", "crop with Slice instead")
    ctx.bind(y, _continued(ctx, data, amounts, mode))


def _continued(ctx: Context, data: Var, amounts: Amounts, mode: str) -> Var:
    if mil.dtype_of(data) == "bool":  # which `gather` does not take
        return ctx.cast(_continued(ctx, ctx.cast(data, "int32"), amounts, mode), "bool")
    shape = tuple(data.shape)
    outer = any(p for pair in amounts[:-2] for p in pair)
    deep = any(max(pair) >= size for pair, size in zip(amounts, shape, strict=True))
    if mode in _KERNEL and not outer and not deep and mil.dtype_of(data).startswith("float"):
        flat = np.asarray(amounts[-2:], np.int32).reshape(-1)
        return ctx.emit("pad", x=data, pad=flat, mode=_KERNEL[mode])
    for axis, pair in enumerate(amounts):
        if any(pair):
            index = np.pad(np.arange(shape[axis]), pair, mode=_NUMPY[mode])  # type: ignore[call-overload]
            data = ctx.emit("gather", x=data, indices=index.astype(np.int32), axis=np.int32(axis))
    return data


def _constant(ctx: Context, node: ir.Node, data: Var, amounts: Amounts) -> Var:
    begin = [max(-before, 0) for before, _ in amounts]
    size = [n + min(before, 0) + min(after, 0) for n, (before, after) in zip(data.shape, amounts, strict=True)]
    if tuple(size) != tuple(data.shape):
        data = ctx.emit("slice_by_size", x=data, begin=np.asarray(begin, np.int32), size=np.asarray(size, np.int32))
    amounts = [(max(before, 0), max(after, 0)) for before, after in amounts]
    if not any(p for pair in amounts for p in pair):
        return data
    value = input_of(node, 2)
    fill, dtype = ctx.constant(value), mil.dtype_of(data)
    if value is not None and fill is None:
        return _computed(ctx, data, amounts, ctx.read(value))
    number = np.asarray(0 if fill is None else fill).reshape(-1)[0]
    if not dtype.startswith("float"):
        return _surrounded(ctx, data, amounts, number)
    flat = np.asarray(amounts, np.int32).reshape(-1)
    return ctx.emit("pad", x=data, pad=flat, mode="constant", constant_val=ctx.number(float(number)))


def _surrounded(ctx: Context, data: Var, amounts: Amounts, number: object) -> Var:
    """Integers and booleans, which `pad` does not take, between constants."""
    dtype = mil.dtype_of(data)
    for axis, pair in enumerate(amounts):
        ends = [
            [np.full((*data.shape[:axis], count, *data.shape[axis + 1 :]), number, dtype)] if count else []
            for count in pair
        ]
        if any(pair):
            data = ctx.emit("concat", values=(*ends[0], data, *ends[1]), axis=np.int32(axis))
    return data


def _computed(ctx: Context, data: Var, amounts: Amounts, fill: Var) -> Var:
    """A fill that is computed at run time goes where a constant mask says."""
    inside = np.pad(np.ones(tuple(data.shape), bool), amounts)
    around = _surrounded(ctx, data, amounts, 0)
    column = ctx.reshape(fill, (1,) * inside.ndim)
    whole = ctx.emit("tile", x=column, reps=np.asarray(inside.shape, np.int32))
    return ctx.emit("select", cond=inside, a=around, b=whole)
