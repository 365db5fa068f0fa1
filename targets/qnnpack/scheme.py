"""What QNNPACK computes in integers, and where that is worth it.

Kernels read uint8 with one scale and leave uint8 behind; weights are int8 with one scale a channel. Softmax,
normalizations, Gelu and sums over a residual stream that only they read are float: they cost little there, and the sums
keep what 8 bits lose (8 dB in an encoder). So are means over an image and the gates of squeeze-and-excite blocks, which
gain 1 dB. Sums in a CNN are integers: in floats they gain 0.3 dB at best. Masks are never quantized: an Add in front of
a Softmax is no integer one.
Rules of the engine: `targets/qnnpack/reference`, whose tests hold them against torch.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from edgeport.errors import UsageError
from edgeport.passes.edit import constant, get_float, get_int, get_ints, get_str, rank, static_shape
from edgeport.quantize.plan import Kernel, QParams
from edgeport.quantize.scheme import OpRule, Scheme

KERNELS: dict[str, Kernel] = {"fp32": "float32", "int8": "int8", "int8-dynamic": "int8-dynamic"}
"""Precision -> the kernel of the nodes that hold weights."""
PRECISIONS = tuple(KERNELS)
_MAX_GAIN = 200.0
"""QNNPACK's sum takes outputs up to 2^8 times finer than an operand."""


def qnnpack_scheme(precision: str) -> Scheme:
    """The scheme of a precision.

    Raises:
        UsageError: the target has no such precision.
    """
    if precision not in KERNELS:
        raise UsageError(f"--precision {precision}: the qnnpack target takes {', '.join(PRECISIONS)}")
    kernel = KERNELS[precision]
    if kernel == "float32":
        return Scheme(precision, kernel, {}, fusible)
    if kernel == "int8-dynamic":
        return Scheme(precision, kernel, {"MatMul": _ANCHORS["MatMul"]}, fusible, ranged_rows=False)
    rules = _ANCHORS | _GLUE | _PASSTHROUGH
    return Scheme(precision, kernel, rules, fusible, needs_data=True, max_gain=_MAX_GAIN, ranged_rows=False)


def fusible(anchor: ir.Node, activation: ir.Node) -> bool:
    """Whether a kernel's limits do what an activation does."""
    if anchor.op_type not in ("Conv", "ConvTranspose", "MatMul", "Add"):
        return False
    return activation.op_type == "Relu" or (activation.op_type == "Clip" and _why_not_clip(activation) is None)


def clip_bounds(node: ir.Node) -> tuple[float, float] | None:
    """Lower and upper bound of a Clip, infinite where absent; None if one is computed."""
    bounds = [-math.inf, math.inf]
    for index in (1, 2):
        value = node.inputs[index] if len(node.inputs) > index else None
        data = constant(value)
        if value is not None and (data is None or data.size != 1):
            return None
        if data is not None:
            bounds[index - 1] = float(data.reshape(-1)[0])
    return bounds[0], bounds[1]


def _group(node: ir.Node) -> int:
    return get_int(node, "group", 1)


def _why_not_conv(node: ir.Node) -> str | None:
    axes = (rank(node.inputs[0]) or 0) - 2
    if axes == 3:
        return "torch does not save convolutions over three axes that QNNPACK has packed"
    return None if axes in (1, 2) else "only convolutions over one or two axes have an integer kernel"


def _why_not_transposed(node: ir.Node) -> str | None:
    axes = (rank(node.inputs[0]) or 0) - 2
    if axes not in (1, 2):
        return "only transposed convolutions over one or two axes have an integer kernel"
    if _group(node) != 1:
        return "a transposed convolution in groups has no integer kernel with one scale a channel"
    pads = get_ints(node, "pads") or [0] * 2 * axes
    if get_str(node, "auto_pad", "NOTSET") not in ("NOTSET", "") or get_ints(node, "output_shape") is not None:
        return "its padding follows from the shape of its output"
    extra = get_ints(node, "output_padding") or [0] * axes
    steps = [
        max(s, d) for s, d in zip(_per_axis(node, "strides", axes), _per_axis(node, "dilations", axes), strict=True)
    ]
    if pads[:axes] != pads[axes:] or min(pads) < 0 or any(e >= s for e, s in zip(extra, steps, strict=True)):
        return "its paddings are not those of an integer kernel"
    return None


def _per_axis(node: ir.Node, name: str, axes: int) -> list[int]:
    return get_ints(node, name) or [1] * axes


def _why_not_matrix(node: ir.Node) -> str | None:
    weight = constant(node.inputs[1])
    if weight is None:
        return "a product of two activations stays float"
    if weight.ndim != 2:
        return "only two-dimensional weights have an integer kernel"
    return None if (rank(node.inputs[0]) or 0) >= 2 else "a product of a vector has no integer kernel"


def _why_not_sum(node: ir.Node) -> str | None:
    a, b = (static_shape(v) for v in node.inputs[:2])
    return None if a is not None and a == b else "QNNPACK adds tensors of one shape only"


def _why_not_clip(node: ir.Node) -> str | None:
    bounds = clip_bounds(node)
    if bounds is None:
        return "its bounds are computed at run time"
    return None if bounds[0] <= 0 <= bounds[1] else "its range leaves out 0, which integers must hold"


def _why_not_max_pool(node: ir.Node) -> str | None:
    axes = (rank(node.inputs[0]) or 0) - 2
    if axes not in (1, 2):
        return "only pools over one or two axes have an integer kernel"
    if any(out.uses() or out.is_graph_output() for out in node.outputs[1:]):
        return "the places of the maxima have no integer kernel"
    kernel = get_ints(node, "kernel_shape") or []
    if math.prod(kernel) == 1:
        return "QNNPACK has no pool over one element"
    if any(d != 1 for d in _per_axis(node, "dilations", axes)):
        return "QNNPACK pools wrongly with dilation and padding"
    return None


def _why_not_average_pool(node: ir.Node) -> str | None:
    if rank(node.inputs[0]) != 4:
        return "only pools over two axes have an integer kernel"
    pads = get_ints(node, "pads") or [0] * 4
    plain = get_str(node, "auto_pad", "NOTSET") in ("NOTSET", "", "VALID") and not get_int(node, "ceil_mode", 0)
    if any(pads) or not plain or any(d != 1 for d in _per_axis(node, "dilations", 2)):
        return "QNNPACK counts padding as elements"
    if math.prod(get_ints(node, "kernel_shape") or []) == 1:
        return "QNNPACK has no pool over one element"
    return None


def _why_not_hard_sigmoid(node: ir.Node) -> str | None:
    alpha, beta = get_float(node, "alpha", 0.2), get_float(node, "beta", 0.5)
    return None if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5 else "QNNPACK has the slope 1/6 only"


def _why_not_pad(node: ir.Node) -> str | None:
    if get_str(node, "mode", "constant") != "constant":  # repeats elements, as they are
        return None
    value = constant(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] is not None else np.zeros(1)
    return None if value is not None and not value.any() else "only padding with 0 keeps its input's scale"


def _why_not_resize(node: ir.Node) -> str | None:
    mode, places = get_str(node, "mode", "nearest"), get_str(node, "coordinate_transformation_mode", "half_pixel")
    whole = mode == "nearest" and places != "tf_crop_and_resize"
    return None if whole else "only resizing by the nearest element keeps its input's integers"


def _fixed(scale: float, zero_point: int) -> QParams:
    """Parameters that a kernel prescribes for its output, as int8."""
    return QParams("int8", np.asarray(scale, np.float32), np.asarray(zero_point, np.int32))


_FIRST = (0,)
_ANCHORS = {
    "Conv": OpRule("anchor", weight=1, weight_axis=0, activations=_FIRST, refuses=_why_not_conv),
    "ConvTranspose": OpRule("anchor", weight=1, weight_axis=1, activations=_FIRST, refuses=_why_not_transposed),
    "MatMul": OpRule(
        "anchor", weight=1, weight_axis=1, activations=_FIRST, refuses=_why_not_matrix, alone="int8-dynamic"
    ),
}
"""A product that floats feed and read leaves floats behind, and measures its input itself: 2 dB and more in encoders,
at the same speed."""
_glue = OpRule("glue", activations=_FIRST)
_GLUE = {
    "Add": OpRule("glue", result_step=max, refuses=_why_not_sum),
    "Concat": OpRule("glue", shared=True),
    "HardSwish": _glue,
    "LeakyRelu": _glue,
    "Sigmoid": replace(_glue, output=_fixed(1 / 256, -128)),
    "HardSigmoid": replace(_glue, output=_fixed(1 / 256, -128), refuses=_why_not_hard_sigmoid),
    "Tanh": replace(_glue, output=_fixed(1 / 128, 0)),
}
_passthrough = OpRule("passthrough", activations=_FIRST)
_PASSTHROUGH = {
    "Relu": _passthrough,
    "Clip": replace(_passthrough, refuses=_why_not_clip),
    "MaxPool": replace(_passthrough, refuses=_why_not_max_pool),
    "AveragePool": replace(_passthrough, refuses=_why_not_average_pool),
    "Pad": replace(_passthrough, refuses=_why_not_pad),
    "Resize": replace(_passthrough, refuses=_why_not_resize),
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
