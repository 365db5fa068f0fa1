"""Constant operands of kernels: as they are, or compressed as the plan says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgeport.quantize.plan import Compression
from edgeport.targets.coreml.compressed import compressed
from edgeport.targets.coreml.context import Context
from edgeport.targets.coreml.mil import Var


def weight(
    ctx: Context, node: ir.Node, index: int, perm: Sequence[int] | None = None, shape: Sequence[int] | None = None
) -> Var:
    """A node's operand as its kernel reads it, in the node's floats.

    Args:
        ctx: where it is emitted.
        node: the node.
        index: which of its inputs.
        perm: order of its axes; None leaves them.
        shape: what it is then reshaped to; None leaves it.
    """
    value = node.inputs[index]
    assert value is not None
    order = tuple(range(ctx.rank(value))) if perm is None else tuple(perm)
    ordered = tuple(ctx.shape(value)[a] for a in order)
    wanted = ordered if shape is None else tuple(shape)
    data = ctx.constant(value)
    if data is None:
        return ctx.reshape(ctx.transpose(ctx.read(value), order), wanted)
    how = None if ctx.plan.kernel(node.name) == "float32" else ctx.plan.compression(value.name)
    return ctx.kept((value, how is None, ctx.width, order, wanted), lambda: _made(ctx, value, order, wanted, how))


def _made(ctx: Context, value: ir.Value, order: Sequence[int], shape: Sequence[int], how: Compression | None) -> Var:
    data, name = ctx.constant(value), value.name or "weight"
    assert data is not None
    if how is not None:
        return compressed(ctx, data, how, order, shape, name)
    return ctx.stored(ctx.floating(data).transpose(order).reshape(shape), name)


def bias_of(ctx: Context, node: ir.Node, channels: int) -> Var | None:
    """The constant bias [channels] of a node's kernel group; None if it has none, or one that is computed."""
    value = ctx.groups[node].bias_value
    data = ctx.constant(value)
    if value is None or data is None:
        return None
    flat = ctx.plan.bias(node.name, np.broadcast_to(data.reshape(-1), (channels,)))
    return ctx.stored(ctx.floating(flat), value.name or "bias")
