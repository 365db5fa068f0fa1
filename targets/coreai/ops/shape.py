"""Operators that change the shape of data, or repeat them."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_int, get_ints, get_str
from edgeport.targets.coreai.context import Context
from edgeport.targets.coreai.elements import where
from edgeport.targets.coreai.registry import Refused, lowers
from edgeport.targets.coreai.views import broadcast, concat, cut, reshape, tile, transpose


@lowers("Flatten", attributes=("axis",))
@lowers("Reshape", inputs=2, attributes=("allowzero",))
@lowers("Squeeze", "Unsqueeze", inputs=2)
def reshaped(ctx: Context, node: ir.Node) -> None:
    """The shape that inference has found, which must hold all elements."""
    x, shape = ctx.read(node, 0), ctx.shape(node.outputs[0])
    if x.size != int(np.prod(shape, dtype=np.int64)):
        raise Refused(f"{list(x.shape)} does not reshape to {list(shape)}")
    ctx.bind(node, reshape(x, shape))


@lowers("Transpose", attributes=("perm",))
def transposed(ctx: Context, node: ir.Node) -> None:
    """Backwards by default."""
    x = ctx.read(node, 0)
    ctx.bind(node, transpose(x, get_ints(node, "perm") or list(range(x.rank))[::-1]))


@lowers("Concat", inputs=None, attributes=("axis",))
def concatenated(ctx: Context, node: ir.Node) -> None:
    """One after the other."""
    parts = [ctx.read(node, i) for i in range(len(node.inputs))]
    ctx.bind(node, concat(parts, get_int(node, "axis", 0)))


@lowers("Split", inputs=2, outputs=None, attributes=("axis", "num_outputs"))
def split(ctx: Context, node: ir.Node) -> None:
    """Cuts whose sizes inference has found."""
    x = ctx.read(node, 0)
    axis = get_int(node, "axis", 0) % x.rank
    ends = np.cumsum([ctx.shape(out)[axis] for out in node.outputs]).tolist()
    if ends[-1] != x.shape[axis]:
        raise Refused(f"the parts have {ends[-1]} elements together, axis {axis} has {x.shape[axis]}")
    starts = [0, *ends[:-1]]
    ctx.bind(node, *(cut(x, axis, a, b) for a, b in zip(starts, ends, strict=True)))


@lowers("Expand", inputs=2)
def expand(ctx: Context, node: ir.Node) -> None:
    """The shape that inference has found is that of both broadcast."""
    ctx.bind(node, broadcast(ctx.read(node, 0), ctx.shape(node.outputs[0])))


@lowers("Tile", inputs=2)
def tiled(ctx: Context, node: ir.Node) -> None:
    """As often as the shape says; an axis of size 0 stays so."""
    x, shape = ctx.read(node, 0), ctx.shape(node.outputs[0])
    if 0 in shape:
        ctx.bind(node, ctx.builder.constant(np.zeros(shape, x.dtype)))
        return
    ctx.bind(node, tile(x, [o // d for o, d in zip(shape, x.shape, strict=True)]))


@lowers("DepthToSpace", attributes=("blocksize", "mode"))
def depth_to_space(ctx: Context, node: ir.Node) -> None:
    """Channels into blocks of pixels."""
    x, size = ctx.read(node, 0), get_int(node, "blocksize", 1)
    batch, channels, height, width = x.shape
    rest = channels // size**2
    if get_str(node, "mode", "DCR") == "DCR":
        parts = transpose(reshape(x, (batch, size, size, rest, height, width)), (0, 3, 4, 1, 5, 2))
    else:
        parts = transpose(reshape(x, (batch, rest, size, size, height, width)), (0, 1, 4, 2, 5, 3))
    ctx.bind(node, reshape(parts, ctx.shape(node.outputs[0])))


@lowers("SpaceToDepth", attributes=("blocksize", "mode"))
def space_to_depth(ctx: Context, node: ir.Node) -> None:
    """Blocks of pixels into channels."""
    x, size = ctx.read(node, 0), get_int(node, "blocksize", 1)
    batch, channels, height, width = x.shape
    parts = reshape(x, (batch, channels, height // size, size, width // size, size))
    order = (0, 3, 5, 1, 2, 4) if get_str(node, "mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)
    ctx.bind(node, reshape(transpose(parts, order), ctx.shape(node.outputs[0])))


@lowers("Trilu", inputs=2, attributes=("upper",))
def trilu(ctx: Context, node: ir.Node) -> None:
    """A choice by a constant triangle."""
    x, diagonal = ctx.read(node, 0), (ctx.constant_ints(node, 1) or (0,))[0]
    square = np.ones(x.shape[-2:], bool)
    kept = np.triu(square, diagonal) if get_int(node, "upper", 1) else np.tril(square, diagonal)
    ctx.bind(node, x if x.size == 0 else where(ctx.builder.constant(kept), x, x.like(0)))
