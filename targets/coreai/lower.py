"""The walk over a canonical graph: every node through its lowering, every objection collected."""

from __future__ import annotations

import onnx_ir as ir

from edgeport.findings import Finding
from edgeport.quantize.plan import Plan
from edgeport.targets.coreai import ops
from edgeport.targets.coreai.context import Context
from edgeport.targets.coreai.program import Program, Tensor
from edgeport.targets.coreai.registry import LOWERINGS, Refused
from edgeport.targets.coreai.scheme import floats_of
from edgeport.targets.halves import wide_nodes
from edgeport.targets.lowering import Lowering, finding, refusal
from edgeport.targets.walk import problems_of

assert ops  # imported for its registrations

_WIDE = (
    *("CumSum", "GridSample", "Mod"),  # places, for which float16 has too few digits
    "IsInf",  # what it asks for becomes float16's largest number
    *("InstanceNormalization", "LRN", "LpNormalization", "ReduceL2", "ReduceSumSquare"),  # squares, which go beyond it
)
"""What computes in float32 even where floats are float16."""


def lower_graph(model: ir.Model, plan: Plan) -> Program:
    """The program of a graph.

    Args:
        model: the canonical graph in the forms that this target lowers.
        plan: says in what width floats are computed.

    Raises:
        ModelError: something cannot be lowered; `findings` lists every such node.
    """
    ctx, findings = walk(model, plan)
    if findings:
        raise refusal("Core AI", findings)
    program = ctx.builder.program
    program.outputs = {value.name or "": ctx.returned(value).number for value in model.graph.outputs}
    return program


def walk(model: ir.Model, plan: Plan) -> tuple[Context, list[Finding]]:
    """Runs every lowering; a refused node's outputs are stood in for, so that all findings come at once."""
    ctx = Context(plan)
    findings: list[Finding] = []
    for value in model.graph.inputs:
        try:
            ctx.values[value] = ctx.builder.input(value.name or "", ctx.shape(value), ctx.dtype(value))
        except Refused as refused:
            findings.append(finding(refused, None))
    if findings:  # nothing below can be judged without the inputs' shapes
        return ctx, findings
    floats = floats_of(plan)
    wide = wide_nodes(model.graph, plan) if floats == "float16" else frozenset()
    for node in model.graph:
        ctx.width = "float32" if node in wide or node.op_type in _WIDE else floats
        problems = problems_of(ctx, node, LOWERINGS, _typed)
        findings.extend(finding(p, node) for p in problems)
        for value in node.outputs:
            if problems and value not in ctx.values:
                ctx.values[value] = _stand_in(ctx, value)
    return ctx, findings


def _typed(ctx: Context, node: ir.Node, _: Lowering[Context]) -> bool:
    """Nothing can be said of a node whose operands' shapes and dtypes are not known.

    Raises:
        Refused: one of them is not.
    """
    for value in (*node.inputs, *node.outputs):
        if value is not None and value.name and value.const_value is None:
            ctx.shape(value)
            ctx.dtype(value)
    return True


def _stand_in(ctx: Context, value: ir.Value) -> Tensor:
    """Something of the right type, as far as it is known, for the nodes that read a refused one."""
    try:
        shape, dtype = ctx.shape(value), ctx.own_dtype(value)
    except Refused:
        shape, dtype = (), "float32"
    return ctx.builder.step("stand_in", [], shape, dtype)
