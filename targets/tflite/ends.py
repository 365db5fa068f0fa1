"""The file's ends: what it takes and gives, in which layout and type."""

from __future__ import annotations

import onnx_ir as ir

from edgeport.targets.tflite.builder import Tensor
from edgeport.targets.tflite.context import Context, Stored
from edgeport.targets.tflite.layout import Layout, channels_last, identity, stored_shape
from edgeport.targets.tflite.value_checks import check_value


def graph_input(ctx: Context, value: ir.Value) -> None:
    """Adds a graph input: float or integer as in the source, in the order that the plan wants."""
    shape = ctx.shape(value)
    check_value(ctx, value, may_be_empty=True)
    layout = input_layout(ctx, value)
    quant = ctx.plan.io_qparams(value)
    dtype = ctx.dtype(value) if quant is None else quant.dtype
    tensor = ctx.builder.tensor(ctx.name(value, layout), stored_shape(shape, layout), dtype, quant)
    ctx.ends[value] = tensor
    if quant is not None and quant.dtype == "uint8":
        inner = ctx.plan.qparams(value.name)
        out = ctx.builder.tensor(f"{value.name}/signed", tensor.shape, "int8", inner)
        ctx.builder.op("QUANTIZE", [tensor], [out], "QuantizeOptions")
        tensor = out
    ctx.remember(value, Stored(tensor, layout))


def input_layout(ctx: Context, value: ir.Value) -> Layout:
    """The order in which the file takes a graph input."""
    rank = ctx.rank(value)
    return channels_last(rank) if rank == 4 and ctx.plan.input_layout == "nhwc" else identity(rank)


def returned(ctx: Context, value: ir.Value) -> Tensor:
    """A graph output in ONNX order, quantized if the plan gives it out so."""
    data = ctx.constant(value)
    if data is not None:
        return ctx.builder.constant(value.name or "output", data)
    quant = ctx.plan.io_qparams(value)
    tensor = ctx.stored(value, identity(ctx.rank(value)), quantized=quant is not None)
    return tensor if quant is None else ctx.rescaled(value, tensor, quant)
