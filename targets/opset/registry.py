"""The table of changes: what brings a node from the form of an opset to that of the opset before it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import Array, Attribute, constant, input_of
from edgeport.passes.site import Site


@dataclass(frozen=True)
class Descent(Site):
    """A node on its way down, with the model that receives constants."""

    def set(self, **attributes: Attribute) -> None:
        """Sets attributes of the node."""
        for attribute in ir.convenience.convert_attributes(attributes):
            self.node.attributes[attribute.name] = attribute

    def drop(self, *names: str) -> None:
        """Takes attributes away, which the node need not have."""
        for name in names:
            self.node.attributes.pop(name, None)

    def input(self, index: int) -> ir.Value | None:
        """The input at this position, None when it is omitted."""
        return input_of(self.node, index)

    def array(self, index: int) -> Array | None:
        """The constant at this position, None when it is omitted or computed."""
        return constant(self.input(index))

    def set_input(self, index: int, value: ir.Value | None) -> None:
        """Sets an input, growing the list when needed."""
        if index >= len(self.node.inputs):
            self.node.resize_inputs(index + 1)
        self.node.replace_input_with(index, value)


Change = Callable[[Descent], None]
"""Edits or replaces the node; raises `Refused` where the older opset has no form for it."""

CHANGES: dict[tuple[str, int], Change] = {}
"""(operator, opset that brought the newer form) -> what writes the older form."""


def since(opset: int, *op_types: str) -> Callable[[Change], Change]:
    """Decorator: the function takes nodes of these operators from the form of `opset` to the one before it."""

    def register(change: Change) -> Change:
        for op_type in op_types:
            assert (op_type, opset) not in CHANGES, (op_type, opset)
            CHANGES[op_type, opset] = change
        return change

    return register


def int64(values: object) -> Array:
    """As int64 array."""
    return np.asarray(values, np.int64)
