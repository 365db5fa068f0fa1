"""QuantizeLinear and DequantizeLinear, which the plan is written out as."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_int
from edgeport.sample import Array
from edgeport.targets.coreai.context import Context
from edgeport.targets.coreai.program import Given, Tensor
from edgeport.targets.coreai.registry import Refused, lowers
from edgeport.targets.coreai.views import signed

_STORED = ("int8", "uint8", "int4", "uint4")


@lowers("QuantizeLinear", inputs=3, attributes=("axis", "output_dtype", "precision", "saturate"))
def quantize(ctx: Context, node: ir.Node) -> None:
    """Core AI's own, on constant parameters; `saturate` is for 8-bit floats, `precision` for the division."""
    x, parameters = ctx.read(node, 0), _parameters(ctx, node)
    ctx.bind(node, _applied("quantize", node, x, parameters, parameters[1].dtype.name))


@lowers("DequantizeLinear", inputs=3, attributes=("axis", "block_size", "output_dtype"))
def dequantize(ctx: Context, node: ir.Node) -> None:
    """Of what is computed by Core AI's own; constants stay stored as they are, biases become floats."""
    value = node.inputs[0]
    data = ctx.constant(value)
    scale, zero = _parameters(ctx, node)
    dtype = ctx.own_dtype(node.outputs[0])
    if data is None:
        ctx.bind(node, _applied("dequantize", node, ctx.read(node, 0), (scale, zero), dtype))
        return
    axis, block = get_int(node, "axis", 1) % max(data.ndim, 1), get_int(node, "block_size", 0)
    if scale.ndim and not block:
        shape = [-1 if a == axis else 1 for a in range(data.ndim)]
        scale, zero = scale.reshape(shape), zero.reshape(shape)
    elif not scale.ndim:
        scale, zero = scale.reshape([1] * data.ndim), zero.reshape([1] * data.ndim)
    ctx.bind(node, stored(ctx, data, scale, zero, dtype))


def stored(ctx: Context, data: Array, scale: Array, zero: Array, dtype: str) -> Tensor:
    """A constant kept in few bits.

    Args:
        ctx: the lowering's state.
        data: integers.
        scale: of blocks of them, of the same rank.
        zero: zero points, shape of `scale`.
        dtype: of the result.
    """
    kind = data.dtype.name
    if kind not in _STORED or not data.ndim:
        reach = [d // s for d, s in zip(data.shape, scale.shape, strict=True)]
        spread = [np.kron(p, np.ones(reach, p.dtype)) for p in (scale.astype(np.float64), zero.astype(np.int64))]
        return ctx.builder.constant(((data.astype(np.int64) - spread[1]) * spread[0]).astype(dtype))
    wide = "uint8" if kind.startswith("u") else "int8"
    integers, offset = (ctx.builder.constant(a.astype(wide), kind) for a in (data, zero))
    operands: list[Given] = [integers, ctx.builder.constant(scale.astype(dtype)), offset, np.zeros(scale.shape, dtype)]
    return ctx.builder.step("blockwise_shift_scale", operands, data.shape, dtype)


def _parameters(ctx: Context, node: ir.Node) -> tuple[Array, Array]:
    scale, zero = ctx.constant_input(node, 1), ctx.constant_input(node, 2)
    assert scale is not None
    if zero is None:
        raise Refused("a missing zero point is not supported", "give one, of the dtype of the integers")
    if get_int(node, "block_size", 0) == 0 and scale.ndim > 1:
        raise Refused(f"scales of shape {list(scale.shape)} are not supported")
    return scale, zero


def _applied(kind: str, node: ir.Node, x: Tensor, parameters: tuple[Array, Array], dtype: str) -> Tensor:
    """One of the two operations on what is computed; all axes are named where one scale serves the tensor."""
    scale, zero = parameters
    if zero.dtype.name not in ("int8", "uint8", "int16"):
        raise Refused(f"quantization to {zero.dtype.name} is not supported")
    if get_int(node, "block_size", 0):
        raise Refused("activations in blocks are not supported")
    axis = signed(list(range(x.rank)) if scale.ndim == 0 else get_int(node, "axis", 1) % x.rank)
    real = x.dtype if kind == "quantize" else dtype
    return x.builder.step(kind, [x, scale.astype(real), zero, np.zeros(scale.shape, real), axis], x.shape, dtype)
