"""Operators that change the shape of data, or repeat it."""

from __future__ import annotations

import math

import onnx_ir as ir
import torch

from edgeport.passes.edit import get_int, get_ints, get_str
from edgeport.torch_view.context import Context
from edgeport.torch_view.registry import Refused, lowers
from edgeport.torch_view.sizes import size, sizes


@lowers("Flatten", attributes=("axis",))
@lowers("Reshape", inputs=2, attributes=("allowzero",))
@lowers("Squeeze", "Unsqueeze", inputs=2)
def reshaped(ctx: Context, node: ir.Node) -> None:
    """The shape that inference has found, which must hold all elements."""
    before, after = node.inputs[0], sizes(node.outputs[0])
    known = [] if before is None or before.shape is None else list(before.shape)
    if -1 not in after and all(isinstance(d, int) for d in known):
        here = sizes(before)
        if math.prod(here) != math.prod(after):
            raise Refused(f"{here} does not reshape to {after}")
    ctx.bind(node, torch.reshape(ctx.read(node, 0), after))


@lowers("Transpose", attributes=("perm",))
def transposed(ctx: Context, node: ir.Node) -> None:
    """Backwards by default."""
    order = get_ints(node, "perm") or list(range(ctx.rank(node.inputs[0])))[::-1]
    ctx.bind(node, torch.permute(ctx.read(node, 0), order))


@lowers("Concat", inputs=None, attributes=("axis",))
def concatenated(ctx: Context, node: ir.Node) -> None:
    """One after the other."""
    parts = [ctx.read(node, i) for i in range(len(node.inputs))]
    ctx.bind(node, torch.cat(parts, get_int(node, "axis", 0)))


@lowers("Split", inputs=2, outputs=None, attributes=("axis", "num_outputs"))
def split(ctx: Context, node: ir.Node) -> None:
    """Cuts whose sizes inference has found."""
    axis = get_int(node, "axis", 0) % ctx.rank(node.inputs[0])
    parts, start = [], 0
    for out in node.outputs:
        parts.append(torch.narrow(ctx.read(node, 0), axis, start, size(out, axis)))
        start += size(out, axis)
    if start != size(node.inputs[0], axis):
        raise Refused(f"the parts have {start} elements together, axis {axis} has {size(node.inputs[0], axis)}")
    ctx.bind(node, *parts)


@lowers("Expand", inputs=2)
def expand(ctx: Context, node: ir.Node) -> None:
    """The shape that inference has found is that of both broadcast; an unknown dimension stays the input's."""
    x, shape = node.inputs[0], sizes(node.outputs[0])
    if -1 in shape:
        own = [1] * (len(shape) - ctx.rank(x)) + list(x.shape if x is not None and x.shape is not None else ())
        if own[shape.index(-1)] != node.outputs[0].shape[shape.index(-1)]:  # type: ignore[index]
            raise Refused("an unknown dimension is expanded", "fix the dimensions with --input", "dynamic-shape")
    ctx.bind(node, torch.broadcast_to(ctx.read(node, 0), shape))


@lowers("Tile", inputs=2)
def tiled(ctx: Context, node: ir.Node) -> None:
    """A constant number of times along every axis."""
    repeats = ctx.constant_ints(node, 1)
    ctx.bind(node, torch.tile(ctx.read(node, 0), repeats or ()))


@lowers("DepthToSpace", attributes=("blocksize", "mode"))
def depth_to_space(ctx: Context, node: ir.Node) -> None:
    """Channels into blocks of pixels: torch's pixel shuffle where the block comes last among them (CRD)."""
    x, block, mode = ctx.read(node, 0), get_int(node, "blocksize", 1), get_str(node, "mode", "DCR")
    if mode == "CRD":
        ctx.bind(node, torch.pixel_shuffle(x, block))
        return
    if mode != "DCR":
        raise Refused(f"mode={mode!r} is unknown")
    channels, height, width = (size(node.inputs[0], axis) for axis in (1, 2, 3))
    parts = torch.reshape(x, [-1, block, block, channels // block**2, height, width])
    ctx.bind(node, torch.reshape(torch.permute(parts, [0, 3, 4, 1, 5, 2]), sizes(node.outputs[0])))


@lowers("SpaceToDepth", attributes=("blocksize",))
def space_to_depth(ctx: Context, node: ir.Node) -> None:
    """Blocks of pixels into channels."""
    x, block = ctx.read(node, 0), get_int(node, "blocksize", 1)
    channels, height, width = (size(node.inputs[0], axis) for axis in (1, 2, 3))
    parts = torch.reshape(x, [-1, channels, height // block, block, width // block, block])
    ctx.bind(node, torch.reshape(torch.permute(parts, [0, 3, 5, 1, 2, 4]), sizes(node.outputs[0])))


@lowers("Trilu", inputs=2, attributes=("upper",))
def trilu(ctx: Context, node: ir.Node) -> None:
    """A triangle of the last two axes."""
    x, diagonal = ctx.read(node, 0), (ctx.constant_ints(node, 1) or (0,))[0]
    ctx.bind(node, torch.triu(x, diagonal) if get_int(node, "upper", 1) else torch.tril(x, diagonal))
