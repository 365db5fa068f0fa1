"""What the lowerings of every target share: a table of small functions, one per ONNX operator.

A lowering declares the attributes it reads and how many inputs and outputs it handles; anything else on a node
is refused, which is what catches silently wrong results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import onnx_ir as ir

from edgeport.errors import ModelError
from edgeport.findings import Finding

C = TypeVar("C")
Handler = Callable[[C, ir.Node], None]
"""Emits the operators of one node with a target's context, and binds the node's outputs."""


class Refused(Exception):
    """A lowering declines a node; becomes a Finding. Never leaves the target."""

    def __init__(self, message: str, hint: str | None = None, code: str = "unsupported-variant") -> None:
        super().__init__(message)
        self.hint = hint
        self.code = code


@dataclass(frozen=True)
class Lowering(Generic[C]):
    """A registered lowering.

    Attributes:
        handler: emits the operators of one node and binds its outputs.
        attributes: names that it reads.
        inputs: number of inputs that it reads, None for any.
        outputs: number of outputs that it computes, None for any.
        int8: whether it can run the node in integers.
    """

    handler: Handler[C]
    attributes: frozenset[str]
    inputs: int | None
    outputs: int | None
    int8: bool


class Lowers(Protocol[C]):
    """The decorator that fills a table."""

    def __call__(
        self,
        *op_types: str,
        attributes: Sequence[str] = (),
        inputs: int | None = 1,
        outputs: int | None = 1,
        int8: bool = False,
    ) -> Callable[[Handler[C]], Handler[C]]:
        """Registers a function as the lowering of ONNX operators (default domain)."""


def registrar(table: MutableMapping[str, Lowering[C]]) -> Lowers[C]:
    """The decorator `lowers` of a target, which registers in `table`."""

    def lowers(
        *op_types: str,
        attributes: Sequence[str] = (),
        inputs: int | None = 1,
        outputs: int | None = 1,
        int8: bool = False,
    ) -> Callable[[Handler[C]], Handler[C]]:
        def register(handler: Handler[C]) -> Handler[C]:
            for op_type in op_types:
                assert op_type not in table, op_type
                table[op_type] = Lowering(handler, frozenset(attributes), inputs, outputs, int8)
            return handler

        return register

    return lowers


def objections(node: ir.Node, lowering: Lowering[C]) -> Iterator[Refused]:
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


def finding(refused: Refused, node: ir.Node | None) -> Finding:
    """The refusal as users see it."""
    return Finding(
        severity="error",
        code=refused.code,
        message=str(refused),
        node=None if node is None else node.name,
        op=None if node is None else node.op_type,
        hint=refused.hint,
    )


def refusal(form: str, findings: list[Finding]) -> ModelError:
    """One line for all findings, which ride along; `form` is what could not be written, e.g. `TFLite`."""
    first = findings[0]
    more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    where = f" at {first.op} {first.node!r}" if first.op else ""
    hint = f"; {first.hint}" if first.hint else ""
    return ModelError(f"cannot lower to {form}: {first.message}{where}{hint}{more}", findings)
