"""Kernel groups: nodes of the canonical graph that a target runs as one kernel.

    x -> [Conv | ConvTranspose]          -> [activation] -> y
    x -> MatMul(constant) -> [Add(bias)] -> [activation] -> y
    a, b -> [Add | Sub | Mul | ...]      -> [activation] -> y

Only a group's output exists on the device, so only it is quantized: this is what keeps ReLU before Q.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import onnx_ir as ir


@dataclass(frozen=True)
class KernelGroup:
    """One kernel: its anchor, and the bias and activation nodes that it absorbs."""

    anchor: ir.Node
    bias: ir.Node | None = None
    activation: ir.Node | None = None

    @property
    def nodes(self) -> tuple[ir.Node, ...]:
        """Its nodes in execution order."""
        return tuple(n for n in (self.anchor, self.bias, self.activation) if n is not None)

    @property
    def output(self) -> ir.Value:
        """The value the kernel leaves behind."""
        return self.nodes[-1].outputs[0]

    @property
    def bias_value(self) -> ir.Value | None:
        """The constant bias: the third input of a convolution, or the constant of the absorbed Add."""
        if self.bias is not None:
            return next(v for v in self.bias.inputs if v is not None and v.const_value is not None)
        if self.anchor.op_type in ("Conv", "ConvTranspose") and len(self.anchor.inputs) > 2:
            return self.anchor.inputs[2]
        return None


Fusible = Callable[[ir.Node, ir.Node], bool]
"""Whether a target's kernel for the first node can apply the second (an activation) by itself."""


def find_groups(graph: ir.Graph, fusible: Fusible) -> Mapping[ir.Node, KernelGroup]:
    """Assigns every node to its group; a node that absorbs nothing and is absorbed by none is its own group."""
    groups: dict[ir.Node, KernelGroup] = {}
    for node in graph:
        if node in groups:
            continue
        tail, bias = node, None
        if node.op_type == "MatMul" and _is_constant(node, 1):
            add = sole_consumer(node.outputs[0])
            if add is not None and add.op_type == "Add" and _is_channel_bias(add, node):
                tail = bias = add
        activation = sole_consumer(tail.outputs[0]) if len(tail.outputs) == 1 else None
        if activation is not None and (activation in groups or not fusible(node, activation)):
            activation = None
        group = KernelGroup(node, bias, activation)
        groups.update(dict.fromkeys(group.nodes, group))
    return groups


def sole_consumer(value: ir.Value) -> ir.Node | None:
    """The one node that reads `value` once, None if there are others or the graph returns it."""
    uses = value.uses()
    if len(uses) != 1 or value.is_graph_output():
        return None
    return next(iter(uses)).node


def _is_constant(node: ir.Node, index: int) -> bool:
    value = node.inputs[index]
    return value is not None and value.const_value is not None


def _is_channel_bias(add: ir.Node, matmul: ir.Node) -> bool:
    """Whether the Add's other operand is a constant vector, one element an output channel of the MatMul."""
    weight = matmul.inputs[1]
    if weight is None or weight.const_value is None or len(weight.const_value.shape) != 2:
        return False
    others = [v for v in add.inputs if v is not None and v is not matmul.outputs[0]]
    if len(others) != 1 or others[0].const_value is None:
        return False
    shape = others[0].const_value.numpy().shape
    channels = weight.const_value.numpy().shape[-1]
    return shape[-1:] == (channels,) and all(d == 1 for d in shape[:-1]) and len(shape) <= 2
