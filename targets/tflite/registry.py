"""The table of lowerings: one small function per ONNX operator, registered by decorator.

A lowering declares the attributes it reads and how many inputs and outputs it handles; anything else on a node
is refused, which is what catches silently wrong results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx_ir as ir

if TYPE_CHECKING:
    from edgeport.targets.tflite.context import Context

Handler = Callable[["Context", ir.Node], None]


class Refused(Exception):
    """A lowering declines a node; becomes a Finding. Never leaves this target."""

    def __init__(self, message: str, hint: str | None = None, code: str = "unsupported-variant") -> None:
        super().__init__(message)
        self.hint = hint
        self.code = code


@dataclass(frozen=True)
class Lowering:
    """A registered lowering.

    Attributes:
        handler: emits the operators of one node and binds its outputs.
        attributes: names that it reads.
        inputs: number of inputs that it reads, None for any.
        outputs: number of outputs that it computes, None for any.
        int8: whether it can run the node in integers.
    """

    handler: Handler
    attributes: frozenset[str]
    inputs: int | None
    outputs: int | None
    int8: bool


LOWERINGS: dict[str, Lowering] = {}


def lowers(
    *op_types: str,
    attributes: Sequence[str] = (),
    inputs: int | None = 1,
    outputs: int | None = 1,
    int8: bool = False,
) -> Callable[[Handler], Handler]:
    """Registers a function as the lowering of ONNX operators (default domain)."""

    def register(handler: Handler) -> Handler:
        for op_type in op_types:
            assert op_type not in LOWERINGS, op_type
            LOWERINGS[op_type] = Lowering(handler, frozenset(attributes), inputs, outputs, int8)
        return handler

    return register


def objections(node: ir.Node, lowering: Lowering) -> Iterator[Refused]:
    """What of the node its lowering would silently drop."""
    for name in node.attributes:
        if name not in lowering.attributes:
            yield Refused(f"attribute {name!r} is not supported", code="unsupported-attribute")
    extra_inputs = [] if lowering.inputs is None else node.inputs[lowering.inputs :]
    for offset, value in enumerate(extra_inputs):
        if value is not None:
            yield Refused(f"input {(lowering.inputs or 0) + offset} is not supported", code="unsupported-input")
    extra_outputs = [] if lowering.outputs is None else node.outputs[lowering.outputs :]
    for offset, out in enumerate(extra_outputs):
        if out.uses() or out.is_graph_output():
            yield Refused(f"output {(lowering.outputs or 0) + offset} is not supported", code="unsupported-output")
