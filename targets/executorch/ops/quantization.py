"""QuantizeLinear and DequantizeLinear of the plan as the operators by which ExecuTorch's partitioner knows integers.

Where a file of the user's has others (another dtype, one scale a channel of what is computed), they are arithmetic in
float, as in the torch view.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import torch
import torch.ao.quantization.fx._decomposed
from torch import Tensor

from edgeport.passes.edit import get_int
from edgeport.sample import Array
from edgeport.targets.executorch.linear_layers import LINEAR
from edgeport.targets.executorch.registry import VIEW, lowers
from edgeport.torch_view.context import Context

_WEIGHTS = {"Conv": 1, "ConvTranspose": 1, LINEAR: 1}
"""Operators whose kernels read integers with a scale a channel, and which input that is."""
_LOW, _HIGH = -128, 127


@lowers("QuantizeLinear", inputs=3, attributes=("axis", "block_size", "output_dtype", "precision", "saturate"))
def quantize(ctx: Context, node: ir.Node) -> None:
    """To int8 with one scale."""
    parameters = _one_scale(ctx, node)
    if parameters is None or ctx.input_dtype(node) != "float32":
        VIEW["QuantizeLinear"].handler(ctx, node)
        return
    ctx.bind(node, quantized(ctx.read(node, 0), *parameters))


@lowers("DequantizeLinear", inputs=3, attributes=("axis", "block_size", "output_dtype"))
def dequantize(ctx: Context, node: ir.Node) -> None:
    """Of int8 with one scale, and of weights; other constants are the floats that they stand for."""
    data = ctx.constant_of(node.inputs[0])
    if data is not None:
        ctx.values[node.outputs[0]] = _constant(ctx, node, data)  # no alias, which would hide that it is constant
        return
    parameters = _one_scale(ctx, node)
    if parameters is None:
        VIEW["DequantizeLinear"].handler(ctx, node)
        return
    ctx.bind(node, dequantized(ctx.read(node, 0), *parameters))


def quantized(x: Tensor, scale: float, zero: int) -> Tensor:
    """int8 of floats."""
    form = torch.ops.quantized_decomposed.quantize_per_tensor.default
    made: Tensor = form(x, scale, zero, _LOW, _HIGH, torch.int8)
    return made


def dequantized(x: Tensor, scale: float, zero: int) -> Tensor:
    """Floats of int8."""
    form = torch.ops.quantized_decomposed.dequantize_per_tensor.default
    made: Tensor = form(x, scale, zero, _LOW, _HIGH, torch.int8)
    return made


def rounded_by_rows(x: Tensor) -> Tensor:
    """Rounded to int8 at run time: XNNPACK does it for each row by the row's extremes, whatever is written here."""
    choose = torch.ops.quantized_decomposed.choose_qparams.tensor
    parameters = choose(x, _LOW, _HIGH, float(np.finfo(np.float32).eps), torch.int8)
    scale, zero = parameters[0], parameters[1]
    stored = torch.ops.quantized_decomposed.quantize_per_tensor.tensor(x, scale, zero, _LOW, _HIGH, torch.int8)
    made: Tensor = torch.ops.quantized_decomposed.dequantize_per_tensor.tensor(
        stored, scale, zero, _LOW, _HIGH, torch.int8
    )
    return made


def rounded_early(ctx: Context, node: ir.Node, made: Tensor) -> Tensor:
    """What a node's kernel leaves behind, sent through the Q/DQ that follow the node: behind it stand views only.

    XNNPACK looks for the Q right behind the kernel; rounding what is rounded changes nothing.
    """
    uses = node.outputs[0].uses()
    reader = next(iter(uses)).node if len(uses) == 1 else None
    parameters = _one_scale(ctx, reader) if reader is not None and reader.op_type == "QuantizeLinear" else None
    return made if parameters is None else dequantized(quantized(made, *parameters), *parameters)


def _one_scale(ctx: Context, node: ir.Node) -> tuple[float, int] | None:
    """Scale and zero point of int8, None where it is something else."""
    scale = ctx.constant_of(node.inputs[1])
    zero = ctx.constant_of(node.inputs[2]) if ctx.has(node, 2) else None
    if scale is None or zero is None or zero.dtype != np.int8 or scale.dtype != np.float32 or scale.size != 1:
        return None
    return float(scale.reshape(())), int(zero.reshape(()))


def _constant(ctx: Context, node: ir.Node, data: Array) -> Tensor:
    scale, zero = ctx.constant_input(node, 1), ctx.constant_input(node, 2)
    assert scale is not None
    zero = np.zeros(scale.shape, data.dtype) if zero is None else zero
    name = node.inputs[0].name or "weights" if node.inputs[0] is not None else "weights"
    axis, block = get_int(node, "axis", 1), get_int(node, "block_size", 0)
    uses = node.outputs[0].uses()
    as_weights = bool(uses) and all(_WEIGHTS.get(use.node.op_type) == use.idx for use in uses)
    if as_weights and data.dtype == np.int8 and scale.ndim == 1 and not block and data.ndim > 1:
        parts = (ctx.constant(data, name), ctx.constant(scale, f"{name}_scale"))
        zeros = ctx.constant(zero.astype(np.int64), f"{name}_zero")
        form = torch.ops.quantized_decomposed.dequantize_per_channel.default
        made: Tensor = form(*parts, zeros, axis % data.ndim, _LOW + 1, _HIGH, torch.int8)
        return made
    if as_weights and data.dtype.name == "int4" and block and axis % data.ndim == 1 and data.ndim == 2:
        parts = (ctx.constant(data.astype(np.int8), name), ctx.constant(scale, f"{name}_scale"))
        zeros = ctx.constant(np.zeros(scale.shape, np.int32), f"{name}_zero")
        group = torch.ops.quantized_decomposed.dequantize_per_channel_group.default
        restored: Tensor = group(*parts, zeros, -8, 7, torch.int8, block, torch.float32)
        return restored
    return ctx.constant(_restored(data, scale, zero, axis, block), name)


def _restored(data: Array, scale: Array, zero: Array, axis: int, block: int) -> Array:
    """The floats that stored integers stand for, as ONNX defines them."""
    if block:
        scale, zero = (np.repeat(a, block, axis)[tuple(slice(d) for d in data.shape)] for a in (scale, zero))
    elif scale.size > 1:
        shape = [-1 if a == axis % data.ndim else 1 for a in range(data.ndim)]
        scale, zero = scale.reshape(shape), zero.reshape(shape)
    elif data.ndim:
        scale, zero = scale.reshape([1] * data.ndim), zero.reshape([1] * data.ndim)
    real: Array = ((data.astype(np.int64) - zero.astype(np.int64)) * scale).astype(scale.dtype)
    return real
