"""A node that computes on views with fewer axes than its values have: what every rewriting of `limit_rank` needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import (
    add_initializer,
    constant,
    static_shape,
    take_over,
)
from edgeport.passes.merged_axes import Groups
from edgeport.passes.site import Site

MOST_AXES = 5
"""Core ML's tensors have no more."""


@dataclass(frozen=True)
class FewerAxes:
    """A node to be rewritten on views with at most `MOST_AXES` axes, which see several of its axes as one."""

    model: ir.Model
    node: ir.Node

    @property
    def site(self) -> Site:
        """Where new nodes go."""
        return Site(self.model, self.node)

    def operand(self, index: int) -> ir.Value:
        """An input that is there."""
        value = self.node.inputs[index]
        assert value is not None
        return value

    def shape(self, value: ir.Value) -> tuple[int, ...]:
        """Of a value, all of which are known."""
        shape = static_shape(value)
        assert shape is not None
        return shape

    def seen(self, value: ir.Value, shape: Sequence[int]) -> ir.Value:
        """A view of a value; a constant is reshaped now."""
        data = constant(value)
        if data is not None:
            return self.site.constant("seen", data.reshape(shape))
        return self.site.reshape(value, shape, "seen")

    def finish(self, output: int, value: ir.Value) -> None:
        """A view of `value` takes an output's place."""
        old = self.node.outputs[output]
        shape = add_initializer(self.model, f"{old.name}/shape", np.asarray(self.shape(old), np.int64))
        take_over(old, "Reshape", [value, shape])

    def again(self, inputs: Sequence[ir.Value | None], **changed: int) -> ir.Value:
        """The same operator on other inputs; its output."""
        attributes = {**self.node.attributes, **{name: ir.AttrInt64(name, v) for name, v in changed.items()}}
        output = ir.Value(name=self.site.name("few"))
        # Its name is what a plan knows it by; the view behind it, which takes the output's place, gets another.
        new = ir.Node("", self.node.op_type, inputs, list(attributes.values()), outputs=[output], name=self.node.name)
        assert self.node.graph is not None
        self.node.graph.insert_before(self.node, new)
        return output


def around(shape: Sequence[int], axis: int) -> Groups:
    """What stands before an axis, it, and what stands behind it; nothing before or behind is left out."""
    parts = [list(range(axis)), [axis], list(range(axis + 1, len(shape)))]
    return [part for part in parts if part]
