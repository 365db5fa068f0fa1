"""What Core ML's kernels demand, by precision."""

from __future__ import annotations

import onnx_ir as ir

from edgeport.errors import UsageError
from edgeport.quantize.plan import Plan
from edgeport.quantize.scheme import Scheme

PRECISIONS = ("fp32", "fp16")


def floats_of(plan: Plan) -> str:
    """What a program of that precision computes in, where it computes in floats."""
    return "float32" if plan.precision == "fp32" else "float16"


def fusible(anchor: ir.Node, activation: ir.Node) -> bool:
    """Whether Core ML applies an activation within the kernel before it."""
    return anchor.op_type in ("Conv", "MatMul", "Add") and activation.op_type == "Relu"


def coreml_scheme(precision: str) -> Scheme:
    """The scheme of a precision.

    Raises:
        UsageError: the target has no such precision.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"--precision {precision}: the coreml target takes {', '.join(PRECISIONS)}")
    return Scheme(precision, "float32", {}, fusible)
