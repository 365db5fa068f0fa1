"""Activations quantized at run time, each row or the whole by its own extremes, as the simulation computes them.

scale = (max(row, 0) - min(row, 0)) / 255,  zero = round(-128 - min(row, 0) / scale)
x' = (clip(round(x / scale) + zero, -128, 127) - zero) * scale
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.site import Site


def quantize_rows(model: ir.Model, node: ir.Node, x: ir.Value, *, whole: bool = False) -> ir.Value:
    """What a product by rows of `x` sees of it; the new nodes stand in front of `node`.

    Args:
        model: the graph.
        node: the product.
        x: what it reads.
        whole: the extremes are those of all rows together.
    """
    site = Site(model, node)

    def number(value: float, role: str) -> ir.Value:
        return site.constant(role, np.float32(value))

    zero, axes = number(0, "zero"), [] if whole else [site.constant("last", np.asarray([-1]))]
    lowest, highest = number(-128, "lowest"), number(127, "highest")
    low = site.op("Min", [site.op("ReduceMin", [x, *axes], "row_min", keepdims=1), zero], "low")
    high = site.op("Max", [site.op("ReduceMax", [x, *axes], "row_max", keepdims=1), zero], "high")
    step = site.op("Div", [site.op("Sub", [high, low], "width"), number(255, "steps")], "step")
    scale = site.op("Max", [step, number(float(np.finfo(np.float32).tiny), "tiny")], "row_scale")
    offset = site.op("Sub", [lowest, site.op("Div", [low, scale], "low_steps")], "offset")
    shift = site.op("Round", [offset], "row_zero")
    stored = site.op("Add", [site.op("Round", [site.op("Div", [x, scale], "ratio")], "rounded"), shift], "shifted")
    clipped = site.op("Clip", [stored, lowest, highest], "row_stored")
    result = site.op("Mul", [site.op("Sub", [clipped, shift], "unshifted"), scale], "row_rounded")
    result.type, result.shape = x.type, x.shape
    return result
