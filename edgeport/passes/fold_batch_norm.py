"""BatchNormalization in inference is one factor and one offset a channel; the convolution beside it absorbs them.

    x --> Conv(W, b) --> BatchNormalization --> y     ==>     x --> Conv(W * s, (b - mean) * s + beta) --> y
    x --> Relu --> BatchNormalization --> y           ==>     x --> Relu --> Mul(s) --> Add(t) --> y

with s = gamma / sqrt(var + epsilon) and t = beta - mean * s, computed in float64 (Jacob et al. 2018, section 3.2).

Applies when the normalization's parameters are constants and it is not in training mode. It becomes Mul and Add by
constants of shape [C, 1, ..]; `fold_scale_shift` then moves these into a neighbouring Conv, ConvTranspose or MatMul.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import add_initializer, constant, get_float, get_int, insert_before, nodes, rank, take_over
from edgeport.passes.registry import register


@register("fold_batch_norm")
def fold_batch_norm(model: ir.Model) -> bool:
    """Rewrites every constant BatchNormalization as Mul and Add."""
    changed = False
    for node in nodes(model, "BatchNormalization"):
        x, y = node.inputs[0], node.outputs[0]
        parameters = [constant(value) for value in node.inputs[1:5]]
        dims = rank(x)
        if x is None or dims is None or dims < 2 or get_int(node, "training_mode", 0):
            continue
        if any(p is None for p in parameters) or any(o.uses() or o.is_graph_output() for o in node.outputs[1:]):
            continue
        gamma, beta, mean, var = (p.astype(np.float64) for p in parameters if p is not None)
        scale = gamma / np.sqrt(var + get_float(node, "epsilon", 1e-5))
        shift = beta - mean * scale
        dtype = x.dtype.numpy() if x.dtype is not None else np.dtype(np.float32)
        broadcast = (-1,) + (1,) * (dims - 2)
        factor = add_initializer(model, f"{y.name}/scale", scale.reshape(broadcast).astype(dtype))
        offset = add_initializer(model, f"{y.name}/shift", shift.reshape(broadcast).astype(dtype))
        scaled = insert_before(node, "Mul", [x, factor], name=f"{y.name}/scaled", like=y)
        take_over(y, "Add", [scaled, offset])
        changed = True
    return changed
