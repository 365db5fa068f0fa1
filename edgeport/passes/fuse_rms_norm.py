"""Root-mean-square normalization written out becomes one operator.

    x --+--> Pow(2) --> ReduceMean --> Add(epsilon) --> Sqrt --> Div --> Mul(g)    ==>    x --> RMSNormalization(g)
        `---------------------------------------------------------^

Applies when the mean is over trailing axes with dimensions kept, x is squared by Pow(2) or a product with itself, the
division is Div, Reciprocal or a power of -1/2, epsilon is a constant, and nothing in between has another reader. A Mul
by a constant that spreads over the normalized axes is taken in; without it the scale is one.
Zhang & Sennrich 2019, arXiv 1910.07467, equation 4.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import Attribute, add_initializer, nodes, take_over
from edgeport.passes.moments import normalized, square_of, trailing_mean, trailing_shape
from edgeport.passes.polynomial import closed
from edgeport.passes.registry import register
from edgeport.passes.scale_and_bias import following_constant


@register("fuse_rms_norm")
def fuse_rms_norm(model: ir.Model) -> bool:
    """Fuses every RMS normalization over trailing axes."""
    changed = False
    for node in nodes(model, "Div", "Mul"):
        for x, mean, epsilon, region in normalized(node):
            if _fuse(model, node.outputs[0], x, mean, epsilon, region):
                changed = True
                break
    return changed


def _fuse(model: ir.Model, y: ir.Value, x: ir.Value, mean: ir.Value, epsilon: float, region: list[ir.Node]) -> bool:
    spread = trailing_mean(mean)
    square = None if spread is None else square_of(spread[0])
    if spread is None or square is None or square[0] is not x or x.dtype is None:
        return False
    shape = trailing_shape(x, spread[1])
    if shape is None or not closed(dict.fromkeys([*region, spread[2], square[1]]), y):
        return False
    dtype = x.dtype.numpy()
    scale = np.ones(shape, dtype)
    times = following_constant(y, "Mul", shape)
    if times is not None:
        y, scale = times[0].outputs[0], times[1]
    attributes: dict[str, Attribute] = {"axis": spread[1] - (len(x.shape) if x.shape else 0), "epsilon": epsilon}
    take_over(y, "RMSNormalization", [x, add_initializer(model, f"{y.name}/scale", scale.astype(dtype))], attributes)
    return True
