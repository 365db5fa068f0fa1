"""The forms of operators that this target lowers, where the canonical graph has others."""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir

from edgeport.passes.infer_shapes import infer_shapes
from edgeport.passes.pipeline import rewritten
from edgeport.quantize.plan import Plan
from edgeport.quantize.qdq import write_qdq
from edgeport.quantize.scheme_options import mixed
from edgeport.targets.executorch.linear_layers import with_linear_layers
from edgeport.targets.executorch.scheme import executorch_scheme

FORMS: tuple[str, ...] = ("expand_attention", "spell_out_attention", "merge_duplicates")
"""Passes that write operators which the runtime lacks in others, in order."""


def in_own_forms(model: ir.Model, plan: Plan) -> ir.Model:
    """A copy of the canonical graph in which the plan is written out as Q/DQ and `FORMS` have run."""
    layers = {node: executorch_scheme(precision) for node, precision in plan.layers.items()}
    scheme = mixed(executorch_scheme(plan.precision), layers)
    if all(part.kernel == "float32" for part in scheme.parts):
        result = rewritten(model, FORMS)
    else:
        quantized = write_qdq(model, _weights_only(plan), scheme)
        infer_shapes(quantized)
        result = rewritten(quantized, FORMS)
    with_linear_layers(result, plan)
    return result


def _weights_only(plan: Plan) -> Plan:
    """The plan without what is quantized at run time: for the simulation it is arithmetic, here the kernel does it."""
    nodes = {
        name: replace(node, kernel="int8-weights") if node.kernel.endswith("-dynamic") else node
        for name, node in plan.nodes.items()
    }
    return replace(plan, nodes=nodes)
