"""Arithmetic and functions of each element."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from edgeport.passes.edit import get_float, get_int
from edgeport.quantize.groups import KernelGroup
from edgeport.targets.qnnpack.context import Context, call
from edgeport.targets.qnnpack.ops.limits import clamped, limited, wants_relu
from edgeport.targets.qnnpack.registry import runs

_LEAST, _LEAST_OF_LARGER, _MOST = 2.0**-14, 2.0**-10, 2.0**8
"""Bounds of the ratios of the operands' scales to the sum's, see `reference.add`."""


def _operands(ctx: Context, group: KernelGroup) -> list[Tensor]:
    return [ctx.quantized(value) for value in group.anchor.inputs]


@runs("Add", inputs=2)
def add(ctx: Context, group: KernelGroup) -> Tensor:
    """Of one shape; through floats where the engine refuses the scales."""
    operands, (scale, zero_point) = _operands(ctx, group), ctx.qparams(group.output)
    ratios = [ctx.qparams(value)[0] / scale for value in group.anchor.inputs if value is not None]
    if all(_LEAST <= r < _MOST for r in ratios) and max(ratios) >= _LEAST_OF_LARGER:
        form = "add_relu" if wants_relu(group) and zero_point < 255 else "add"
        return limited(ctx, group, call(form, *operands, scale, zero_point))
    total = torch.add(*(torch.dequantize(operand) for operand in operands))
    return limited(ctx, group, torch.quantize_per_tensor(total, scale, zero_point, torch.quint8))


@runs("Concat", inputs=None, attributes=("axis",))
def concat(ctx: Context, group: KernelGroup) -> Tensor:
    """Of one scale."""
    return call("cat", _operands(ctx, group), get_int(group.anchor, "axis", 0), *ctx.qparams(group.output))


@runs("Relu")
def relu(ctx: Context, group: KernelGroup) -> Tensor:
    """By itself."""
    return torch.relu(_operands(ctx, group)[0])


@runs("Clip", inputs=3)
def clip(ctx: Context, group: KernelGroup) -> Tensor:
    """By itself."""
    return clamped(ctx, group.anchor, group.output, ctx.quantized(group.anchor.inputs[0]))


@runs("HardSwish")
def hard_swish(ctx: Context, group: KernelGroup) -> Tensor:
    """By a table."""
    return call("hardswish", *_operands(ctx, group), *ctx.qparams(group.output))


@runs("LeakyRelu", attributes=("alpha",))
def leaky_relu(ctx: Context, group: KernelGroup) -> Tensor:
    """torch's own kernel."""
    slope = get_float(group.anchor, "alpha", 0.01)
    return call("leaky_relu", *_operands(ctx, group), slope, False, *ctx.qparams(group.output))


@runs("Sigmoid")
def sigmoid(ctx: Context, group: KernelGroup) -> Tensor:
    """By a table, in steps of 1/256."""
    return torch.sigmoid(_operands(ctx, group)[0])


@runs("HardSigmoid", attributes=("alpha", "beta"))
def hard_sigmoid(ctx: Context, group: KernelGroup) -> Tensor:
    """By a table, in steps of 1/256."""
    return F.hardsigmoid(_operands(ctx, group)[0])


@runs("Tanh")
def tanh(ctx: Context, group: KernelGroup) -> Tensor:
    """By a table, in steps of 1/128."""
    return torch.tanh(_operands(ctx, group)[0])
