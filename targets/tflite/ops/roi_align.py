"""RoiAlign of constant regions: a GATHER of all samples' corners, their weights, and a sum or maximum over them."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.targets.roi_samples import ROI_ALIGN_ATTRIBUTES, roi_samples
from edgeport.targets.tflite.attributes import string_attr
from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.ops.conv import NHWC
from edgeport.targets.tflite.pieces import shaped
from edgeport.targets.tflite.registry import lowers


@lowers("RoiAlign", attributes=ROI_ALIGN_ATTRIBUTES, inputs=3)
def roi_align(ctx: Context, node: ir.Node) -> None:
    """Corners [bins, samples, C], weighted, then SUM or (of the weighted corners, as ONNX has it) REDUCE_MAX."""
    x, y = node.inputs[0], node.outputs[0]
    assert x is not None
    batch, channels, height, width = ctx.shape(x)
    places, weights = roi_samples(node, ctx.shape(x))
    pixels = shaped(ctx, y, ctx.read(node, x, NHWC), (batch * height * width, channels))
    where = ctx.builder.constant("const/index", places.astype(np.int32).reshape(-1))
    shape = (places.size, channels)
    found = ctx.step(y, "GATHER", [pixels, where], "GatherOptions", shape, axis=0, batchDims=0)
    share = ctx.builder.constant(f"{y.name}/weights", weights.astype(np.float32).reshape(-1, 1))
    corners = shaped(ctx, y, ctx.step(y, "MUL", [found, share], "MulOptions"), (*places.shape, channels))
    code = "SUM" if string_attr(node, "mode", "avg") == "avg" else "REDUCE_MAX"
    axis = ctx.ints("axes", (1,))
    total = ctx.step(y, code, [corners, axis], "ReducerOptions", (len(places), channels), keepDims=False)
    ctx.reshape(total, ctx.output(node, NHWC))
