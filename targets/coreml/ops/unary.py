"""Element-wise operators of one operand."""

from __future__ import annotations

import onnx_ir as ir

from edgeport.targets.coreml.context import Context
from edgeport.targets.coreml.registry import lowers

_SAME = {"Relu": "relu", "Tanh": "tanh", "Sqrt": "sqrt", "Abs": "abs"}
"""MIL operations of one operand that compute just what the ONNX operator does."""


@lowers(*_SAME)
def unary(ctx: Context, node: ir.Node) -> None:
    """One operation, element by element."""
    ctx.bind(node.outputs[0], ctx.emit(_SAME[node.op_type], x=ctx.read(node.inputs[0])))
