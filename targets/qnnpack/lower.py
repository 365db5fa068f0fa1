"""Canonical graph and plan -> a torch.fx module whose integer kernels are `torch.ops.quantized`'s.

    x --> quantize --> quantized::conv2d_relu --> quantized::linear --> dequantize --> softmax --> y

Every kernel that the plan has in integers is one operator on packed weights; all else is lowered as the torch view
lowers it. Floats and integers are converted where they meet, each value once.
"""

from __future__ import annotations

import onnx_ir as ir
from torch import fx

from edgeport.errors import ModelError
from edgeport.findings import Finding
from edgeport.quantize.groups import KernelGroup, find_groups
from edgeport.quantize.plan import Plan
from edgeport.targets.lowering import Lowering, Refused, finding, objections, refusal
from edgeport.targets.qnnpack import ops
from edgeport.targets.qnnpack.context import Context
from edgeport.targets.qnnpack.names import name_nodes
from edgeport.targets.qnnpack.registry import DYNAMIC, KERNELS
from edgeport.targets.qnnpack.scheme import fusible
from edgeport.targets.unsupported import unsupported
from edgeport.targets.walk import problems_of
from edgeport.torch_view.context import Context as View
from edgeport.torch_view.registry import LOWERINGS

assert ops  # imported for its registrations


def lower_graph(model: ir.Model, plan: Plan) -> fx.GraphModule:
    """The module of a graph; it takes and gives what the graph does, one output by itself and several as a tuple.

    Weights are packed by the engine that is set.

    Args:
        model: the canonical graph, with static shapes.
        plan: what runs in integers.

    Raises:
        ModelError: something cannot be lowered; `findings` lists every such node.
    """
    ctx = Context(plan)
    view = ctx.view
    findings = _inputs(ctx, model)
    groups = find_groups(model.graph, fusible)
    for node in [] if findings else model.graph:
        group = groups[node]
        kernel = plan.kernel(group.anchor.name)
        if kernel == "int8" and node is not group.anchor:
            continue  # a part of the kernel that its anchor was lowered to
        if kernel == "float32" or (kernel == "int8-dynamic" and node is group.activation):
            problems = problems_of(view, node, LOWERINGS, _typed)
        elif kernel == "int8-dynamic":
            problems = _dynamic(ctx, group) if node is (group.bias or group.anchor) else []
        else:
            problems = _integer(ctx, group)
        findings.extend(finding(p, node) for p in problems)
        for value in node.outputs:
            if problems and value not in view.values:
                view.stand_in(value)
    if findings:
        raise refusal("QNNPACK", findings)
    returned = [view.returned(value) for value in model.graph.outputs]
    view.graph.output(returned[0] if len(returned) == 1 else tuple(returned))
    view.graph.eliminate_dead_code()
    name_nodes(view.graph)
    return fx.GraphModule(view.module, view.graph, "Model")


def _inputs(ctx: Context, model: ir.Model) -> list[Finding]:
    findings: list[Finding] = []
    for value in model.graph.inputs:
        try:
            ctx.view.shape(value)
            ctx.view.placeholder(value)
        except Refused as refused:
            findings.append(finding(refused, None))
    for value in [] if findings else model.graph.inputs:
        ctx.view.hold(value)
    return findings


def _typed(view: View, node: ir.Node, _: Lowering[View]) -> bool:
    """Nothing can be said of a node whose operands' dtypes are not known.

    Raises:
        Refused: one of them is not, or torch lacks it.
    """
    for value in (*node.inputs, *node.outputs):
        if value is not None and value.name:
            view.held(value)
    return True


def _objections(group: KernelGroup, table: str) -> list[Refused]:
    known = (KERNELS if table == "int8" else DYNAMIC).get(group.anchor.op_type)
    if known is None:
        return [unsupported(group.anchor)]
    read = Lowering[Context](lambda ctx, node: None, known.attributes, known.inputs, None, True)
    return list(objections(group.anchor, read))


def _integer(ctx: Context, group: KernelGroup) -> list[Refused]:
    problems = _objections(group, "int8")
    if problems:
        return problems
    try:
        ctx.give(group.output, KERNELS[group.anchor.op_type].kernel(ctx, group))
    except Refused as refused:
        return [refused]
    return []


def _dynamic(ctx: Context, group: KernelGroup) -> list[Refused]:
    problems = _objections(group, "int8-dynamic")
    if not problems:
        ctx.view.bind(group.bias or group.anchor, DYNAMIC[group.anchor.op_type].kernel(ctx, group))
    return problems


def integer_operators(module: fx.GraphModule) -> dict[str, int]:
    """How often each operator of `torch.ops.quantized` stands in a module."""
    counts: dict[str, int] = {}
    for node in module.graph.nodes:
        name = str(node.target)
        if node.op == "call_function" and name.startswith("quantized."):
            kind = name.removeprefix("quantized.")
            counts[kind] = counts.get(kind, 0) + 1
    return dict(sorted(counts.items()))


def refuse_floats(module: fx.GraphModule, plan: Plan) -> None:
    """Refuses a file without an integer operator, which a precision of integers does not mean.

    Raises:
        ModelError: there is none.
    """
    if plan.exact or integer_operators(module):
        return
    reasons = sorted({f"{node.op}: {node.reason}" for node in plan.nodes.values()})
    why = f" ({'; '.join(reasons[:3])})" if reasons else ""
    raise ModelError(
        f"nothing in the model runs in integers on QNNPACK{why}: a file of --precision {plan.precision} would be the "
        "float one; use --precision fp32, or --dry-run to see the reason for every node"
    )
