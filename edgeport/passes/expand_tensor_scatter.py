"""TensorScatter is ScatterElements at places counted from where each sample's writing starts.

    write_indices [B] --> Reshape [B,1,..] --> Add(0, 1, ..) --> [Mod(length)] --> Expand --> ScatterElements --> y

The Mod stands in the circular mode. Needs the shape of the update. ONNX operator TensorScatter-24.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_int, get_str, input_of, nodes, static_shape, take_over
from edgeport.passes.registry import register
from edgeport.passes.site import Site


@register("expand_tensor_scatter")
def expand_tensor_scatter(model: ir.Model) -> bool:
    """Expands every TensorScatter of known shapes."""
    changed = False
    for node in nodes(model, "TensorScatter"):
        cache, update = static_shape(node.inputs[0]), static_shape(node.inputs[1])
        if cache is None or update is None:
            continue
        site, dims = Site(model, node), len(cache)
        axis = get_int(node, "axis", -2) % dims
        steps = np.arange(update[axis], dtype=np.int64).reshape([-1 if a == axis else 1 for a in range(dims)])
        start = input_of(node, 2)
        if start is None:
            places = site.constant("places", np.broadcast_to(steps, update))
        else:
            column = site.reshape(start, (-1, *(1,) * (dims - 1)), "start")
            places = site.op("Add", [column, site.constant("steps", steps)], "places")
            if get_str(node, "mode", "linear") == "circular":
                length = site.constant("length", np.asarray(cache[axis], np.int64))
                places = site.op("Mod", [places, length], "wrapped")
                places.type = ir.TensorType(ir.DataType.INT64)
            places = site.op("Expand", [places, site.constant("shape", np.asarray(update, np.int64))], "everywhere")
        take_over(node.outputs[0], "ScatterElements", [node.inputs[0], places, node.inputs[1]], {"axis": axis})
        changed = True
    return changed
