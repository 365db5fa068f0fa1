"""LayerNormalization written out becomes one operator.

    x --+--> ReduceMean --> Sub --+--> Pow(2) --> ReduceMean --> Add(epsilon) --> Sqrt --> Div --> Mul(g) --> Add(b)
        `--------------------^    `---------------------------------------------------------^

        ==>    x --> LayerNormalization(g, b, epsilon)

Applies when both means are over the same trailing axes with dimensions kept, the deviation is squared by Pow(2) or a
product with itself, the division is Div, Reciprocal or a power of -1/2, epsilon is a constant, and nothing in between
has another reader. Mul and Add by constants that spread over the normalized axes are taken in; without them the scale
is one. Axes other than the last ones stay written out. Ba et al. 2016, arXiv 1607.06450, equation 4.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import Attribute, add_initializer, nodes, producer, take_over
from edgeport.passes.moments import normalized, square_of, trailing_mean, trailing_shape
from edgeport.passes.polynomial import closed
from edgeport.passes.registry import register
from edgeport.passes.scale_and_bias import following_constant


@register("fuse_layer_norm")
def fuse_layer_norm(model: ir.Model) -> bool:
    """Fuses every layer normalization over trailing axes."""
    changed = False
    for node in nodes(model, "Div", "Mul"):
        for deviation, variance, epsilon, region in normalized(node):
            if _fuse(model, node.outputs[0], deviation, variance, epsilon, region):
                changed = True
                break
    return changed


def _fuse(
    model: ir.Model, y: ir.Value, deviation: ir.Value, variance: ir.Value, epsilon: float, region: list[ir.Node]
) -> bool:
    sub, spread = producer(deviation, "Sub"), trailing_mean(variance)
    square = None if spread is None else square_of(spread[0])
    if sub is None or sub.inputs[0] is None or spread is None or square is None:
        return False
    x, center = sub.inputs[0], trailing_mean(sub.inputs[1])
    if center is None or center[0] is not x or center[1] != spread[1]:
        return False
    again = producer(square[0], "Sub")  # some exporters compute the deviation twice
    if again is None or tuple(again.inputs) != tuple(sub.inputs):
        return False
    shape = trailing_shape(x, center[1])
    inside = dict.fromkeys([*region, sub, again, spread[2], square[1], center[2]])
    if shape is None or x.dtype is None or not closed(inside, y):
        return False
    dtype = x.dtype.numpy()
    scale, bias = np.ones(shape, dtype), None
    times = following_constant(y, "Mul", shape)
    if times is not None:
        y, scale = times[0].outputs[0], times[1]
    plus = following_constant(y, "Add", shape)
    if plus is not None:
        y, bias = plus[0].outputs[0], plus[1]
    inputs = [x, add_initializer(model, f"{y.name}/scale", scale.astype(dtype))]
    if bias is not None:
        inputs.append(add_initializer(model, f"{y.name}/bias", bias.astype(dtype)))
    attributes: dict[str, Attribute] = {"axis": center[1] - (len(x.shape) if x.shape else 0), "epsilon": epsilon}
    take_over(y, "LayerNormalization", inputs, attributes)
    return True
