"""A canonical graph as a torch.fx module: every node through its lowering, every objection collected."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir
from torch import fx

from edgeport.findings import Finding
from edgeport.targets.lowering import Lowering, finding, refusal
from edgeport.targets.walk import problems_of
from edgeport.torch_view import ops
from edgeport.torch_view.context import Context
from edgeport.torch_view.registry import LOWERINGS, Refused

assert ops  # imported for its registrations


def torch_view(model: ir.Model, lowerings: Mapping[str, Lowering[Context]] = LOWERINGS) -> fx.GraphModule:
    """The graph as a module that computes the same and can be trained, scripted, traced and exported.

    Its nodes call functions of torch only. Inputs are taken in the graph's order and outputs returned as a tuple in
    the graph's order, with the graph's dtypes. Constants of floating-point numbers are parameters, unless they are
    single numbers or hold infinities; other constants are buffers. A node that gives a value of the graph has its
    name in `node.meta["edgeport.name"]`.

    Args:
        model: a canonical graph; not changed.
        lowerings: what each operator becomes.

    Raises:
        ModelError: something cannot be lowered; `findings` lists every such node.
    """
    ctx, findings = _walk(model, lowerings)
    if findings:
        raise refusal("torch", findings)
    return fx.GraphModule(ctx.module, ctx.graph, "TorchView")


def check(model: ir.Model) -> list[Finding]:
    """Every node that cannot be lowered."""
    return _walk(model, LOWERINGS)[1]


def _walk(model: ir.Model, lowerings: Mapping[str, Lowering[Context]]) -> tuple[Context, list[Finding]]:
    ctx = Context()
    findings: list[Finding] = []
    for value in model.graph.inputs:
        try:
            ctx.placeholder(value)
        except Refused as refused:
            findings.append(finding(refused, None))
            ctx.stand_in(value)
    for value in [] if findings else model.graph.inputs:
        ctx.hold(value)
    for node in model.graph:
        problems = problems_of(ctx, node, lowerings, _typed)
        findings.extend(finding(p, node) for p in problems)
        for value in node.outputs:
            if problems and value not in ctx.values:
                ctx.stand_in(value)
    if not findings:
        ctx.graph.output(tuple(ctx.returned(value) for value in model.graph.outputs))
    return ctx, findings


def _typed(ctx: Context, node: ir.Node, _: Lowering[Context]) -> bool:
    """Nothing can be said of a node whose operands' dtypes are not known.

    Raises:
        Refused: one of them is not, or torch lacks it.
    """
    for value in (*node.inputs, *node.outputs):
        if value is not None and value.name:
            ctx.held(value)
    return True
