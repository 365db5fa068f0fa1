"""RoiAlign of constant regions: a `gather` of all samples' corners, their weights, and a sum or maximum over them."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_str
from edgeport.targets.coreml.context import Context
from edgeport.targets.coreml.registry import lowers
from edgeport.targets.roi_samples import ROI_ALIGN_ATTRIBUTES, roi_samples


@lowers("RoiAlign", attributes=ROI_ALIGN_ATTRIBUTES, inputs=3)
def roi_align(ctx: Context, node: ir.Node) -> None:
    """[bins, samples, C] corners, weighted, then summed or (of the weighted corners, as ONNX has it) maximized."""
    x, y = node.inputs[0], node.outputs[0]
    assert x is not None
    shape, out = ctx.shape(x), ctx.shape(y)
    places, weights = roi_samples(node, shape)
    pixels = ctx.reshape(ctx.transpose(ctx.read(x), (0, 2, 3, 1)), (shape[0] * math.prod(shape[2:]), shape[1]))
    where = places.astype(np.int32).reshape(-1)
    found = ctx.reshape(ctx.emit("gather", x=pixels, indices=where, axis=np.int32(0)), (*places.shape, shape[1]))
    shares = ctx.emit("mul", x=found, y=ctx.floating(weights[..., None]))
    kind = "reduce_sum" if get_str(node, "mode", "avg") == "avg" else "reduce_max"
    total = ctx.emit(kind, x=shares, axes=[1], keep_dims=False)
    bins = ctx.reshape(total, (out[0], out[2], out[3], out[1]))
    ctx.bind(y, ctx.transpose(bins, (0, 3, 1, 2)))
