"""EyeLike of a known shape is a constant.

    EyeLike(x [3, 4], k=1)     ==>     a matrix with ones on its first upper diagonal

Applies when the shape of x and the element type are known.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_int, nodes, static_shape, take_over
from edgeport.passes.registry import register
from edgeport.passes.site import Site


@register("fold_eye_like")
def fold_eye_like(model: ir.Model) -> bool:
    """Replaces every EyeLike of a known shape."""
    changed = False
    for node in nodes(model, "EyeLike"):
        x = node.inputs[0]
        shape = static_shape(x)
        if x is None or shape is None or x.dtype is None or len(shape) != 2:
            continue
        dtype = ir.DataType(get_int(node, "dtype", x.dtype.value))
        eye = np.eye(shape[0], shape[1], k=get_int(node, "k", 0)).astype(dtype.numpy())
        take_over(node.outputs[0], "Identity", [Site(model, node).constant("value", eye)])
        changed = True
    return changed
