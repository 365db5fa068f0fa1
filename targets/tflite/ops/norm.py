"""Normalizations, decomposed into what XNNPACK takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from edgeport.targets.tflite.attributes import float_attr, int_attr
from edgeport.targets.tflite.builder import Tensor
from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.layout import Layout, aligned, channels_last, identity
from edgeport.targets.tflite.layout_choice import common_layout, full_layout
from edgeport.targets.tflite.ops.index import first
from edgeport.targets.tflite.registry import Refused, lowers


@lowers("LayerNormalization", attributes=("axis", "epsilon", "stash_type"), inputs=3, outputs=3)
def layer_normalization(ctx: Context, node: ir.Node) -> None:
    """(x - mean) * RSQRT(variance + epsilon) * scale + bias over the axes from `axis` on; mean and RSQRT on request."""
    _last_axes(ctx, node, centre=True)


@lowers("RMSNormalization", attributes=("axis", "epsilon", "stash_type"), inputs=2)
def rms_normalization(ctx: Context, node: ir.Node) -> None:
    """x * RSQRT(mean square + epsilon) * scale over the axes from `axis` on."""
    _last_axes(ctx, node, centre=False)


def _last_axes(ctx: Context, node: ir.Node, centre: bool) -> None:
    if int_attr(node, "stash_type", 1) != 1:
        raise Refused("stash_type other than 1 (float32) is not supported")
    x, y = first(node), node.outputs[0]
    rank = ctx.rank(x)
    axis = int_attr(node, "axis", -1) % rank
    layout = full_layout(ctx, x)
    data = ctx.read(node, x, layout)
    positions = [i for i, a in enumerate(layout) if a >= axis]
    normal, *moments = standardized(ctx, y, data, positions, float_attr(node, "epsilon", 1e-5), centre)
    for value, tensor in zip(node.outputs[1:], moments, strict=False):
        if value.uses() or value.is_graph_output():
            ctx.bind_float(node, value, tensor, layout)
    _scale_and_shift(ctx, node, normal, layout, [None if v is None else ctx.rank(v) for v in node.inputs[1:3]])


class Standardized(NamedTuple):
    """(x - mean) * inverse, and both."""

    normal: Tensor
    mean: Tensor
    inverse: Tensor


def standardized(
    ctx: Context, y: ir.Value, data: Tensor, positions: Sequence[int], epsilon: float, centre: bool = True
) -> Standardized:
    """(x - mean) / sqrt(variance + epsilon) over stored axes; without `centre` the mean taken off is 0."""
    axes = ctx.ints("axes", positions)
    small = [1 if i in positions else d for i, d in enumerate(data.shape)]

    def average(t: Tensor) -> Tensor:
        return ctx.step(y, "MEAN", [t, axes], "ReducerOptions", shape=small, keepDims=True)

    mean = average(data) if centre else ctx.number(0)
    if centre:
        data = ctx.step(y, "SUB", [data, mean], "SubOptions")
    square = ctx.step(y, "MUL", [data, data], "MulOptions")
    inverse = ctx.step(y, "RSQRT", [ctx.step(y, "ADD", [average(square), ctx.number(epsilon)], "AddOptions")])
    return Standardized(ctx.step(y, "MUL", [data, inverse], "MulOptions"), mean, inverse)


def _scale_and_shift(
    ctx: Context, node: ir.Node, normal: Tensor, layout: Layout, ranks: Sequence[int | None], channel_axis: bool = False
) -> None:
    """normal * inputs[1] + inputs[2]; the operands broadcast by numpy's rule, or along axis 1 of the output."""
    y = node.outputs[0]
    rank = ctx.rank(y)
    terms = []
    for index, operand_rank in enumerate(ranks, start=1):
        value = node.inputs[index] if index < len(node.inputs) else None
        if value is None or operand_rank is None:
            continue
        if channel_axis:
            wanted: Layout = tuple(0 if a == 1 else -1 for a in layout)
        else:
            wanted = aligned(layout, operand_rank, rank)
        terms.append((("MUL", "MulOptions") if index == 1 else ("ADD", "AddOptions"), ctx.read(node, value, wanted)))
    if not terms:
        ctx.bind(node, y, normal, layout)
        return
    for number, ((code, options), term) in enumerate(terms):
        last = number == len(terms) - 1
        out = ctx.output(node, layout) if last else ctx.temporary(y, "scaled", normal.shape)
        ctx.emit(code, [normal, term], [out], options)
        normal = out


@lowers("InstanceNormalization", attributes=("epsilon",), inputs=3)
def instance_normalization(ctx: Context, node: ir.Node) -> None:
    """Standardized over the spatial axes, then scaled and shifted by channel."""
    x, y = first(node), node.outputs[0]
    layout = full_layout(ctx, x)
    data = ctx.read(node, x, layout)
    positions = [i for i, a in enumerate(layout) if a >= 2]
    normal = standardized(ctx, y, data, positions, float_attr(node, "epsilon", 1e-5)).normal
    _scale_and_shift(ctx, node, normal, layout, (1, 1), channel_axis=True)


@lowers("GroupNormalization", attributes=("epsilon", "num_groups", "stash_type"), inputs=3)
def group_normalization(ctx: Context, node: ir.Node) -> None:
    """Standardized over the spatial axes and the channels of a group, then scaled and shifted by channel."""
    if int_attr(node, "stash_type", 1) != 1:
        raise Refused("stash_type other than 1 (float32) is not supported")
    x, y = first(node), node.outputs[0]
    shape, rank = ctx.shape(x), ctx.rank(x)
    groups = int_attr(node, "num_groups", 1)
    plain = identity(rank) in ctx.layouts(x) and rank != 4  # a convolution of the result wants it channels last anyway
    layout = identity(rank) if plain else channels_last(rank)
    data = ctx.read(node, x, layout)
    pixels, depth = math.prod(shape[2:]), shape[1] // groups
    folded = (shape[0], groups, depth * pixels) if plain else (shape[0], pixels, groups, depth)
    inside = ctx.temporary(y, "groups", folded)
    ctx.reshape(data, inside)
    normal = standardized(ctx, y, inside, (2,) if plain else (1, 3), float_attr(node, "epsilon", 1e-5)).normal
    unfolded = ctx.temporary(y, "normal", data.shape)
    ctx.reshape(normal, unfolded)
    _scale_and_shift(ctx, node, unfolded, layout, (1, 1), channel_axis=True)


@lowers("BatchNormalization", attributes=("epsilon", "momentum", "training_mode"), inputs=5)
def batch_normalization(ctx: Context, node: ir.Node) -> None:
    """x * a + b, with constants computed here where the statistics are (`momentum` matters in training only)."""
    if int_attr(node, "training_mode", 0):
        raise Refused("training_mode=1 is not supported", "export the model in evaluation mode")
    x, y = first(node), node.outputs[0]
    layout = common_layout(ctx, [x], ctx.shape(x))
    channels: Layout = tuple(0 if a == 1 else -1 for a in layout)
    epsilon = float_attr(node, "epsilon", 1e-5)
    constants = [ctx.constant(v) for v in node.inputs[1:5]]
    if any(c is None for c in constants):
        scale, bias, mean, variance = (ctx.read(node, v, channels) for v in node.inputs[1:5] if v is not None)
        inverse = ctx.step(y, "RSQRT", [ctx.step(y, "ADD", [variance, ctx.number(epsilon)], "AddOptions")])
        a = ctx.step(y, "MUL", [scale, inverse], "MulOptions")
        b = ctx.step(y, "SUB", [bias, ctx.step(y, "MUL", [mean, a], "MulOptions")], "SubOptions")
    else:
        gain_by, shift_by, mean_at, spread = (np.asarray(c, np.float64) for c in constants)
        gain = gain_by / np.sqrt(spread + epsilon)
        shape = [-1 if a == 1 else 1 for a in layout]
        a, b = (
            ctx.builder.constant(f"{y.name}/{n}", v.astype(np.float32).reshape(shape))
            for n, v in (("gain", gain), ("shift", shift_by - mean_at * gain))
        )
    scaled = ctx.step(y, "MUL", [ctx.read(node, x, layout), a], "MulOptions")
    ctx.emit("ADD", [scaled, b], [ctx.output(node, layout)], "AddOptions")
