"""Which values a node carries as integers, by its rule."""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir

from edgeport.quantize.groups import KernelGroup
from edgeport.quantize.scheme import OpRule, Scheme

_PLAIN = (ir.DataType.INT64, ir.DataType.INT32)


def rule_of(node: ir.Node, scheme: Scheme) -> OpRule:
    """The rule of a node that has one."""
    rule = scheme.rule(node)
    assert rule is not None, f"{node.op_type} has no rule"
    return rule


def integer_inputs(group: KernelGroup, rule: OpRule) -> tuple[ir.Value, ...]:
    """The anchor's inputs that carry integers as activations."""
    inputs = group.anchor.inputs
    if rule.activations is None:
        indices: Iterable[int] = range(len(inputs))
    else:
        indices = rule.activations(group.anchor) if callable(rule.activations) else rule.activations
    picked = (inputs[i] for i in indices if i < len(inputs) and i != rule.weight)
    return tuple(v for v in picked if v is not None and v.dtype == ir.DataType.FLOAT)


def symmetric_inputs(node: ir.Node, rule: OpRule) -> tuple[ir.Value, ...]:
    """The inputs of a node that must have zero point 0."""
    picked = (node.inputs[i] for i in rule.symmetric if i < len(node.inputs))
    return tuple(v for v in picked if v is not None)


def integer_outputs(group: KernelGroup, rule: OpRule) -> tuple[ir.Value, ...]:
    """The quantized values an integer kernel leaves behind: one, but for operators like Split; indices are plain."""
    if rule.gives_floats:
        return ()
    return tuple(v for v in group.nodes[-1].outputs if v.dtype not in _PLAIN)
