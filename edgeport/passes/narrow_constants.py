"""A table that is the same for every sample of a batch holds it once, where its readers broadcast by themselves.

    x [8,128,64] --> Add <-- positions [8,128,64], all 8 equal    ==>    x --> Add <-- positions [1,128,64]

Exporters expand tables to the batch, and constant folding then stores every copy: the file grows with the batch, and
functions for several batches share nothing. Applies where every reader keeps the shape of its result.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import constant, static_shape
from edgeport.passes.registry import register

_BROADCASTING = ("Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Where", "Equal", "Less", "Greater", "And", "Or")


@register("narrow_constants")
def narrow_constants(model: ir.Model) -> bool:
    """Narrows initializers of the main graph in place; they keep their names."""
    changed = False
    for value in tuple(model.graph.initializers.values()):
        array = constant(value)
        if array is None or array.ndim < 3 or array.shape[0] < 2 or not value.uses() or value.is_graph_output():
            continue  # with two axes it may be the bias of a product, which kernels take in as it is
        narrow = array[:1]
        same = all(one.tobytes() == narrow.tobytes() for one in array)
        if same and all(_keeps(value, node, narrow.shape) for node, _ in value.uses()):
            value.const_value = ir.tensor(np.ascontiguousarray(narrow), name=value.name)
            value.shape = ir.Shape(narrow.shape)
            changed = True
    return changed


def _keeps(value: ir.Value, node: ir.Node, shape: tuple[int, ...]) -> bool:
    """Whether a reader's result has the same shape if the constant has another."""
    if node.domain != "" or node.op_type not in _BROADCASTING:
        return False
    shapes = [shape if v is value else static_shape(v) for v in node.inputs]
    known = [s for s in shapes if s is not None]
    return len(known) == len(shapes) and np.broadcast_shapes(*known) == static_shape(node.outputs[0])
