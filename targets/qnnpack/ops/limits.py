"""Relu and Clip at the end of a kernel: what saturation does not do by itself.

range [0, 6], zero point 0, step 6/255      saturation is the Clip
range [-1, 8], Relu                         the kernel's own Relu, or one behind it
"""

from __future__ import annotations

import math

import onnx_ir as ir
import torch
from torch import Tensor

from edgeport.quantize.groups import KernelGroup
from edgeport.targets.qnnpack.context import Context, step
from edgeport.targets.qnnpack.scheme import clip_bounds


def wants_relu(group: KernelGroup) -> bool:
    """Whether the form of a kernel with a Relu is meant."""
    return group.activation is not None and group.activation.op_type == "Relu"


def limited(ctx: Context, group: KernelGroup, made: Tensor) -> Tensor:
    """The output of a kernel within its activation's limits."""
    return made if group.activation is None else clamped(ctx, group.activation, group.output, made)


def clamped(ctx: Context, activation: ir.Node, value: ir.Value, made: Tensor) -> Tensor:
    """A quantized tensor within the limits of a Relu or Clip; itself where its integers cannot leave them."""
    low, high = (0.0, math.inf) if activation.op_type == "Relu" else clip_bounds(activation) or (-math.inf, math.inf)
    scale, zero_point = ctx.qparams(value)
    least = 0 if low == -math.inf else step(low, scale, zero_point)
    most = 255 if high == math.inf else step(high, scale, zero_point)
    if least <= 0 and most >= 255:
        return made
    if low == 0 and most >= 255:
        return torch.relu(made)
    lowest, highest = (0 - zero_point) * scale, (255 - zero_point) * scale
    # The engine writes the result in the usual order whatever the input's: what lies channels last comes out mixed up.
    return torch.clamp(torch.ops.aten.contiguous(made), max(low, lowest), min(high, highest))
