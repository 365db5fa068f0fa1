"""The forms of operators that this target lowers, where the canonical graph has others."""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir

from edgeport.passes.edit import nodes, rank
from edgeport.passes.infer_shapes import infer_shapes
from edgeport.passes.pipeline import rewritten
from edgeport.quantize.plan import Plan
from edgeport.quantize.qdq import write_qdq
from edgeport.quantize.scheme_options import mixed
from edgeport.targets.executorch.linear_layers import with_linear_layers
from edgeport.targets.executorch.scheme import LEAST_RATIO, executorch_scheme

FORMS: tuple[str, ...] = (
    "expand_attention",
    "spell_out_attention",
    "expand_scatter_reduction",
    "merge_duplicates",
)
"""Passes that write operators which the runtime lacks in others, in order."""
_PLANES = 4
"""Axes of what the runtime's GridSample takes."""


def in_own_forms(model: ir.Model, plan: Plan) -> ir.Model:
    """A copy of the canonical graph in which the plan is written out as Q/DQ and `FORMS` have run."""
    solid = any((rank(node.inputs[0]) or 0) > _PLANES for node in nodes(model, "GridSample"))
    forms = ("expand_grid_sample", *FORMS) if solid else FORMS
    layers = {node: executorch_scheme(precision) for node, precision in plan.layers.items()}
    scheme = mixed(executorch_scheme(plan.precision), layers)
    if all(part.kernel == "float32" for part in scheme.parts):
        result = rewritten(model, forms)
    else:
        quantized = write_qdq(model, _kernels_of(model, plan), scheme)
        infer_shapes(quantized)
        result = rewritten(quantized, forms)
    with_linear_layers(result, plan)
    return result


def _kernels_of(model: ir.Model, plan: Plan) -> Plan:
    """The plan as it is written out here.

    What is quantized at run time is arithmetic in the simulation, and the kernel's business here. An addition one of
    whose operands has steps that are next to nothing beside the sum's has no integer kernel.
    """
    kernels = {
        name: replace(node, kernel="int8-weights") if node.kernel.endswith("-dynamic") else node
        for name, node in plan.nodes.items()
    }
    for node in nodes(model, "Add", "Sub"):
        if plan.kernel(node.name) == "int8" and _lopsided(node, plan):
            kernels[node.name or ""] = replace(kernels[node.name or ""], kernel="float32")
    return replace(plan, nodes=kernels)


def _lopsided(node: ir.Node, plan: Plan) -> bool:
    reader = next((use.node for use in node.outputs[0].uses()), None)
    ends = (node.outputs[0].name, None if reader is None else reader.outputs[0].name)
    total = next((q for q in map(plan.qparams, ends) if q is not None), None)
    parts = [plan.qparams(value.name) for value in node.inputs if value is not None]
    if total is None:
        return False
    return any(q is not None and float(q.scale) < LEAST_RATIO * float(total.scale) for q in parts)
