"""For schemes of integers everywhere: operators without an integer kernel become several that have one. Not by default.

    LayerNormalization(x)   ==>   d = x - ReduceMean(x);  d * Pow(ReduceMean(d * d) + epsilon, -0.5) * scale + bias
    RMSNormalization(x)     ==>   x * Pow(ReduceMean(x * x) + epsilon, -0.5) * scale
    InstanceNormalization   ==>   as LayerNormalization, over the spatial axes
    Attention               ==>   MatMul, Mul, Add(mask), Softmax, MatMul
    x / c, x / Sqrt(v)      ==>   x * (1 / c), x * Pow(v, -0.5)
    -x, Pow(x, 2)           ==>   x * -1, x * x
    HardSigmoid(x)          ==>   Clip(x * alpha + beta, 0, 1)

Constants below -1e4 in a mask that is added to attention scores become -1e4: integers have no infinity, and exp(-1e4)
is 0 all the same. Rows of which every key is masked give the mean of v.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from edgeport.passes.attention_parts import spell_out, why_whole
from edgeport.passes.edit import (
    constant,
    get_float,
    get_int,
    input_of,
    nodes,
    producer,
    rank,
    scalar,
    static_shape,
    take_over,
)
from edgeport.passes.registry import register
from edgeport.passes.site import Site

MASKED = np.float32(-1e4)
_DEEPEST = 12


@register("integer_forms")
def integer_forms(model: ir.Model) -> bool:
    """Rewrites every such operator of the main graph."""
    changed = False
    for node in nodes(model, *_FORMS):
        changed |= node.graph is model.graph and _FORMS[node.op_type](Site(model, node), node)
    return changed


def _is_float(node: ir.Node) -> bool:
    return node.outputs[0].dtype == ir.DataType.FLOAT


def _single(node: ir.Node) -> bool:
    return not any(out.uses() or out.is_graph_output() for out in node.outputs[1:])


def _inverse_root(site: Site, square: ir.Value, axes: ir.Value, epsilon: float) -> ir.Value:
    variance = site.op("ReduceMean", [square, axes], "variance", keepdims=1)
    raised = site.op("Add", [variance, site.constant("epsilon", np.float32(epsilon))], "raised")
    return site.op("Pow", [raised, site.constant("minus_half", np.float32(-0.5))], "inverse")


def _finish(site: Site, node: ir.Node, normal: ir.Value, inverse: ir.Value, scale: object, bias: object) -> bool:
    """normal * inverse * scale + bias, where scale and bias may be None."""
    factors = [inverse, *(v for v in (scale,) if isinstance(v, ir.Value))]
    for i, factor in enumerate(factors):
        if i == len(factors) - 1 and not isinstance(bias, ir.Value):
            take_over(node.outputs[0], "Mul", [normal, factor])
            return True
        normal = site.op("Mul", [normal, factor], ("normal", "scaled")[i])
    assert isinstance(bias, ir.Value)
    take_over(node.outputs[0], "Add", [normal, bias])
    return True


def _layer_norm(site: Site, node: ir.Node) -> bool:
    x, dims = input_of(node, 0), rank(node.inputs[0])
    if x is None or dims is None or not _single(node):
        return False
    axes = site.constant("axes", np.arange(get_int(node, "axis", -1) % dims, dims))
    if node.op_type == "LayerNormalization":
        x = site.op("Sub", [x, site.op("ReduceMean", [x, axes], "mean", keepdims=1)], "deviation")
    inverse = _inverse_root(site, site.op("Mul", [x, x], "square"), axes, get_float(node, "epsilon", 1e-5))
    return _finish(site, node, x, inverse, input_of(node, 1), input_of(node, 2))


def _instance_norm(site: Site, node: ir.Node) -> bool:
    x, dims = input_of(node, 0), rank(node.inputs[0])
    scale, bias = (constant(input_of(node, i)) for i in (1, 2))
    if x is None or dims is None or scale is None or bias is None:
        return False
    axes = site.constant("axes", np.arange(2, dims))
    x = site.op("Sub", [x, site.op("ReduceMean", [x, axes], "mean", keepdims=1)], "deviation")
    inverse = _inverse_root(site, site.op("Mul", [x, x], "square"), axes, get_float(node, "epsilon", 1e-5))
    wide = (-1, *(1 for _ in range(dims - 2)))
    return _finish(
        site,
        node,
        x,
        inverse,
        site.constant("scale", scale.reshape(wide)),
        site.constant("bias", bias.reshape(wide)),
    )


def _attention(site: Site, node: ir.Node) -> bool:
    if why_whole(node) is not None:
        return False
    mask = input_of(node, 3)
    if mask is not None and mask.dtype == ir.DataType.FLOAT:
        _clamp(site, mask)
    spell_out(site.model, node, lambda value: value, MASKED, zero_rows=False)
    return True


def _clamp(site: Site, value: ir.Value, depth: int = _DEEPEST) -> None:
    """Raises the constants that `value` is computed from to -1e4; its own is replaced in all that read it."""
    array = constant(value)
    if array is not None:
        if array.dtype == np.float32 and array.size and array.min() < MASKED:
            value.replace_all_uses_with(site.constant("clamped", np.maximum(array, MASKED)))
        return
    node = producer(value, "Add", "Mul", "Where", "Reshape", "Expand", "Unsqueeze", "Squeeze", "Clip", "Max", "Slice")
    if node is not None and depth:
        for operand in dict.fromkeys(node.inputs):
            if operand is not None and operand.dtype == ir.DataType.FLOAT:
                _clamp(site, operand, depth - 1)


def _div(site: Site, node: ir.Node) -> bool:
    a, b = node.inputs[:2]
    if not _is_float(node) or b is None:
        return False
    array, root = constant(b), producer(b, "Sqrt")
    if array is not None and (array != 0).all():
        take_over(node.outputs[0], "Mul", [a, site.constant("reciprocal", (1 / array).astype(np.float32))])
    elif root is not None:
        v, half = root.inputs[0], site.constant("minus_half", np.float32(-0.5))
        if scalar(a) == 1.0 and static_shape(v) == static_shape(node.outputs[0]):
            take_over(node.outputs[0], "Pow", [v, half])
        else:
            take_over(node.outputs[0], "Mul", [a, site.op("Pow", [v, half], "inverse")])
    else:
        return False
    return True


def _reciprocal(site: Site, node: ir.Node) -> bool:
    root = producer(node.inputs[0], "Sqrt")
    if root is None:
        return False
    take_over(node.outputs[0], "Pow", [root.inputs[0], site.constant("minus_half", np.float32(-0.5))])
    return True


def _negative(site: Site, node: ir.Node) -> bool:
    if _is_float(node):
        take_over(node.outputs[0], "Mul", [node.inputs[0], site.constant("minus_one", np.float32(-1))])
    return _is_float(node)


def _square(site: Site, node: ir.Node) -> bool:
    exponent = scalar(input_of(node, 1))
    if not _is_float(node) or exponent != 2.0:
        return False
    take_over(node.outputs[0], "Mul", [node.inputs[0], node.inputs[0]])
    return True


def _hard_sigmoid(site: Site, node: ir.Node) -> bool:
    alpha, beta = get_float(node, "alpha", 0.2), get_float(node, "beta", 0.5)
    scaled = site.op("Mul", [node.inputs[0], site.constant("alpha", np.float32(alpha))], "scaled")
    shifted = site.op("Add", [scaled, site.constant("beta", np.float32(beta))], "shifted")
    limits = [site.constant("zero", np.float32(0)), site.constant("one", np.float32(1))]
    take_over(node.outputs[0], "Clip", [shifted, *limits])
    return True


_FORMS: dict[str, Callable[[Site, ir.Node], bool]] = {
    "LayerNormalization": _layer_norm,
    "RMSNormalization": _layer_norm,
    "InstanceNormalization": _instance_norm,
    "Attention": _attention,
    "Div": _div,
    "Reciprocal": _reciprocal,
    "Neg": _negative,
    "Pow": _square,
    "HardSigmoid": _hard_sigmoid,
}
