"""LayerNormalization and RMSNormalization are written out, for runtimes older than opset 17 and 23.

    x --+--> ReduceMean --> Sub --+--> Mul(itself) --> ReduceMean --> Add(epsilon) --> Sqrt --> Div --> Mul --> Add
        `--------------------^    `-------------------------------------------------------------^

RMSNormalization is the same without the first mean and the bias. The variance is the mean of the squared deviation,
which does not cancel as a difference of squares does. Ba et al. 2016, arXiv 1607.06450, equations 3 and 4; Zhang &
Sennrich 2019, arXiv 1910.07467, equation 4.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_float, get_int, input_of, nodes, rank, sweep, take_over
from edgeport.passes.registry import register
from edgeport.passes.site import Site, is_read, number


@register("expand_layer_norm")
def expand_layer_norm(model: ir.Model) -> bool:
    """Expands every LayerNormalization over known axes."""
    return _expand(model, lambda node: True)


@register("expand_layer_norm_statistics")
def expand_layer_norm_statistics(model: ir.Model) -> bool:
    """Expands those whose mean or deviation is read: most kernels give neither."""
    return _expand(model, lambda node: is_read(node, 1) or is_read(node, 2))


def _expand(model: ir.Model, wanted: Callable[[ir.Node], bool]) -> bool:
    changed = False
    for node in nodes(model, "LayerNormalization"):
        site, x = Site(model, node), node.inputs[0]
        axes = _trailing(site) if wanted(node) else None
        if axes is None:
            continue
        mean = site.op("ReduceMean", [x, axes], "mean", keepdims=1)
        deviation = site.op("Sub", [x, mean], "deviation")
        root = _root(site, deviation, axes)
        if is_read(node, 1):
            take_over(node.outputs[1], "Identity", [mean])
        if is_read(node, 2):
            take_over(node.outputs[2], "Reciprocal", [root])
        _scaled(site, deviation, root)
        changed = True
    return changed


@register("expand_rms_norm")
def expand_rms_norm(model: ir.Model) -> bool:
    """Expands every RMSNormalization over known axes."""
    changed = False
    for node in nodes(model, "RMSNormalization"):
        site, x = Site(model, node), node.inputs[0]
        axes = _trailing(site)
        if axes is None or x is None:
            continue
        _scaled(site, x, _root(site, x, axes))
        changed = True
    return changed


def _trailing(site: Site) -> ir.Value | None:
    """The axes from the attribute on, counted from the end; None where the rank is not known."""
    dims, axis = rank(site.node.inputs[0]), get_int(site.node, "axis", -1)
    if dims is None:
        if axis >= 0:
            return None
        dims = 0
    first = axis - dims if axis >= 0 else axis
    return site.constant("axes", np.arange(first, 0, dtype=np.int64))


def _root(site: Site, value: ir.Value, axes: ir.Value) -> ir.Value:
    """sqrt(mean(value^2) + epsilon)."""
    square = site.op("Mul", [value, value], "square")
    variance = site.op("ReduceMean", [square, axes], "variance", keepdims=1)
    epsilon = number(site, get_float(site.node, "epsilon", 1e-5), site.node.inputs[0], "epsilon")
    return site.op("Sqrt", [site.op("Add", [variance, epsilon], "variance_plus")], "root")


def _scaled(site: Site, value: ir.Value, root: ir.Value) -> None:
    node = site.node
    scale, bias = node.inputs[1], input_of(node, 2)
    normal = site.op("Div", [value, root], "normal")
    if bias is None:
        take_over(node.outputs[0], "Mul", [normal, scale])
    else:
        take_over(node.outputs[0], "Add", [site.op("Mul", [normal, scale], "scaled"), bias])
    sweep(node)
