"""What XNNPACK computes in integers, and what it stores compressed, by precision.

Integers stand where ExecuTorch's partitioner finds a kernel for them: convolutions, products with constant matrices,
additions and what moves data between them. Softmax, norms, sigmoids and products of two activations have float
kernels only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import onnx_ir as ir

from edgeport.errors import UsageError
from edgeport.passes.edit import constant, get_int, get_ints, static_shape
from edgeport.quantize.plan import Kernel
from edgeport.quantize.scheme import OpRule, Scheme
from edgeport.targets.weight_rules import why_not_filters, why_not_matrix

KERNELS: dict[str, Kernel] = {
    "fp32": "float32",
    "int8": "int8",
    "int8-dynamic": "int8-dynamic",
    "int4-weights": "int4-dynamic",
}
PRECISIONS = tuple(KERNELS)
BLOCK = 32
"""How many int4 weights share a scale: XNNPACK takes multiples of 32."""


GAIN = 128.0
"""XNNPACK's kernels scale their results up by less than 256 steps; half of that leaves room for rounding."""
LEAST_RATIO = 2.0**-10
"""Least step of an operand of an addition, in steps of the sum."""


def executorch_scheme(precision: str) -> Scheme:
    """The scheme of a precision.

    Raises:
        UsageError: the ExecuTorch target has no such precision.
    """
    if precision not in KERNELS:
        raise UsageError(f"--precision {precision}: the executorch target takes {', '.join(PRECISIONS)}")
    kernel = KERNELS[precision]
    if kernel == "float32":
        return Scheme(precision, kernel, {}, fusible)
    if kernel == "int8":
        return Scheme(
            precision, kernel, _ANCHORS | _GLUE, fusible, needs_data=True, max_gain=GAIN, max_product_gain=GAIN
        )
    rules = {"MatMul": replace(_ANCHORS["MatMul"], gives_floats=True)}
    if kernel == "int8-dynamic":
        return Scheme(precision, kernel, rules, fusible)
    return Scheme(precision, kernel, rules, fusible, block=BLOCK, least_block=BLOCK)


def fusible(anchor: ir.Node, activation: ir.Node) -> bool:
    """Whether an activation belongs to the kernel before it, so that integers come after it."""
    if anchor.op_type not in ("Conv", "ConvTranspose", "MatMul", "Add", "Sub", "Mul"):
        return False
    if activation.op_type == "Relu":
        return True
    return (
        activation.op_type == "Clip" and anchor.op_type in ("Conv", "ConvTranspose", "MatMul") and bounded(activation)
    )


def bounded(clip: ir.Node) -> bool:
    """Whether a Clip has two constant bounds in order."""
    bounds = [constant(clip.inputs[i]) if i < len(clip.inputs) else None for i in (1, 2)]
    low, high = bounds
    return low is not None and high is not None and low.dtype == "float32" and bool(low <= high)


def means_planes(node: ir.Node) -> bool:
    """Whether a ReduceMean is that over the planes of an image, which has a kernel of its own."""
    if node.op_type == "GlobalAveragePool":
        return len(static_shape(node.inputs[0]) or ()) == 4
    axes = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if axes is None or len(static_shape(node.inputs[0]) or ()) != 4:
        return False
    return sorted(int(a) % 4 for a in axes.reshape(-1)) == [2, 3]


def _why_not_convolution(node: ir.Node) -> str | None:
    shape = static_shape(node.inputs[1])
    if shape is None or len(shape) > 4:
        return "XNNPACK convolves over one or two axes"
    if node.op_type == "ConvTranspose" and get_int(node, "group", 1) != 1:
        return "XNNPACK has one scale a channel for transposed convolutions without groups only"
    return why_not_filters(node)


def _why_not_mean(node: ir.Node) -> str | None:
    return None if means_planes(node) else "XNNPACK has means over the planes of images only"


def _why_not_max_pool(node: ir.Node) -> str | None:
    kernel, strides = get_ints(node, "kernel_shape") or [], get_ints(node, "strides")
    if len(kernel) != 2 or any(s > k for s, k in zip(strides or (), kernel, strict=False)):
        return "XNNPACK pools over two axes, in steps no longer than the window"
    if any(out.uses() or out.is_graph_output() for out in node.outputs[1:]):
        return "the places of the largest are wanted"
    return None


def _why_not_slice(node: ir.Node) -> str | None:
    steps = constant(node.inputs[4]) if len(node.inputs) > 4 else None
    if len(node.inputs) > 4 and (steps is None or (steps != 1).any()):
        return "XNNPACK slices in steps of 1"
    return None


def _why_not_pair(node: ir.Node) -> str | None:
    return (
        "one of its operands is constant" if any(v is None or v.const_value is not None for v in node.inputs) else None
    )


def _coarsest(scales: Sequence[float]) -> float:
    return max(scales)


_FIRST = (0,)
_ANCHORS = {
    "Conv": OpRule("anchor", weight=1, weight_axis=0, activations=_FIRST, refuses=_why_not_convolution),
    "ConvTranspose": OpRule("anchor", weight=1, weight_axis=1, activations=_FIRST, refuses=_why_not_convolution),
    "MatMul": OpRule(
        "anchor", weight=1, weight_axis=1, activations=_FIRST, refuses=why_not_matrix, alone="int8-dynamic"
    ),
}
_GLUE = {
    "Add": OpRule("glue", result_step=_coarsest, refuses=_why_not_pair),
    "Sub": OpRule("glue", result_step=_coarsest, refuses=_why_not_pair),
    "Concat": OpRule("glue", shared=True),
    "GlobalAveragePool": OpRule("glue", activations=_FIRST, result_step=_coarsest, refuses=_why_not_mean),
    "ReduceMean": OpRule("glue", activations=_FIRST, result_step=_coarsest, refuses=_why_not_mean),
    "Relu": OpRule("glue", activations=_FIRST, shared=True),
    "MaxPool": OpRule("passthrough", activations=_FIRST, refuses=_why_not_max_pool),
    "Slice": OpRule("passthrough", activations=_FIRST, refuses=_why_not_slice),
} | dict.fromkeys(
    ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"),
    OpRule("passthrough", activations=_FIRST),
)
