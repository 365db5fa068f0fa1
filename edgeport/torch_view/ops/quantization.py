"""QuantizeLinear and DequantizeLinear, which the plan is written out as, in the arithmetic of ONNX Runtime.

    x --> div(scale) --> round, ties to even --> add(zero point) --> clamp --> integers
    integers --> float32 --> sub(zero point) --> mul(scale) --> y

The division is one: the reciprocal of a scale is another number, which rounds ties elsewhere. ONNX operators
QuantizeLinear-24 and DequantizeLinear-24.
"""

from __future__ import annotations

import onnx_ir as ir
import torch
from torch import Tensor

from edgeport.passes.edit import get_int
from edgeport.torch_view.context import Context
from edgeport.torch_view.dtypes import NARROW, to
from edgeport.torch_view.registry import Refused, lowers
from edgeport.torch_view.sizes import size

_FLOATS = (0, ir.DataType.FLOAT.value)
"""Values of `precision` with which the division is in float32."""
_INTEGERS = (*NARROW, "int8", "uint8", "int16", "uint16", "int32")


@lowers("QuantizeLinear", inputs=3, attributes=("axis", "block_size", "output_dtype", "precision", "saturate"))
def quantize(ctx: Context, node: ir.Node) -> None:
    """Of numbers in float32; `saturate` is for 8-bit floats, which are refused, `output_dtype` is the output's."""
    dtype = node.outputs[0].dtype
    if dtype is None or not dtype.is_integer():
        raise Refused(f"quantization to {dtype} is not supported", "quantize to int8", "unsupported-dtype")
    if get_int(node, "precision", 0) not in _FLOATS:
        raise Refused("a precision other than float32 is not supported", "leave it out", "unsupported-attribute")
    scaled = torch.div(to(ctx.read(node, 0), torch.float32), to(parameter(ctx, node, 1), torch.float32))
    total = torch.round(scaled)
    if ctx.has(node, 2):
        total = torch.add(total, to(parameter(ctx, node, 2), torch.float32))
    ctx.bind(node, to(torch.clamp(total, float(dtype.min), float(dtype.max)), ctx.held(node.outputs[0])))


@lowers("DequantizeLinear", inputs=3, attributes=("axis", "block_size", "output_dtype"))
def dequantize(ctx: Context, node: ir.Node) -> None:
    """Differences of integers of up to 16 bits are exact in float32; those of 32 bits are taken before."""
    kind = ctx.input_dtype(node)
    if kind not in _INTEGERS:
        raise Refused(f"dequantization of {kind} is not supported", "quantize to int8", "unsupported-dtype")
    work = torch.int32 if kind == "int32" else torch.float32
    x = to(_read(ctx, node, 0), work)
    if ctx.has(node, 2):
        x = torch.sub(x, to(parameter(ctx, node, 2), work))
    product = torch.mul(to(x, torch.float32), to(parameter(ctx, node, 1), torch.float32))
    ctx.bind(node, to(product, ctx.held(node.outputs[0])))


def _read(ctx: Context, node: ir.Node, index: int) -> Tensor:
    """An input; constants of 4 bits are widened to what holds them."""
    value = node.inputs[index]
    data = ctx.constant_of(value)
    if value is None or data is None or data.dtype.name not in NARROW:
        return ctx.read(node, index, trained=index == 0)  # scales are the plan's, no weights
    return ctx.constant(data.astype("uint8" if data.dtype.name.startswith("u") else "int8"), value.name or "integers")


def parameter(ctx: Context, node: ir.Node, index: int) -> Tensor:
    """A scale or zero point of a Q/DQ node, shaped to stand beside the input.

    Raises:
        Refused: its shape is neither that of one number, of one a channel, nor of one a block.
    """
    given, rank = _read(ctx, node, index), ctx.rank(node.inputs[0])
    value = node.inputs[index]
    own, block = ctx.rank(value), get_int(node, "block_size", 0)
    if own == 0 and not block:
        return given
    axis = get_int(node, "axis", 1)
    if not -rank <= axis < rank:
        if own == 1 and size(value, 0) == 1 and not block:
            return torch.reshape(given, [])
        raise Refused(f"axis {axis} is none of {rank} axes", "export the model again")
    axis %= rank
    if own == 1 and not block:
        if size(value, 0) == 1:
            return torch.reshape(given, [])
        return torch.reshape(given, [-1 if a == axis else 1 for a in range(rank)])
    if own != rank or not block:
        raise Refused(f"a parameter of {own} axes with block_size={block} is not supported")
    spread = torch.repeat_interleave(given, block, dim=axis)
    return torch.narrow(spread, axis, 0, size(node.inputs[0], axis))
