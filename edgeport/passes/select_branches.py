"""If on a condition that is computed becomes both branches and a choice, where that is safe.

    x --> If(c) { then: Relu(x) | else: Neg(x) } --> y     ==>     x --> Relu --+
                                                                   x --> Neg ---+--> Where(c) --> y

A graph without control flow is what every target runs, in integers too. Both branches then cost time in every run; an
If whose condition the export can fix (an input that is always the same) is better fixed before.

Left alone: branches whose results have other or unknown shapes, and branches with an operator that may fail or give
other values on inputs that its branch was not meant for: loops, random operators, integer division, and indices that
are computed.
"""

from __future__ import annotations

import onnx_ir as ir

from edgeport.passes.edit import constant, insert_before, nodes, static_shape, sweep
from edgeport.passes.inline_if import splice
from edgeport.passes.registry import register

_UNSAFE = frozenset(
    {
        "Bernoulli",
        "If",
        "Loop",
        "Multinomial",
        "Optional",
        "OptionalGetElement",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
        "Scan",
        "SequenceMap",
    }
)
_INDEXED = frozenset({"Gather", "GatherElements", "GatherND", "ScatterElements", "ScatterND", "TensorScatter"})


@register("select_branches")
def select_branches(model: ir.Model) -> bool:
    """Replaces every such If, inner ones first."""
    changed = False
    while any(_select(model, node) for node in nodes(model, "If")):
        changed = True
    return changed


def _select(model: ir.Model, node: ir.Node) -> bool:
    condition = node.inputs[0]
    branches = [node.attributes[name].as_graph() for name in ("then_branch", "else_branch")]
    if condition is None or static_shape(condition) not in ((), (1,)):
        return False
    if not all(_safe(inner) for branch in branches for inner in branch):
        return False
    if not all(_alike(a, b) for a, b in zip(branches[0].outputs, branches[1].outputs, strict=True)):
        return False
    if static_shape(condition) == (1,):
        condition = insert_before(node, "Squeeze", [condition], name=f"{node.name}/condition")
    results = [splice(model, node, branch) for branch in branches]
    for old, a, b in zip(tuple(node.outputs), *results, strict=True):
        assert old.name is not None
        chosen = _choice(node, condition, a, b, old.name)
        old.replace_all_uses_with(chosen, replace_graph_outputs=True)
    sweep(node)
    return True


def _choice(node: ir.Node, condition: ir.Value, a: ir.Value, b: ir.Value, name: str) -> ir.Value:
    """One of two values; of booleans by logic, since ONNX Runtime has no Where of them."""
    if a.dtype != ir.DataType.BOOL:
        return insert_before(node, "Where", [condition, a, b], name=name, like=a)
    otherwise = insert_before(node, "Not", [condition], name=f"{name}/otherwise", like=condition)
    first = insert_before(node, "And", [condition, a], name=f"{name}/then", like=a)
    second = insert_before(node, "And", [otherwise, b], name=f"{name}/else", like=b)
    return insert_before(node, "Or", [first, second], name=name, like=a)


def _safe(node: ir.Node) -> bool:
    """Whether a node may run although its branch is not taken."""
    if node.domain != "" or node.op_type in _UNSAFE:
        return False
    if any(static_shape(output) is None for output in node.outputs if output.name):
        return False
    if node.op_type in ("Div", "Mod"):
        return node.outputs[0].dtype in (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE)
    return node.op_type not in _INDEXED or constant(node.inputs[1]) is not None


def _alike(a: ir.Value, b: ir.Value) -> bool:
    return (
        a.dtype is not None
        and a.dtype == b.dtype
        and static_shape(a) is not None
        and static_shape(a) == static_shape(b)
    )
