"""What TensorRT computes in integers or 8-bit floats, and what it stores compressed, by precision.

Explicit quantization: only what a convolution or a product with a constant matrix reads goes through Q/DQ, and the skip
branch of an addition that TensorRT runs at the end of a convolution. Results and biases are floats, so that nothing
stands between a product and what is fused to it; the next reader's Q is fused, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import onnx_ir as ir

from edgeport.errors import UsageError
from edgeport.quantize.groups import sole_consumer
from edgeport.quantize.plan import Kernel, Plan
from edgeport.quantize.scheme import OpRule, Scheme
from edgeport.quantize.scheme_options import mixed
from edgeport.targets.tensorrt.board import Board, board_of
from edgeport.targets.tensorrt.cache_form import in_cache_form

KERNELS: Mapping[str, Kernel] = {
    "fp32": "float32",
    "fp16": "float32",
    "int8": "int8",
    "int8-weights": "int8-weights",
    "int4-weights": "int4-weights",
    "fp8": "fp8",
}
"""Precision -> the kernel of the nodes that hold weights."""
PRECISIONS = tuple(KERNELS)
BLOCK = 128
"""How many int4 weights share a scale, unless the user gives another number."""


def tensorrt_scheme(precision: str, board: Board) -> Scheme:
    """The scheme of a precision.

    Raises:
        UsageError: the target has no such precision.
    """
    if precision not in KERNELS:
        raise UsageError(f"--precision {precision}: the tensorrt target takes {', '.join(PRECISIONS)}")
    kernel = KERNELS[precision]
    if kernel == "float32":
        return Scheme(precision, kernel)
    if kernel in ("int8", "fp8"):
        return Scheme(
            precision,
            kernel,
            _ANCHORS | {"Add": _RESIDUAL},
            symmetric_activations=True,
            per_channel=kernel == "int8",
            needs_data=True,
            observed=partial(in_cache_form, board=board) if kernel == "int8" and board.cache else None,
        )
    weights = {op: replace(rule, activations=()) for op, rule in _ANCHORS.items()}
    if kernel == "int4-weights":
        return Scheme(precision, kernel, {"MatMul": weights["MatMul"]}, block=BLOCK)
    return Scheme(precision, kernel, weights)


def scheme_of_plan(plan: Plan) -> Scheme:
    """The scheme under which a plan was made, but for how its weights are stored."""
    board = board_of(plan.device)
    layers = {name: tensorrt_scheme(precision, board) for name, precision in plan.layers.items()}
    return mixed(tensorrt_scheme(plan.precision, board), layers)


def host(add: ir.Node) -> ir.Node | None:
    """The convolution at the end of whose kernel a residual addition runs; None if there is none.

    x --> Conv --> Conv --> Add(., x)     the second convolution: it reads x beside its own input

    Of two convolutions it is the one that comes later in the graph: the other's result must be there before.
    """
    if len(add.inputs) != 2 or not _same_shape(*add.inputs):
        return None
    ends = [v.producer() for v in add.inputs if v is not None and sole_consumer(v) is add]
    convolutions = [node for node in ends if node is not None and node.op_type == "Conv"]
    if len(convolutions) < 2 or add.graph is None:
        return next(iter(convolutions), None)
    return next(node for node in reversed(add.graph) if node in convolutions)


def _skip(add: ir.Node) -> tuple[int, ...]:
    """Index of the other operand."""
    inner = host(add)
    return tuple(i for i, v in enumerate(add.inputs) if inner is not None and v is not inner.outputs[0])


def _same_shape(a: ir.Value | None, b: ir.Value | None) -> bool:
    return a is not None and b is not None and a.shape is not None and a.shape == b.shape


def _why_not_residual(add: ir.Node) -> str | None:
    return None if host(add) is not None else "it ends no convolution's kernel"


def _why_not_transposed(node: ir.Node) -> str | None:
    group = node.attributes.get("group")
    return "transposed convolutions in groups stay float" if group is not None and group.as_int() != 1 else None


def _why_not_matrix(node: ir.Node) -> str | None:
    weight = node.inputs[1]
    two = weight is not None and weight.const_value is not None and len(weight.const_value.shape) == 2
    return None if two else "only a product with a constant matrix has integers"


_FIRST = (0,)
_ANCHORS = {
    "Conv": OpRule("anchor", weight=1, weight_axis=0, activations=_FIRST, gives_floats=True),
    "ConvTranspose": OpRule(
        "anchor", weight=1, weight_axis=1, activations=_FIRST, gives_floats=True, refuses=_why_not_transposed
    ),
    "MatMul": OpRule("anchor", weight=1, weight_axis=1, activations=_FIRST, gives_floats=True, refuses=_why_not_matrix),
}
_RESIDUAL = OpRule("glue", activations=_skip, gives_floats=True, within=host, refuses=_why_not_residual)
