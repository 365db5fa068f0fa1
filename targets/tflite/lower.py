"""The walk over a canonical graph: every node through its lowering, every objection collected."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from edgeport.findings import Finding
from edgeport.quantize.groups import find_groups
from edgeport.quantize.plan import Plan
from edgeport.targets.lowering import Lowering, finding, refusal
from edgeport.targets.tflite import ops
from edgeport.targets.tflite.builder import Builder, Tensor
from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.ends import graph_input, returned
from edgeport.targets.tflite.fusion import fusible
from edgeport.targets.tflite.registry import LOWERINGS, Refused
from edgeport.targets.tflite.value_checks import check_values, stand_in
from edgeport.targets.walk import problems_of

assert ops  # imported for its registrations


def lower_graph(model: ir.Model, plan: Plan, metadata: Mapping[str, bytes] | None = None) -> bytes:
    """Lowers a canonical graph to the bytes of a .tflite file.

    Raises:
        ModelError: something cannot be lowered; `findings` lists every such node.
    """
    ctx, findings = walk(model, plan)
    if findings:
        raise refusal("TFLite", findings)
    inputs = {v.name or "": ctx.ends[v] for v in model.graph.inputs}
    outputs: dict[str, Tensor] = {}
    for value in model.graph.outputs:
        outputs[value.name or ""] = _distinct(ctx, value, taken=[*inputs.values(), *outputs.values()])
    return ctx.builder.pack(inputs, outputs, description="", metadata=metadata)


def walk(model: ir.Model, plan: Plan, dry: bool = False) -> tuple[Context, list[Finding]]:
    """Runs every lowering; a refused node's outputs are stood in for, so that all findings come at once.

    Args:
        model: the canonical graph.
        plan: kernels and quantization parameters.
        dry: only the findings are wanted.
    """
    graph = model.graph
    ctx = Context(plan, find_groups(graph, fusible), Builder(dry=dry))
    findings: list[Finding] = []
    for value in graph.inputs:
        try:
            graph_input(ctx, value)
        except Refused as refused:
            findings.append(finding(refused, None))
    if findings:  # nothing below can be judged without the inputs' shapes
        return ctx, findings
    for node in graph:
        if ctx.groups[node].anchor is not node:
            continue

        problems = problems_of(ctx, node, LOWERINGS, _checked)
        findings.extend(finding(p, node) for p in problems)
        for value in (ctx.result(node), *node.outputs):
            if problems and not ctx.layouts(value):
                stand_in(ctx, value)
    return ctx, findings


def _checked(ctx: Context, node: ir.Node, lowering: Lowering[Context]) -> bool:
    check_values(ctx, node, lowering.int8)
    return True


def _distinct(ctx: Context, value: ir.Value, taken: list[Tensor]) -> Tensor:
    """The tensor of a graph output in ONNX order, copied if it is an input, a constant or returned already."""
    tensor = returned(ctx, value)
    if tensor.constant or tensor in taken:
        copy = ctx.builder.tensor(f"{value.name}/copy", tensor.shape, tensor.dtype, tensor.quant)
        ctx.reshape(tensor, copy)
        return copy
    return tensor
