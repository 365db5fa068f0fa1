"""Col2Im is a ConvTranspose with the unit matrix.

    x [N, C * taps, L] --> Reshape([N * C, taps, l0, l1]) --> ConvTranspose(unit [taps, 1, k0, k1]) --> Reshape --> y

Every column is laid down where its window stands, overlaps add up: what ConvTranspose does with one output channel and
a weight that sends tap t to place t of the kernel. Applies where both sizes are constant and the batch is known. ONNX
operator Col2Im-18.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_ints, input_of, ints, nodes, static_shape, take_over
from edgeport.passes.registry import register
from edgeport.passes.site import Site


@register("expand_col2im")
def expand_col2im(model: ir.Model) -> bool:
    """Expands every Col2Im of float32 and known shapes."""
    changed = False
    for node in nodes(model, "Col2Im"):
        x, image, block = node.inputs[0], ints(input_of(node, 1)), ints(input_of(node, 2))
        shape = static_shape(x)
        if x is None or shape is None or image is None or block is None or x.dtype != ir.DataType.FLOAT:
            continue
        n, taps = len(image), math.prod(block)
        strides, dilations = get_ints(node, "strides") or [1] * n, get_ints(node, "dilations") or [1] * n
        pads = get_ints(node, "pads") or [0] * 2 * n
        extent = [(k - 1) * d + 1 for k, d in zip(block, dilations, strict=True)]
        span = [image[i] + pads[i] + pads[n + i] - extent[i] for i in range(n)]
        if (
            len(shape) != 3
            or shape[1] % taps
            or shape[2] != math.prod(s // t + 1 for s, t in zip(span, strides, strict=True))
        ):
            continue
        site, channels = Site(model, node), shape[1] // taps
        places = [s // t + 1 for s, t in zip(span, strides, strict=True)]
        columns = site.reshape(x, [shape[0] * channels, taps, *places], "columns")
        unit = site.constant("unit", np.eye(taps, dtype=np.float32).reshape(taps, 1, *block))
        laid = site.op(
            "ConvTranspose",
            [columns, unit],
            "laid",
            strides=strides,
            dilations=dilations,
            pads=pads,
            output_padding=[s % t for s, t in zip(span, strides, strict=True)],
        )
        target = site.constant("shape", np.asarray([shape[0], channels, *image], np.int64))
        take_over(node.outputs[0], "Reshape", [laid, target])
        changed = True
    return changed
