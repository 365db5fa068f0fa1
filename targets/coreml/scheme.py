"""What Core ML computes in integers, and what it stores compressed, by precision.

Integers are those of Apple's own quantization passes (coremltools 9.0, linear_quantize_activations): convolutions,
products with constant matrices, residual additions and pools, with what is between them in float16. Only the Neural
Engine of the A17 Pro, the M4 and what came after computes on them as such.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import onnx_ir as ir

from edgeport.errors import UsageError
from edgeport.passes.recurrence import is_common, recurrence_of, resets_late
from edgeport.quantize.plan import Kernel, Plan
from edgeport.quantize.scheme import OpRule, Scheme
from edgeport.targets.weight_rules import BLOCK, why_not_filters, why_not_matrix, why_not_table
from edgeport.targets.weight_rules import KERNELS as SHARED

KERNELS: dict[str, Kernel] = {**SHARED, "sparse": "sparse"}
"""Precision -> the kernel of the nodes that hold weights."""
PRECISIONS = tuple(KERNELS)


def floats_of(plan: Plan) -> Literal["float16", "float32"]:
    """What a program of that precision computes in, where it computes in floats."""
    return "float32" if plan.precision == "fp32" else "float16"


def coreml_scheme(precision: str, *, late_reset: bool = True) -> Scheme:
    """The scheme of a precision.

    Args:
        precision: one of `PRECISIONS`.
        late_reset: the system has a GRU whose reset gate comes late, as PyTorch's (iOS 18); else its steps are written
            out, with weights in float.

    Raises:
        UsageError: the target has no such precision.
    """
    if precision not in KERNELS:
        raise UsageError(f"--precision {precision}: the coreml target takes {', '.join(PRECISIONS)}")
    kernel = KERNELS[precision]
    if kernel == "float32":
        return Scheme(precision, kernel, {}, fusible)
    tables = _TABLES if late_reset else _TABLES | {"GRU": replace(_RECURRENT, refuses=_early_reset)}
    if kernel == "int8":
        return Scheme(precision, kernel, _ANCHORS | tables | _GLUE, fusible, needs_data=True)
    rules = {op: replace(rule, kernel=None) for op, rule in (_ANCHORS | tables).items()}
    if kernel == "int4-weights":
        rules |= {
            op: replace(rule, kernel="int8-weights") for op, rule in rules.items() if op not in ("MatMul", "Gather")
        }
        return Scheme(precision, kernel, rules, fusible, block=BLOCK)
    bits = int(precision.removeprefix("palettized-")) if kernel == "palettized" else None
    return Scheme(precision, kernel, rules, fusible, bits=bits, grouped=bits is not None)


def fusible(anchor: ir.Node, activation: ir.Node) -> bool:
    """Whether Core ML applies an activation within the kernel before it, so that integers come after it.

    These are the suffixes of Apple's pass for quantized activations.
    """
    return anchor.op_type in ("Conv", "Add") and activation.op_type in ("Relu", "LeakyRelu", "Tanh", "Clip")


def _recurrent(node: ir.Node) -> str | None:
    found = recurrence_of(node)
    return None if found is not None and is_common(found) else "its steps are written out"


def _early_reset(node: ir.Node) -> str | None:
    found = recurrence_of(node)
    return "its steps are written out before iOS 18" if found is not None and resets_late(found) else _recurrent(node)


_FIRST = (0,)
_ANCHORS = {
    "Conv": OpRule("anchor", weight=1, weight_axis=0, activations=_FIRST, refuses=why_not_filters),
    "ConvTranspose": OpRule(
        "anchor", weight=1, weight_axis=1, activations=_FIRST, refuses=why_not_filters, kernel="int8-weights"
    ),
    "MatMul": OpRule("anchor", weight=1, weight_axis=1, activations=_FIRST, refuses=why_not_matrix),
}
_TABLES = {
    "Gather": OpRule("anchor", weight=0, weight_axis=0, kernel="int8-weights", activations=(), refuses=why_not_table)
}
"""Embeddings: one scale a row."""
_RECURRENT = OpRule(
    "anchor", weight=1, weight_axis=1, more_weights=(2,), kernel="int8-weights", activations=(), refuses=_recurrent
)
_TABLES |= dict.fromkeys(("LSTM", "GRU", "RNN"), _RECURRENT)
_GLUE = {
    "Add": OpRule("glue"),
    "AveragePool": OpRule("glue", activations=_FIRST),
    "MaxPool": OpRule("passthrough", activations=_FIRST),
}
