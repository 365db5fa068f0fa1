"""What ONNX Runtime's CPU kernels compute in integers and what of it pays, by precision.

Activations are uint8 (on x86 ONNX Runtime turns int8 into it, and then fuses less), weights int8 with a scale a
channel. A convolution in integers gives integers (QLinearConv), and so do the additions and pools around it. A product
with a constant matrix reads integers and gives floats (QGemm): that costs no time, and what follows it in a transformer
keeps its precision. The operators of `_PASSTHROUGH` are those whose Q/DQ ONNX Runtime 1.31 takes off on both sides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import onnx_ir as ir

from edgeport.errors import UsageError
from edgeport.passes.edit import get_int, get_ints, get_str, ints, scalar, static_shape
from edgeport.quantize.plan import Kernel, Plan
from edgeport.quantize.scheme import OpRule, Scheme
from edgeport.quantize.scheme_options import mixed
from edgeport.targets.onnxruntime.device import Device, device_of

KERNELS: Mapping[str, Kernel] = {
    "fp32": "float32",
    "fp16": "fp16-weights",
    "int8": "int8",
    "int8-dynamic": "int8-dynamic",
    "int8-weights": "int8-weights",
    "int4-weights": "int4-weights",
}
"""Precision -> the kernel of the nodes that hold weights."""
PRECISIONS = tuple(KERNELS)
BLOCK = 32
"""How many int4 weights share a scale, unless the user gives another number or it does not divide them."""
LEAST_BLOCK = 16
"""The smallest block of MatMulNBits."""
CLIPPING = 2.0
"""Counting the error of what is clipped twice gains 2 dB in residual networks and costs as much in transformers, which
have to spare."""
_SMALL_TABLE = 1024
"""Elements below which the scales and the conversions of a table cost more than it holds."""


def onnxruntime_scheme(precision: str, device: Device) -> Scheme:
    """The scheme of a precision.

    Raises:
        UsageError: the target has no such precision.
    """
    if precision not in KERNELS:
        raise UsageError(f"--precision {precision}: the onnxruntime target takes {', '.join(PRECISIONS)}")
    kernel = KERNELS[precision]
    if kernel == "float32":
        return Scheme(precision, kernel)
    if kernel == "int8":
        rules = {"Conv": _CONV, "MatMul": _MATMUL} | _GLUE | _PASSTHROUGH | _STORED
        return Scheme(
            precision,
            kernel,
            rules,
            _fusible,
            needs_data=True,
            clipping=CLIPPING,
            weight_steps=device.weight_steps,
        )
    if kernel == "int8-dynamic":
        rules = {"Conv": replace(_CONV, activations=(), kernel="int8-weights"), "MatMul": _MATMUL} | _STORED
        return Scheme(precision, kernel, rules, weight_steps=device.weight_steps)
    rules = {"Conv": replace(_CONV, activations=()), "MatMul": replace(_MATMUL, activations=())} | _STORED
    if kernel == "int4-weights":
        rules = {op: rule if op == "MatMul" else replace(rule, kernel="int8-weights") for op, rule in rules.items()}
        return Scheme(precision, kernel, rules, block=BLOCK, least_block=LEAST_BLOCK)
    return Scheme(precision, kernel, {op: replace(rule, kernel=None) for op, rule in rules.items()})


def scheme_of_plan(plan: Plan) -> Scheme:
    """The scheme under which a plan was made, but for how its weights are stored."""
    device = device_of(plan.device)
    layers = {name: onnxruntime_scheme(precision, device) for name, precision in plan.layers.items()}
    return mixed(onnxruntime_scheme(plan.precision, device), layers)


def _fusible(anchor: ir.Node, activation: ir.Node) -> bool:
    """Whether ONNX Runtime drops an activation whose results a QuantizeLinear clips anyway."""
    if anchor.domain or anchor.op_type not in ("Conv", "Add", "Mul") or activation.domain:
        return False
    if anchor.outputs[0].dtype not in (None, ir.DataType.FLOAT):
        return False
    if activation.op_type == "Relu":
        return True
    if activation.op_type != "Clip":
        return False
    low, high = (scalar(activation.inputs[i]) if len(activation.inputs) > i else None for i in (1, 2))
    return low is not None and high is not None and low <= 0 <= high and low < high


def _conv(node: ir.Node) -> str | None:
    x = node.inputs[0]
    if x is None or x.shape is None or len(x.shape) not in (3, 4, 5):
        return "only convolutions over one to three axes have integer kernels"
    return None


def _matmul(node: ir.Node) -> str | None:
    weight = node.inputs[1]
    if weight is None or weight.const_value is None:
        return "a product of two activations stays float"
    if len(weight.const_value.shape) != 2:
        return "only two-dimensional weights have an integer kernel"
    return None


def _table(node: ir.Node) -> str | None:
    table, ids = node.inputs[:2]
    if table is None or table.const_value is None:
        return "only a constant table can be stored in integers"
    if len(table.const_value.shape) != 2 or get_int(node, "axis", 0) != 0:
        return "only rows of a two-dimensional table are read from integers"
    if ids is None or ids.const_value is not None or table.const_value.size < _SMALL_TABLE:
        return "its table is small"
    return None


def _resize(node: ir.Node) -> str | None:
    return None if get_str(node, "mode", "nearest") == "nearest" else "only nearest resizing has an integer kernel"


def _max_pool(node: ir.Node) -> str | None:
    if any(out.uses() or out.is_graph_output() for out in node.outputs[1:]):
        return "the places of the maxima have no integer kernel"
    return None


def _two_inputs(node: ir.Node) -> str | None:
    return None if len(node.inputs) == 2 else "only two operands have an integer kernel"


def _pool(node: ir.Node) -> str | None:
    x = node.inputs[0]
    if x is None or x.shape is None or len(x.shape) != 4:
        return "only pools over two axes have an integer kernel"
    if get_int(node, "ceil_mode", 0) or set(get_ints(node, "dilations") or (1,)) != {1}:
        return "its windows have no integer kernel"
    return None


def _spatial_mean(node: ir.Node) -> str | None:
    return None if is_spatial_mean(node) else "only the mean over an image has an integer kernel"


def is_spatial_mean(node: ir.Node) -> bool:
    """Whether a ReduceMean is a GlobalAveragePool of an image [N,C,H,W]."""
    shape = static_shape(node.inputs[0])
    axes = ints(node.inputs[1]) if len(node.inputs) > 1 else None
    if shape is None or len(shape) != 4 or axes is None:
        return False
    return sorted(axis % 4 for axis in axes) == [2, 3]


_FIRST = (0,)
_CONV = OpRule("anchor", weight=1, weight_axis=0, activations=_FIRST, refuses=_conv)
_MATMUL = OpRule("anchor", weight=1, weight_axis=1, activations=_FIRST, gives_floats=True, refuses=_matmul)
_stored = OpRule("anchor", weight=1, weight_axis=1, kernel="int8-weights", activations=())
_STORED = {
    "ConvTranspose": _stored,
    "Gather": OpRule("anchor", weight=0, weight_axis=0, kernel="int8-weights", activations=(), refuses=_table),
} | dict.fromkeys(("LSTM", "GRU", "RNN"), replace(_stored, more_weights=(2,)))
"""What ONNX Runtime computes in float only: int8 is how the weights lie in the file."""
_glue = OpRule("glue", activations=_FIRST)
_GLUE = {
    "Add": OpRule("glue", refuses=_two_inputs),
    "Mul": OpRule("glue", refuses=_two_inputs),
    "Concat": OpRule("glue"),
    "GlobalAveragePool": _glue,
    "AveragePool": replace(_glue, refuses=_pool),
    "ReduceMean": replace(_glue, refuses=_spatial_mean),
    "LeakyRelu": _glue,
    "Sigmoid": _glue,
}
_passthrough = OpRule("passthrough", activations=_FIRST)
_PASSTHROUGH = {
    "MaxPool": replace(_passthrough, refuses=_max_pool),
    "Resize": replace(_passthrough, refuses=_resize),
} | dict.fromkeys(
    ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Split", "Identity", "DepthToSpace", "Tile"),
    _passthrough,
)
