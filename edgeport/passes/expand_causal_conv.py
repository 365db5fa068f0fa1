"""CausalConvWithState is a depthwise Conv over its past and its input.

    x -------------+                            +--> Conv(W, b, group = channels) --> Swish --> y
    past_state --> Concat(axis 2) --> whole ----+
                                                +--> Slice(last k - 1) --> present_state

Without a past the input is padded with zeros. Applies where W has a known shape. ONNX operator CausalConvWithState-27,
which the canonical opset does not have.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import Attribute, get_str, input_of, nodes, static_shape, sweep, take_over
from edgeport.passes.registry import register
from edgeport.passes.site import Site


@register("expand_causal_conv")
def expand_causal_conv(model: ir.Model) -> bool:
    """Expands every CausalConvWithState."""
    changed = False
    for node in nodes(model, "CausalConvWithState"):
        x, weight = node.inputs[0], node.inputs[1]
        shape = static_shape(weight)
        activation = get_str(node, "activation", "none")
        if x is None or shape is None or len(shape) != 3 or activation not in ("none", "silu", "swish"):
            continue
        site, taps = Site(model, node), shape[2]
        past = input_of(node, 3)
        if taps == 1:
            whole = x
        elif past is not None:
            whole = site.op("Concat", [past, x], "whole", axis=2)
        else:
            whole = site.op("Pad", [x, site.constant("pads", np.asarray([0, 0, taps - 1, 0, 0, 0], np.int64))], "whole")
        present = node.outputs[1] if len(node.outputs) > 1 else None
        if present is not None and (present.uses() or present.is_graph_output()):
            ends = {"starts": [1 - taps], "ends": [2**62], "axes": [2]}
            if taps == 1:
                ends = {"starts": [0], "ends": [0], "axes": [2]}
            last = [site.constant(role, np.asarray(v, np.int64)) for role, v in ends.items()]
            _replace(present, "Slice", [whole, *last])
        attributes: dict[str, Attribute] = {"group": shape[0], "kernel_shape": [taps]}
        operands = [whole, weight, input_of(node, 2)]
        if activation == "none":
            take_over(node.outputs[0], "Conv", operands, attributes)
        else:
            take_over(node.outputs[0], "Swish", [site.op("Conv", operands, "conv", **attributes)])
        sweep(node)
        changed = True
    return changed


def _replace(old: ir.Value, op_type: str, inputs: list[ir.Value]) -> None:
    """As `take_over`, for an output of a node that stays until its other output is replaced too."""
    node = old.producer()
    assert node is not None
    assert node.graph is not None
    output = ir.Value(name=old.name, type=old.type, shape=old.shape)
    node.graph.insert_before(node, ir.node(op_type, inputs, outputs=[output], name=f"{old.name}/{op_type}"))
    old.replace_all_uses_with(output, replace_graph_outputs=True)
