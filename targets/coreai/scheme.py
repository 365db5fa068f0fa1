"""What Core AI computes in integers, and what it stores compressed, by precision.

Integers stand where Apple's own quantization puts them for its Neural Engine: around convolutions, products with
constant matrices, residual additions and pools. Everything else is float.
"""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir

from edgeport.errors import UsageError
from edgeport.quantize.plan import Kernel, Plan
from edgeport.quantize.scheme import OpRule, Scheme
from edgeport.targets.weight_rules import BLOCK, KERNELS, why_not_filters, why_not_matrix, why_not_table

PRECISIONS = tuple(KERNELS)


def floats_of(plan: Plan) -> str:
    """What a program of that precision computes in, where it computes in floats."""
    return "float16" if plan.precision == "fp16" else "float32"


def coreai_scheme(precision: str) -> Scheme:
    """The scheme of a precision.

    Raises:
        UsageError: the Core AI target has no such precision.
    """
    if precision not in KERNELS:
        raise UsageError(f"--precision {precision}: the coreai target takes {', '.join(PRECISIONS)}")
    kernel = KERNELS[precision]
    if kernel == "float32":
        return Scheme(precision, kernel, {}, fusible)
    if kernel == "int8":
        return Scheme(precision, kernel, _ANCHORS | _WEIGHTS_ONLY | _GLUE, fusible, needs_data=True)
    if kernel == "int8-weights":
        return Scheme(precision, kernel, _ANCHORS | _WEIGHTS_ONLY, fusible)
    if kernel == "palettized":
        rules = {op: replace(rule, kernel=None) for op, rule in (_ANCHORS | _WEIGHTS_ONLY).items()}
        return Scheme(precision, kernel, rules, fusible, bits=int(precision.removeprefix("palettized-")), grouped=True)
    rules = {op: replace(rule, kernel=_INT4.get(op, "int8-weights")) for op, rule in (_ANCHORS | _WEIGHTS_ONLY).items()}
    return Scheme(precision, kernel, rules, fusible, block=BLOCK)


def fusible(anchor: ir.Node, activation: ir.Node) -> bool:
    """Whether an activation belongs to the kernel before it, so that integers come after it."""
    return anchor.op_type in ("Conv", "Add") and activation.op_type in ("Relu", "LeakyRelu", "Clip")


_FIRST = (0,)
_ANCHORS = {
    "Conv": OpRule("anchor", weight=1, weight_axis=0, activations=_FIRST, refuses=why_not_filters),
    "MatMul": OpRule("anchor", weight=1, weight_axis=1, activations=_FIRST, refuses=why_not_matrix),
}
_recurrent = OpRule("anchor", weight=1, weight_axis=1, more_weights=(2,), kernel="int8-weights", activations=())
_WEIGHTS_ONLY = {
    "ConvTranspose": OpRule(
        "anchor", weight=1, weight_axis=1, activations=(), refuses=why_not_filters, kernel="int8-weights"
    ),
    "Gather": OpRule("anchor", weight=0, weight_axis=0, kernel="int8-weights", activations=(), refuses=why_not_table),
} | dict.fromkeys(("LSTM", "GRU", "RNN"), _recurrent)
"""States feed their own errors back, so recurrent layers compute in float; embeddings have one scale a row."""
_INT4: dict[str, Kernel] = {"MatMul": "int4-weights", "Gather": "int4-weights"}
"""Convolutions lose too much in 4 bits."""
_GLUE = {
    "Add": OpRule("glue"),
    "AveragePool": OpRule("glue", activations=_FIRST),
    "GlobalAveragePool": OpRule("glue", activations=_FIRST),
    "Concat": OpRule("glue", shared=True),
    "Relu": OpRule("glue", activations=_FIRST),
    "MaxPool": OpRule("passthrough", activations=_FIRST),
} | dict.fromkeys(
    ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Split"),
    OpRule("passthrough", activations=_FIRST),
)
