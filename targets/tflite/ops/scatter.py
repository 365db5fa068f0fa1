"""Scatter operators with constant indices: SCATTER_ND into zeros, chosen over the data by a constant mask."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.sample import Array
from edgeport.targets.tflite.attributes import int_attr, string_attr
from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.ops.index import first
from edgeport.targets.tflite.registry import Refused, lowers


@lowers("ScatterND", attributes=("reduction",), inputs=3)
def scatter_nd(ctx: Context, node: ir.Node) -> None:
    """Overwrites slices of the data at constant coordinates."""
    indices, shape = _indices(ctx, node), ctx.shape(first(node))
    sizes = np.asarray(shape[: indices.shape[-1]])
    _overwrite(ctx, node, np.where(indices < 0, indices + sizes, indices))


@lowers("ScatterElements", attributes=("axis", "reduction"), inputs=3)
def scatter_elements(ctx: Context, node: ir.Node) -> None:
    """Overwrites single elements, whose coordinates are their own but for the one along `axis`."""
    indices, shape = _indices(ctx, node), ctx.shape(first(node))
    axis = int_attr(node, "axis", 0) % len(shape)
    grid = np.indices(indices.shape)
    grid[axis] = np.where(indices < 0, indices + shape[axis], indices)
    _overwrite(ctx, node, np.moveaxis(grid, 0, -1))


def _indices(ctx: Context, node: ir.Node) -> Array:
    reduction = string_attr(node, "reduction", "none")
    if reduction != "none":
        raise Refused(f"reduction={reduction!r} is not supported")
    value = node.inputs[1]
    indices = ctx.constant(value)
    if indices is None:
        raise Refused("indices computed at run time are not supported", "make them constants")
    return indices


def _overwrite(ctx: Context, node: ir.Node, where: Array) -> None:
    x, updates, y = first(node), node.inputs[2], node.outputs[0]
    assert updates is not None
    shape = ctx.shape(x)
    hits = np.zeros(shape, np.int64)
    np.add.at(hits, tuple(np.moveaxis(where, -1, 0)), 1)
    if hits.max() > 1:
        raise Refused("indices that repeat are not supported", "their order of writing is undefined")
    scattered = ctx.temporary(y, "scattered", shape, ctx.dtype(y))
    coordinates = ctx.builder.constant("const/index", where.astype(np.int32))
    ctx.emit(
        "SCATTER_ND",
        [coordinates, ctx.read(node, updates), ctx.ints("shape", shape)],
        [scattered],
        "ScatterNdOptions",
    )
    mask = ctx.builder.constant(f"{y.name}/hit", hits > 0)
    ctx.emit("SELECT_V2", [mask, scattered, ctx.read(node, x)], [ctx.output(node)], "SelectV2Options")
