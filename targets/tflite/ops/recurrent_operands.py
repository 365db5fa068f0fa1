"""Operands of LSTM, GRU and RNN, one direction at a time: rows of weights, biases, states, as constants or computed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from edgeport.sample import Array
from edgeport.targets.tflite.builder import Tensor
from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.pieces import box, shaped
from edgeport.targets.tflite.weights import decoded, float_weights

Part = Array | Tensor
"""A piece of an operand: an array if it is constant, else the tensor that holds it at run time."""


def operand(node: ir.Node, index: int) -> ir.Value | None:
    """An optional input."""
    return node.inputs[index] if index < len(node.inputs) else None


def name_giver(node: ir.Node) -> ir.Value:
    """The output after which a node's inner tensors are named: the first that has a name."""
    return next((v for v in node.outputs if v.name), node.outputs[0])


def matrix(ctx: Context, node: ir.Node, value: ir.Value, direction: int, start: int, stop: int) -> Tensor:
    """Rows of one direction's weights, [stop - start, columns], stored as the plan says for this node."""
    data = ctx.constant(value)
    if data is None:
        return as_tensor(ctx, rows(ctx, node, value, direction, start, stop), "")
    name = f"{value.name}|w{direction}"
    kernel, quant = ctx.plan.kernel(node.name), ctx.plan.qparams(value.name)
    if quant is None or not kernel.startswith("int8"):
        return float_weights(ctx, node, name, np.ascontiguousarray(data[direction, start:stop]))
    along = quant
    if quant.axis is not None:
        along = replace(quant, scale=quant.scale[start:stop], zero_point=quant.zero_point[start:stop], axis=0)
    stored = ctx.builder.constant(name, np.ascontiguousarray(quant.quantize(data)[direction, start:stop]), along)
    return decoded(ctx, stored) if kernel == "int8-weights" else stored


def rows(ctx: Context, node: ir.Node, value: ir.Value, direction: int, start: int, stop: int) -> Part:
    """value[direction, start:stop]."""
    data = ctx.constant(value)
    if data is not None:
        return np.ascontiguousarray(data[direction, start:stop])
    whole = ctx.read(node, value)
    rest = whole.shape[2:]
    if whole.shape[:2] == (1, stop - start):
        return shaped(ctx, value, whole, (stop - start, *rest))
    begin, size = (direction, start, *(0 for _ in rest)), (1, stop - start, *rest)
    return shaped(ctx, value, box(ctx, value, whole, begin, size), (stop - start, *rest))


def total(ctx: Context, like: ir.Value, a: Part | None, b: Part | None) -> Part | None:
    """a + b, None where both are absent."""
    if a is None or b is None:
        return b if a is None else a
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return ctx.step(like, "ADD", [as_tensor(ctx, a, "bias"), as_tensor(ctx, b, "bias")], "AddOptions")
    return np.asarray(a + b)


def joined(ctx: Context, like: ir.Value, parts: list[Part]) -> Part:
    """The parts end to end."""
    if all(isinstance(part, np.ndarray) for part in parts):
        return np.concatenate([part for part in parts if isinstance(part, np.ndarray)])
    tensors = [as_tensor(ctx, part, "bias") for part in parts]
    shape = (sum(t.shape[0] for t in tensors),)
    return ctx.step(like, "CONCATENATION", tensors, "ConcatenationOptions", shape=shape, axis=0)


def as_tensor(ctx: Context, part: Part, name: str) -> Tensor:
    """The tensor of a part."""
    return part if isinstance(part, Tensor) else ctx.builder.constant(f"const/{name}", part)


def initial_state(ctx: Context, node: ir.Node, index: int, direction: int) -> Part | None:
    """The state that a direction starts from, [batch, hidden]; None where it is all zeros."""
    value = operand(node, index)
    if value is None:
        return None
    data = ctx.constant(value)
    if data is not None:
        return np.ascontiguousarray(data[direction]) if data[direction].any() else None
    directions, batch, hidden = ctx.shape(value)
    if directions == 1:
        return ctx.read(node, value, (1, 2))
    piece = box(ctx, value, ctx.read(node, value), (direction, 0, 0), (1, batch, hidden))
    return shaped(ctx, value, piece, (batch, hidden))
