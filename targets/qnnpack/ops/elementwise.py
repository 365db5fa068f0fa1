"""Arithmetic and functions of each element."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from edgeport.passes.edit import get_float, get_int
from edgeport.quantize.groups import KernelGroup
from edgeport.targets.qnnpack.context import Context
from edgeport.targets.qnnpack.ops.limits import clamped, limited, wants_relu
from edgeport.targets.qnnpack.registry import runs

_quantized: Any = torch.ops.quantized


def _operands(ctx: Context, group: KernelGroup) -> list[Tensor]:
    return [ctx.quantized(value) for value in group.anchor.inputs]


@runs("Add", inputs=2)
def add(ctx: Context, group: KernelGroup) -> Tensor:
    """Of one shape."""
    form = _quantized.add_relu if wants_relu(group) else _quantized.add
    return limited(ctx, group, form(*_operands(ctx, group), *ctx.qparams(group.output)))


@runs("Mul", inputs=2)
def mul(ctx: Context, group: KernelGroup) -> Tensor:
    """torch's own integer kernel, which broadcasts."""
    return _quantized.mul(*_operands(ctx, group), *ctx.qparams(group.output))


@runs("Concat", inputs=None, attributes=("axis",))
def concat(ctx: Context, group: KernelGroup) -> Tensor:
    """Of one scale."""
    return _quantized.cat(_operands(ctx, group), get_int(group.anchor, "axis", 0), *ctx.qparams(group.output))


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
    return _quantized.hardswish(*_operands(ctx, group), *ctx.qparams(group.output))


@runs("LeakyRelu", attributes=("alpha",))
def leaky_relu(ctx: Context, group: KernelGroup) -> Tensor:
    """torch's own kernel."""
    slope = get_float(group.anchor, "alpha", 0.01)
    return _quantized.leaky_relu(*_operands(ctx, group), slope, False, *ctx.qparams(group.output))


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
