"""What TensorRT computes in integers or 8-bit floats, and what it stores compressed, by precision.

Explicit quantization: only what a convolution or a product with a constant matrix reads goes through Q/DQ, and the skip
branch of an addition that TensorRT runs at the end of a convolution. Results and biases are floats, so that nothing
stands between a product and what is fused to it; the next reader's Q is fused, too.
"""

from __future__ import annotations

import math
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
LEAST_KEPT = 30.0
"""dB that an activation must keep in int8: symmetric steps for the whole of it keep 34 and more of most, and 20 where
there are outliers."""
CLIPPING = 2.0
"""Symmetric scales are coarse, so that ranges of least error clip much. Counting that twice gains up to 2 dB, three or
five times no more."""
BLOCK = 128
"""How many int4 weights share a scale, unless the user gives another number or it does not divide them."""
LEAST_BLOCK = 32


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
    # Kernels of TensorRT 8 apply the scales of transposed convolutions along another axis than its parser says
    # (NVIDIA/TensorRT issues 1694 and 2380): one scale is the same along both.
    transposed = replace(_TRANSPOSED, weight_axis=None) if board.dialect == "trt8" else _TRANSPOSED
    if kernel in ("int8", "fp8"):
        rules = {"MatMul": _MATMUL, "Add": _RESIDUAL}
        if kernel == "fp8":
            rules["Conv"] = replace(_CONV, refuses=_why_not_fp8)
        else:
            why_not = _why_not_int8_in_8 if board.dialect == "trt8" else _why_not_int8
            rules |= {"Conv": replace(_CONV, refuses=why_not), "ConvTranspose": transposed}
        return Scheme(
            precision,
            kernel,
            rules,
            symmetric_activations=True,
            per_channel=kernel == "int8",
            needs_data=True,
            least_kept=LEAST_KEPT if kernel == "int8" else None,
            clipping=CLIPPING,
            observed=partial(in_cache_form, board=board) if kernel == "int8" and board.cache else None,
        )
    product = replace(_MATMUL, activations=(), refuses=_why_not_matrix)
    if kernel == "int4-weights":
        return Scheme(precision, kernel, {"MatMul": product}, block=BLOCK, least_block=LEAST_BLOCK)
    filters = {op: replace(rule, activations=()) for op, rule in (("Conv", _CONV), ("ConvTranspose", transposed))}
    return Scheme(precision, kernel, {**filters, "MatMul": product})


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


def _why_not_int8(node: ir.Node) -> str | None:
    """Of a convolution: the shapes that NVIDIA's own tool (ModelOpt 0.47) leaves, for want of fast kernels."""
    into, out, group, window = _filters(node)
    if into >= _FEW and out >= _FEW:
        return None
    if group > 1:
        fast = out % 8 == 0 and min(window, default=0) >= 3
    else:
        first = node.inputs[0] is not None and node.inputs[0].is_graph_input()
        fast = (out % 8 == 0 or into % 8 == 0) and (first or max(into, out) >= _FEW) and len(set(window)) == 1
    return None if fast else f"TensorRT has no fast int8 kernel for {into} to {out} channels and a window of {window}"


def _why_not_int8_in_8(node: ir.Node) -> str | None:
    """The same for TensorRT 8, which builds no volumes with Q/DQ (NVIDIA/TensorRT issues 1726 and 2125)."""
    volume = len(_filters(node)[3]) > 2
    return "TensorRT 8 refuses convolutions over three axes in integers" if volume else _why_not_int8(node)


def _why_not_fp8(node: ir.Node) -> str | None:
    into, out, _, window = _filters(node)
    if min(into, out) > _FEW and math.prod(window) <= 32:
        return None
    return f"TensorRT has no fast fp8 kernel for {into} to {out} channels and a window of {window}"


def _filters(node: ir.Node) -> tuple[int, int, int, tuple[int, ...]]:
    """Input channels of a group, output channels, groups, and window of a convolution."""
    weight, group = node.inputs[1], node.attributes.get("group")
    shape = () if weight is None or weight.const_value is None else weight.const_value.shape.numpy()
    if len(shape) < 3:
        return 0, 0, 1, ()
    return shape[1], shape[0], 1 if group is None else group.as_int(), tuple(shape[2:])


def _why_not_transposed(node: ir.Node) -> str | None:
    _, _, groups, window = _filters(node)
    if len(window) > 2:
        return "TensorRT has no integer kernel for transposed convolutions over three axes"
    return "TensorRT 8 refuses transposed convolutions in groups in integers" if groups > 1 else None


def _why_not_matrix(node: ir.Node) -> str | None:
    weight = node.inputs[1]
    two = weight is not None and weight.const_value is not None and len(weight.const_value.shape) == 2
    return None if two else "only a product with a constant matrix has integers"


def _why_not_product(node: ir.Node) -> str | None:
    """Of a product with a constant matrix, computed in 8 bits; dimensions that are open may be of any size."""
    x, weight = node.inputs[:2]
    if (reason := _why_not_matrix(node)) is not None or weight is None or weight.const_value is None:
        return reason
    depth, columns = weight.const_value.shape.numpy()
    if min(depth, columns) < _FEW:
        return f"TensorRT has no fast 8-bit kernel for a matrix of {depth} by {columns}"
    shape = None if x is None else x.shape
    if shape is not None and (len(shape) < 2 or shape[-2] == 1):
        return "a product of one row is no faster in 8 bits"
    return None


_FIRST = (0,)
_FEW = 16
"""Channels, rows or columns that fill a step of the tensor cores."""
_CONV = OpRule("anchor", weight=1, weight_axis=0, activations=_FIRST, gives_floats=True)
_TRANSPOSED = OpRule(
    "anchor", weight=1, weight_axis=1, activations=_FIRST, gives_floats=True, refuses=_why_not_transposed
)
_MATMUL = OpRule("anchor", weight=1, weight_axis=1, activations=_FIRST, gives_floats=True, refuses=_why_not_product)
_RESIDUAL = OpRule("glue", activations=_skip, gives_floats=True, within=host, refuses=_why_not_residual)
