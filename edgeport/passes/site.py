"""Where a pass writes several nodes in place of one: the names and the place follow from the node replaced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgeport.passes.edit import Attribute, add_initializer, insert_before


@dataclass(frozen=True)
class Site:
    """A node that is about to be replaced.

    Attributes:
        model: receives constants.
        node: new nodes stand in front of it, named after the first output that it has.
    """

    model: ir.Model
    node: ir.Node

    def name(self, role: str) -> str:
        """Name of an inner value."""
        first = next((value.name for value in self.node.outputs if value.name), self.node.name)
        return f"{first}/{role}"

    def constant(self, role: str, array: npt.ArrayLike) -> ir.Value:
        """A new initializer."""
        return add_initializer(self.model, self.name(role), array)

    def op(self, op_type: str, inputs: Sequence[ir.Value | None], role: str, **attributes: Attribute) -> ir.Value:
        """A new node; its output."""
        return insert_before(self.node, op_type, inputs, attributes, name=self.name(role))

    def several(
        self, op_type: str, inputs: Sequence[ir.Value | None], roles: Sequence[str], **attributes: Attribute
    ) -> tuple[ir.Value, ...]:
        """A new node with one output a role."""
        outputs = [ir.Value(name=self.name(role)) for role in roles]
        graph = self.node.graph
        assert graph is not None, "the node stands in a graph"
        name = f"{self.name(roles[0])}/{op_type}"
        graph.insert_before(self.node, ir.node(op_type, list(inputs), attributes, outputs=outputs, name=name))
        return tuple(outputs)

    def reshape(self, value: ir.Value, dims: Sequence[int], role: str) -> ir.Value:
        """Reshape to constant dimensions; 0 and -1 as in ONNX."""
        return self.op("Reshape", [value, self.constant(f"{role}/shape", np.asarray(dims, np.int64))], role)


def is_read(node: ir.Node, output: int) -> bool:
    """Whether the node has this output and anything reads it."""
    if output >= len(node.outputs):
        return False
    value = node.outputs[output]
    return bool(value.uses()) or value.is_graph_output()


def number(site: Site, value: float, like: ir.Value | None, role: str) -> ir.Value:
    """A scalar constant of the element type of `like`; float32 where that is not known."""
    dtype = np.dtype(np.float32) if like is None or like.dtype is None else like.dtype.numpy()
    return site.constant(role, np.asarray(value, dtype))
