"""Constant weights as the plan stores them: float, float16, integers, or integers decoded on the device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from edgeport.sample import Array
from edgeport.targets.tflite.builder import Tensor
from edgeport.targets.tflite.context import Context


def planned_weights(
    ctx: Context, node: ir.Node, value: ir.Value, arrange: Callable[[Array], Array], axis: int, hybrid: bool = True
) -> Tensor:
    """Constant weights for a kernel.

    Args:
        ctx: the lowering.
        node: the anchor; its planned kernel decides how they are stored.
        value: the constant.
        arrange: moves the ONNX array (any dtype) into the kernel's layout.
        axis: where the channel axis (`QParams.axis`) lies after `arrange`.
        hybrid: whether the kernel is fast on int8 weights with float activations.
    """
    data = ctx.constant(value)
    assert data is not None
    source, kernel = ctx.plan.qparams(value.name), ctx.plan.kernel(node.name)
    name = value.name or "weight"
    if source is None or not kernel.startswith("int"):
        return float_weights(ctx, node, f"{name}|w", arrange(data))
    moved = source if source.axis is None else replace(source, axis=axis)
    if source.block is not None:
        moved = replace(source, scale=arrange(source.scale), zero_point=arrange(source.zero_point), axis=1 - axis)
    stored = ctx.builder.constant(f"{name}|w", arrange(source.quantize(data)), moved)
    decode = kernel == "int8-weights" or (kernel == "int8-dynamic" and not hybrid)
    return decoded(ctx, stored) if decode else stored


def float_weights(ctx: Context, node: ir.Node, name: str, data: Array) -> Tensor:
    """Weights that the node's kernel reads in float, stored as fp16 where the plan says so."""
    if ctx.plan.kernel(node.name) == "fp16-weights":
        return decoded(ctx, ctx.builder.constant(f"{name}|h", data.astype(np.float16)))
    return ctx.builder.constant(name, data)


def decoded(ctx: Context, tensor: Tensor) -> Tensor:
    """The float form of a stored constant, computed on the device (once, when the delegate packs weights)."""
    if tensor.index not in ctx.decoded:
        out = ctx.builder.tensor(f"{tensor.name}|f", tensor.shape, "float32")
        ctx.builder.op("DEQUANTIZE", [tensor], [out], "DequantizeOptions")
        ctx.decoded[tensor.index] = out
    return ctx.decoded[tensor.index]
