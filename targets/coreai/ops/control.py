"""Control flow that the passes could not remove: refused, with the way out."""

from __future__ import annotations

import onnx_ir as ir

from edgeport.targets.coreai.context import Context
from edgeport.targets.coreai.registry import Refused, lowers

_SCAN_ATTRIBUTES = (
    "num_scan_inputs",
    "scan_input_axes",
    "scan_input_directions",
    "scan_output_axes",
    "scan_output_directions",
)


@lowers("If", attributes=("then_branch", "else_branch"), outputs=None)
def if_(ctx: Context, node: ir.Node) -> None:
    """Nothing: branches of one shape that cannot fail became a choice, constant conditions one branch."""
    reason = "its condition is computed at run time, and its branches differ in shape or may fail where not taken"
    raise Refused(f"an If stays: {reason}", "export the model with the branch that you need", "unsupported-op")


@lowers("Loop", "Scan", attributes=("body", *_SCAN_ATTRIBUTES), inputs=None, outputs=None)
def loop(ctx: Context, node: ir.Node) -> None:
    """Nothing: a small known number of rounds was written out."""
    raise Refused(
        f"operator {node.op_type} is not supported", "export the model with the loop written out", "unsupported-op"
    )
