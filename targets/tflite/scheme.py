"""What LiteRT's kernels under XNNPACK demand, and which of them are worth having in integers.

Integer kernels that fall to LiteRT's reference code (Softmax, Gelu, HardSwish, AveragePool, Div, ...) are slower
than the float ones, so those operators stay float islands. Rules of the kernels: LiteRT quantization
specification (symmetric per-channel weights in [-127, 127], asymmetric int8 activations, int32 bias) and the
XNNPACK delegate's list of quantized operators.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from edgeport.errors import UsageError
from edgeport.inner import SCORES, WEIGHTS
from edgeport.passes.attention_parts import why_whole
from edgeport.quantize.plan import Kernel, QParams
from edgeport.quantize.scheme import Inner, OpRule, Scheme
from edgeport.targets.tflite.fusion import clip_bounds, fusible

KERNELS: dict[str, Kernel] = {
    "fp32": "float32",
    "fp16": "fp16-weights",
    "int8": "int8",
    "int8-dynamic": "int8-dynamic",
    "int8-weights": "int8-weights",
    "int4-weights": "int4-dynamic",
    "int16x8": "int16x8",
}
"""Precision -> the kernel of the nodes that hold weights."""

_BLOCK = 32
"""Of int4 weights, unless the user gives another: 2 to 4 dB better than one scale a channel, for 1/8 more bytes."""
_SMALL_TABLE = 1024
"""Elements below which the scales and the conversions of a table cost more than it holds."""
_MAX_GAIN = 100.0
"""XNNPACK's Add, Sub and Mul take outputs up to 2^8 times finer than their operands. LiteRT's own, which then run, keep
results in int16 while they add the zero point: 255 steps of an operand at a gain above 2^7 wrap around there."""
_MAX_PRODUCT_GAIN = 250.0
"""XNNPACK creates no convolution or product whose output's scale is 2^8 times finer than a step of its sums."""


def tflite_scheme(precision: str) -> Scheme:
    """The scheme of a precision.

    Raises:
        UsageError: the TFLite target has no such precision.
    """
    if precision not in KERNELS:
        raise UsageError(f"--precision {precision}: the tflite target takes {', '.join(KERNELS)}")
    kernel = KERNELS[precision]
    if kernel == "float32":
        return Scheme(precision, kernel, {}, fusible)
    if kernel == "int8":
        rules = _ANCHORS | _TABLES | _PRODUCTS | _GLUE | _PASSTHROUGH | _EXTREMES
        return replace(_limited(precision, kernel, rules), max_product_gain=_MAX_PRODUCT_GAIN)
    if kernel == "int16x8":
        rules = _ANCHORS | _TABLES | _GLUE_16 | _PASSTHROUGH_16
        return replace(_limited(precision, kernel, rules), symmetric_activations=True)
    rules = _ANCHORS | _TABLES
    if kernel == "int4-dynamic":
        return Scheme(precision, kernel, {op: _beside_int4(op, r) for op, r in rules.items()}, fusible, block=_BLOCK)
    return Scheme(precision, kernel, {op: replace(rule, kernel=None) for op, rule in rules.items()}, fusible)


def _limited(precision: str, kernel: Kernel, rules: Mapping[str, OpRule]) -> Scheme:
    return Scheme(precision, kernel, rules, fusible, needs_data=True, max_gain=_MAX_GAIN)


def _beside_int4(op: str, rule: OpRule) -> OpRule:
    """XNNPACK has int4 for FULLY_CONNECTED only; LiteRT's other kernels decode int4 at every run."""
    kernels: dict[str, Kernel | None] = {"MatMul": None, "Gather": "int4-weights"}
    return replace(rule, kernel=kernels.get(op, rule.kernel or "int8-weights"))


def fixed_int8(scale: float, zero_point: int) -> QParams:
    """Parameters that a kernel prescribes for its output."""
    return QParams("int8", np.asarray(scale, np.float32), np.asarray(zero_point, np.int32))


def _conv(node: ir.Node) -> str | None:
    x = node.inputs[0]
    if x is None or x.shape is None or len(x.shape) not in (3, 4, 5):
        return "only convolutions over one to three axes have integer kernels"
    if len(x.shape) == 5 and _grouped(node):
        return "a grouped convolution over volumes has no integer kernel"
    return None


def _conv_transpose(node: ir.Node) -> str | None:
    x = node.inputs[0]
    if x is None or x.shape is None or len(x.shape) not in (3, 4) or _grouped(node):
        return "only an ungrouped ConvTranspose over one or two axes has an integer kernel"
    return None


def _grouped(node: ir.Node) -> bool:
    group = node.attributes.get("group")
    return group is not None and group.as_int() != 1


def _matmul(node: ir.Node) -> str | None:
    weight = node.inputs[1]
    if weight is None or weight.const_value is None:
        return "a product of two activations stays float"
    if len(weight.const_value.shape) != 2:
        return "only two-dimensional weights have an integer kernel"
    return None


def _product(node: ir.Node) -> str | None:
    a, b = node.inputs[:2]
    if a is None or b is None or a.const_value is not None:
        return "a product of constant rows with an activation stays float"
    ranks = [None if v.shape is None else len(v.shape) for v in (a, b)]
    if any(rank is None or not 2 <= rank <= 5 for rank in ranks):
        return "only products of matrices in two to five dimensions have an integer kernel"
    return None


def _table(node: ir.Node) -> str | None:
    table, ids = node.inputs[:2]
    axis = node.attributes.get("axis")
    if table is None or table.const_value is None:
        return "only a constant table has a kernel on integers"
    if len(table.const_value.shape) != 2 or (axis is not None and axis.as_int() != 0):
        return "only rows of a two-dimensional table have a kernel on integers"
    if ids is None or ids.const_value is not None or table.const_value.size < _SMALL_TABLE:
        return "its table is small"
    return None


def _clip(node: ir.Node) -> str | None:
    bounds = clip_bounds(node)
    if bounds is None:
        return "its bounds are computed at run time"
    if not bounds[0] <= 0 <= bounds[1]:
        return "its range leaves out 0, which integer activations must hold"
    return None


def _elu(node: ir.Node) -> str | None:
    alpha = node.attributes.get("alpha")
    if alpha is not None and alpha.as_float() != 1.0:
        return "its integer kernel takes alpha = 1"
    return None


def _resize(node: ir.Node) -> str | None:
    mode = node.attributes.get("mode")
    if mode is not None and mode.as_string() not in ("nearest", "linear"):
        return "only nearest and linear resizing have integer kernels"
    return None


def _max_pool(node: ir.Node) -> str | None:
    if any(out.uses() or out.is_graph_output() for out in node.outputs[1:]):
        return "the places of the maxima have no integer kernel"
    return None


def _pad(node: ir.Node) -> str | None:
    mode = node.attributes.get("mode")
    if mode is not None and mode.as_string() != "constant":  # repeats elements, as they are
        return None
    value = node.inputs[2] if len(node.inputs) > 2 else None
    if value is not None and (value.const_value is None or float(value.const_value.numpy().reshape(-1)[0]) != 0):
        return "only padding with 0 keeps its input's quantization parameters"
    return None


_FIRST = (0,)
_ANCHORS = {
    "Conv": OpRule("anchor", weight=1, weight_axis=0, activations=_FIRST, refuses=_conv),
    "ConvTranspose": OpRule("anchor", weight=1, weight_axis=1, activations=_FIRST, refuses=_conv_transpose),
    "MatMul": OpRule("anchor", weight=1, weight_axis=1, activations=_FIRST, refuses=_matmul),
}
_TABLES = {"Gather": OpRule("anchor", weight=0, weight_axis=0, kernel="int8-weights", activations=(), refuses=_table)}
"""Embeddings: one scale a row."""
_PRODUCTS = {
    "MatMul": replace(
        _ANCHORS["MatMul"],
        alone="int8-dynamic",
        unweighted=OpRule("anchor", activations=(0, 1), symmetric=(1,), alone="float32", refuses=_product),
    ),
    "Attention": OpRule(
        "anchor",
        activations=(0, 1, 2),
        symmetric=(1, 2),
        inner=(Inner(SCORES), Inner(WEIGHTS, fixed_int8(1 / 256, -128))),
        refuses=why_whole,
    ),
}
"""XNNPACK's integer BATCH_MATMUL takes right operands with zero point 0 only: K and V."""
_recurrent = OpRule("anchor", weight=1, weight_axis=1, more_weights=(2,), kernel="int8-dynamic", activations=_FIRST)
_ANCHORS |= dict.fromkeys(("LSTM", "GRU", "RNN"), _recurrent)
"""Recurrent states feed their own errors back, so they and the gates stay float; the products run in integers."""
_glue = OpRule("glue", activations=_FIRST)
_GLUE = {
    "Add": OpRule("glue", result_step=max),
    "Sub": OpRule("glue", result_step=max),
    "Mul": OpRule("glue", result_step=math.prod),
    "Concat": OpRule("glue", shared=True),
    "ReduceMean": _glue,
    "GlobalAveragePool": _glue,
    "Relu": _glue,
    "Clip": replace(_glue, refuses=_clip),
    "LeakyRelu": _glue,
    "Elu": replace(_glue, refuses=_elu),
    "Swish": _glue,
    "Sigmoid": replace(_glue, output=fixed_int8(1 / 256, -128)),
    "Tanh": replace(_glue, output=fixed_int8(1 / 128, 0)),
}
_passthrough = OpRule("passthrough", activations=_FIRST)
_PASSTHROUGH = {
    "MaxPool": replace(_passthrough, refuses=_max_pool),
    "Pad": replace(_passthrough, refuses=_pad),
    "Resize": replace(_passthrough, refuses=_resize),
} | dict.fromkeys(
    (
        "Reshape",
        "Flatten",
        "Squeeze",
        "Unsqueeze",
        "Transpose",
        "Slice",
        "Split",
        "Identity",
        "DepthToSpace",
        "SpaceToDepth",
    ),
    _passthrough,
)
_EXTREMES = dict.fromkeys(("GlobalMaxPool", "ReduceMax", "ReduceMin"), _passthrough)
_half_open = QParams("int16", np.asarray(1 / 32768, np.float32), np.asarray(0, np.int32))
_GLUE_16 = {
    op: _GLUE[op] for op in ("Add", "Sub", "Mul", "Concat", "ReduceMean", "GlobalAveragePool", "Relu", "LeakyRelu")
}
_GLUE_16 |= dict.fromkeys(("Sigmoid", "Tanh"), replace(_glue, output=_half_open))
_PASSTHROUGH_16 = {op: rule for op, rule in _PASSTHROUGH.items() if op not in ("DepthToSpace", "SpaceToDepth")}
"""LiteRT's reference kernels, and those of microcontrollers, have these in int16."""
