"""Weights as the engine packs them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor

from edgeport.quantize.groups import KernelGroup
from edgeport.quantize.plan import QParams
from edgeport.quantize.planner import constant
from edgeport.targets.qnnpack.context import Context

_quantized: Any = torch.ops.quantized
_PACK = {
    ("Conv", 1): _quantized.conv1d_prepack,
    ("Conv", 2): _quantized.conv2d_prepack,
    ("ConvTranspose", 1): _quantized.conv_transpose1d_prepack,
    ("ConvTranspose", 2): _quantized.conv_transpose2d_prepack,
}


def packed_filters(ctx: Context, group: KernelGroup, geometry: tuple[list[int], ...], groups: int, axes: int) -> Tensor:
    """Filters of a convolution with its bias.

    Args:
        ctx: the lowering's state.
        group: the kernel.
        geometry: strides, padding (of a transposed convolution also output padding) and dilations.
        groups: number of groups.
        axes: number of axes of space.
    """
    weight = _weight(group)
    transposed = group.anchor.op_type == "ConvTranspose"
    if transposed:
        strides, padding, extra, dilations = geometry
        arguments: tuple[object, ...] = (strides, padding, extra, dilations, groups)
    else:
        arguments = (*geometry, groups)
    shape = constant(weight).shape
    bias = _bias(ctx, group, shape[1] * groups if transposed else shape[0])
    form = _PACK[group.anchor.op_type, axes]
    stored = _stored(ctx, weight, flipped=False)
    key = _key(ctx, group, *(tuple(g) for g in geometry), groups)
    return ctx.packed(key, f"{weight.name}_packed", lambda: form(stored, bias, *arguments))


def packed_matrix(ctx: Context, group: KernelGroup) -> Tensor:
    """The matrix of a linear layer, which torch has the other way round, with its bias."""
    weight = _weight(group)
    bias = _bias(ctx, group, constant(weight).shape[1])
    stored = _stored(ctx, weight, flipped=True)
    return ctx.packed(_key(ctx, group), f"{weight.name}_packed", lambda: _quantized.linear_prepack(stored, bias))


def _key(ctx: Context, group: KernelGroup, *more: object) -> tuple[object, ...]:
    """What two kernels with one pack must have in common.

    The engine packs for the input's scale and, when it does, also keeps the factors to the output's, which it does not
    look at again: kernels of one input and two outputs would compute with the factors of whichever ran first.
    """
    x, bias = group.anchor.inputs[0], group.bias_value
    scale = tuple(
        None if value is None or ctx.plan.qparams(value.name) is None else ctx.qparams(value)
        for value in (x, group.output)
    )
    shifted = group.anchor.name if group.anchor.name in ctx.plan.shifts else None
    return (_weight(group).name, None if bias is None else bias.name, scale, shifted, *more)


def _weight(group: KernelGroup) -> ir.Value:
    weight = group.anchor.inputs[1]
    assert weight is not None
    return weight


def _bias(ctx: Context, group: KernelGroup, channels: int) -> Tensor | None:
    """float32, shape (channels,); the engine makes integers of it."""
    value = group.bias_value
    if value is None:
        return None
    flat = np.broadcast_to(constant(value).reshape(-1), (channels,))
    return torch.from_numpy(np.array(ctx.plan.bias(group.anchor.name, flat), np.float32))


def _stored(ctx: Context, weight: ir.Value, *, flipped: bool) -> Tensor:
    """The integers of a constant with their scales; of kernels that share them, one tensor."""
    if (weight, flipped) not in ctx.stored:
        qparams = ctx.plan.qparams(weight.name)
        assert qparams is not None, f"the plan has no parameters for {weight.name}"
        ctx.stored[weight, flipped] = _tensor(qparams.quantize(constant(weight)), qparams, flipped)
    return ctx.stored[weight, flipped]


def _tensor(integers: np.ndarray[Any, Any], qparams: QParams, flipped: bool) -> Tensor:
    axis = qparams.axis
    if flipped:
        integers, axis = integers.T, None if axis is None else 1 - axis
    values = torch.from_numpy(np.ascontiguousarray(integers))
    if axis is None:
        made: Tensor = torch._make_per_tensor_quantized_tensor(values, float(qparams.scale), 0)
        return made
    scales = torch.from_numpy(qparams.scale.astype(np.float64))
    made = torch._make_per_channel_quantized_tensor(values, scales, torch.zeros(len(scales), dtype=torch.int64), axis)
    return made
