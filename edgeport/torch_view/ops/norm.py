"""Normalizations."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir
import torch
import torch.nn.functional as F
from torch import Tensor

from edgeport.passes.edit import get_float, get_int
from edgeport.torch_view.context import Context
from edgeport.torch_view.dtypes import to
from edgeport.torch_view.ops.elementwise import floats
from edgeport.torch_view.registry import Refused, lowers


def _operand(ctx: Context, node: ir.Node, index: int, trained: bool = True) -> Tensor:
    """A parameter of a normalization in the dtype of the data."""
    x = ctx.read(node, index, trained)
    return x if ctx.input_dtype(node, index) == ctx.input_dtype(node) else to(x, ctx.held(node.outputs[0]))


@lowers("BatchNormalization", inputs=5, attributes=("epsilon", "momentum", "training_mode"))
def batch_norm(ctx: Context, node: ir.Node) -> None:
    """With mean and variance as they are; `momentum` is for training."""
    if get_int(node, "training_mode", 0):
        raise Refused("training_mode=1 is not supported", "export the model in inference mode")
    floats(ctx, node)
    if ctx.rank(node.inputs[0]) < 2:
        raise Refused("BatchNormalization without a channel axis is not supported")
    weight, bias = _operand(ctx, node, 1), _operand(ctx, node, 2)
    mean, variance = _operand(ctx, node, 3, False), _operand(ctx, node, 4, False)
    epsilon = get_float(node, "epsilon", 1e-5)
    ctx.bind(node, torch.batch_norm(ctx.read(node, 0), weight, bias, mean, variance, False, 0.0, epsilon, False))


@lowers("InstanceNormalization", inputs=3, attributes=("epsilon",))
def instance_norm(ctx: Context, node: ir.Node) -> None:
    """Over the spatial axes."""
    floats(ctx, node)
    if ctx.rank(node.inputs[0]) < 3:
        raise Refused("InstanceNormalization without a spatial axis is not supported")
    epsilon = get_float(node, "epsilon", 1e-5)
    weight, bias = _operand(ctx, node, 1), _operand(ctx, node, 2)
    ctx.bind(node, torch.instance_norm(ctx.read(node, 0), weight, bias, None, None, True, 0.0, epsilon, False))


def _check_stash(ctx: Context, node: ir.Node) -> None:
    """torch sums halves in float32, which is ONNX's `stash_type` 1."""
    if ctx.input_dtype(node) == "float16" and get_int(node, "stash_type", 1) != 1:
        raise Refused("a stash_type other than float32 is not supported")


def _stashed(ctx: Context, node: ir.Node) -> Tensor:
    """The data in float32 where it is in halves."""
    x = ctx.read(node, 0)
    return to(x, torch.float32) if ctx.input_dtype(node) == "float16" else x


@lowers("GroupNormalization", inputs=3, attributes=("epsilon", "num_groups", "stash_type"))
def group_norm(ctx: Context, node: ir.Node) -> None:
    """Over groups of channels."""
    floats(ctx, node)
    _check_stash(ctx, node)
    groups, epsilon = get_int(node, "num_groups", 1), get_float(node, "epsilon", 1e-5)
    ctx.bind(node, torch.group_norm(ctx.read(node, 0), groups, _operand(ctx, node, 1), _operand(ctx, node, 2), epsilon))


def _plain(ctx: Context, node: ir.Node, shape: Sequence[int]) -> bool:
    """Whether scale and bias have just the normalized shape."""
    given = [v for v in node.inputs[1:3] if v is not None]
    return all(ctx.shape(v) == tuple(shape) for v in given)


@lowers("LayerNormalization", inputs=3, outputs=3, attributes=("axis", "epsilon", "stash_type"))
def layer_norm(ctx: Context, node: ir.Node) -> None:
    """Over the axes from `axis` on; spelled out where torch's own lacks something."""
    floats(ctx, node)
    _check_stash(ctx, node)
    rank, epsilon = ctx.rank(node.inputs[0]), get_float(node, "epsilon", 1e-5)
    axes = tuple(range(get_int(node, "axis", -1) % rank, rank))
    shape = _last(node.inputs[0], len(axes))
    weight, bias = _operand(ctx, node, 1), _operand(ctx, node, 2) if ctx.has(node, 2) else None
    if shape and _plain(ctx, node, shape) and not ctx.wanted(node, 1) and not ctx.wanted(node, 2):
        ctx.bind(node, F.layer_norm(ctx.read(node, 0), shape, weight, bias, epsilon))
        return
    x = _stashed(ctx, node)
    middle = torch.mean(x, axes, True)
    moved = torch.sub(x, middle)
    inverse = torch.rsqrt(torch.add(torch.mean(torch.mul(moved, moved), axes, True), epsilon))
    scaled = torch.mul(to(torch.mul(moved, inverse), ctx.held(node.outputs[0])), weight)
    more = [
        to(found, ctx.held(node.outputs[i])) if ctx.wanted(node, i) else None
        for i, found in ((1, middle), (2, inverse))
    ]
    ctx.bind(node, scaled if bias is None else torch.add(scaled, bias), *more)


def _last(value: ir.Value | None, count: int) -> list[int]:
    """Sizes of the last axes, nothing if one is unknown; the batch may be of any size."""
    dims = [] if value is None or value.shape is None else list(value.shape)[-count:]
    sizes = [d for d in dims if isinstance(d, int)]
    return sizes if len(sizes) == count else []


@lowers("RMSNormalization", inputs=2, attributes=("axis", "epsilon", "stash_type"))
def rms_norm(ctx: Context, node: ir.Node) -> None:
    """Divided by the root of the mean square over the axes from `axis` on."""
    floats(ctx, node)
    _check_stash(ctx, node)
    rank = ctx.rank(node.inputs[0])
    axes, x = tuple(range(get_int(node, "axis", -1) % rank, rank)), _stashed(ctx, node)
    inverse = torch.rsqrt(torch.add(torch.mean(torch.mul(x, x), axes, True), get_float(node, "epsilon", 1e-5)))
    normal = torch.mul(x, inverse)
    if ctx.input_dtype(node) == "float16":
        normal = to(normal, torch.float16)
    ctx.bind(node, torch.mul(normal, _operand(ctx, node, 1)))


@lowers("LpNormalization", attributes=("axis", "p"))
def lp_norm(ctx: Context, node: ir.Node) -> None:
    """Divided by a norm; 0 where that is 0."""
    floats(ctx, node)
    x, axis, p = ctx.read(node, 0), get_int(node, "axis", -1), get_int(node, "p", 2)
    if p == 1:
        norm = torch.sum(torch.abs(x), axis, True)
    elif p == 2:
        norm = torch.sqrt(torch.sum(torch.mul(x, x), axis, True))
    else:
        raise Refused(f"p={p} is not supported")
    ctx.bind(node, torch.div(x, torch.where(torch.eq(norm, 0.0), torch.ones_like(norm), norm)))


@lowers("LRN", attributes=("alpha", "beta", "bias", "size"))
def lrn(ctx: Context, node: ir.Node) -> None:
    """Squares averaged over neighbouring channels; torch's own places windows of an even size differently."""
    floats(ctx, node)
    x, size = ctx.read(node, 0), get_int(node, "size", 1)
    squares = torch.reshape(torch.mul(x, x), (*ctx.shape(node.outputs[0])[:2], -1))
    around = torch.constant_pad_nd(squares, ((0, 0, (size - 1) // 2, size - 1 - (size - 1) // 2)), 0.0)
    means = torch.reshape(F.avg_pool2d(around, (size, 1), (1, 1)), ctx.shape(node.outputs[0]))
    base = torch.add(torch.mul(means, get_float(node, "alpha", 1e-4)), get_float(node, "bias", 1.0))
    ctx.bind(node, torch.div(x, torch.pow(base, get_float(node, "beta", 0.75))))
