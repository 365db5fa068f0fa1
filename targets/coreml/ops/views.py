"""Operators that only name the same elements otherwise, or put axes in another order."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_ints
from edgeport.targets.coreml import mil
from edgeport.targets.coreml.context import Context
from edgeport.targets.coreml.registry import Refused, lowers


def first(node: ir.Node) -> ir.Value:
    """The first input, which the node must have."""
    value = node.inputs[0]
    assert value is not None
    return value


@lowers("Identity")
def identity(ctx: Context, node: ir.Node) -> None:
    """Nothing: the same value under another name."""
    ctx.bind(node.outputs[0], ctx.read(first(node)))


@lowers("Transpose", attributes=("perm",))
def transpose(ctx: Context, node: ir.Node) -> None:
    """`transpose`, or nothing where the order stays."""
    x = first(node)
    perm = get_ints(node, "perm") or list(reversed(range(ctx.rank(x))))
    if sorted(perm) != list(range(ctx.rank(x))):
        raise Refused(f"attribute perm {perm} does not order {ctx.rank(x)} axes")
    ctx.bind(node.outputs[0], ctx.transpose(ctx.read(x), perm))


@lowers("Reshape", attributes=("allowzero",), inputs=2)
def reshape(ctx: Context, node: ir.Node) -> None:
    """`reshape` to the output's shape, which says it all."""
    _view(ctx, node)


@lowers("Flatten", attributes=("axis",))
def flatten(ctx: Context, node: ir.Node) -> None:
    """As Reshape."""
    _view(ctx, node)


@lowers("Squeeze", "Unsqueeze", inputs=2)
def squeeze(ctx: Context, node: ir.Node) -> None:
    """As Reshape."""
    _view(ctx, node)


def _view(ctx: Context, node: ir.Node) -> None:
    x, y = first(node), node.outputs[0]
    shape, wanted = ctx.shape(x), ctx.shape(y)
    if math.prod(shape) != math.prod(wanted):
        raise Refused(f"the shape {list(wanted)} declared for its output does not hold {list(shape)}")
    ctx.bind(y, ctx.reshape(ctx.read(x), wanted))


@lowers("Shape", attributes=("start", "end"))
def shape_op(ctx: Context, node: ir.Node) -> None:
    """A constant: every shape is static."""
    shape = np.asarray(ctx.shape(first(node)), np.int32)
    start, end = (None if a is None else a.as_int() for a in (node.attributes.get("start"), node.attributes.get("end")))
    _bind_constant(ctx, node, shape[start:end])


@lowers("Size")
def size(ctx: Context, node: ir.Node) -> None:
    """A constant: every shape is static."""
    _bind_constant(ctx, node, np.asarray(math.prod(ctx.shape(first(node))), np.int32))


def _bind_constant(ctx: Context, node: ir.Node, data: np.ndarray) -> None:
    ctx.bind(node.outputs[0], mil.constant(data, ctx.names.fresh(f"{ctx.node}_constant")))
