"""GridSample: torch's own but for one mode whose rounding of ties differs.

ONNX operator GridSample-22. ONNX Runtime rounds to the nearest pixel before it reflects, torch behind that.
"""

from __future__ import annotations

import math

import onnx_ir as ir
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from edgeport.passes.edit import get_int, get_str
from edgeport.torch_view.context import Context
from edgeport.torch_view.dtypes import to
from edgeport.torch_view.ops.elementwise import floats
from edgeport.torch_view.registry import Refused, lowers

_MODES = {"linear": "bilinear", "bilinear": "bilinear", "nearest": "nearest", "cubic": "bicubic", "bicubic": "bicubic"}


@lowers("GridSample", attributes=("align_corners", "mode", "padding_mode"), inputs=2)
def sampled(ctx: Context, node: ir.Node) -> None:
    """Images and volumes of float32."""
    floats(ctx, node, 0, 1)
    x, grid = ctx.read(node, 0), ctx.read(node, 1)
    mode, padding = _MODES.get(get_str(node, "mode", "linear")), get_str(node, "padding_mode", "zeros")
    if mode is None or padding not in ("zeros", "border", "reflection"):
        raise Refused(f"mode={get_str(node, 'mode', 'linear')!r} with padding_mode={padding!r} is unknown")
    n, aligned = ctx.rank(node.inputs[0]) - 2, bool(get_int(node, "align_corners", 0))
    if n not in (2, 3) or (n == 3 and mode == "bicubic"):
        raise Refused(f"mode {mode} over {n} spatial dimensions is not supported")
    if ctx.input_dtype(node) != ctx.input_dtype(node, 1):
        raise Refused("an image and a grid of different dtypes are not supported", "cast both to float32")
    if mode == "nearest" and padding == "reflection":
        ctx.bind(node, _nearest_reflected(ctx, node, x, grid, aligned))
        return
    ctx.bind(node, grid_sample(x, grid, mode=mode, padding_mode=padding, align_corners=aligned))


def _nearest_reflected(ctx: Context, node: ir.Node, x: Tensor, grid: Tensor, aligned: bool) -> Tensor:
    """Pixels by their numbers: [N, 1, P] of them out of [N, C, H*W]."""
    image, made = node.inputs[0], ctx.shape(node.outputs[0])
    assert image is not None  # it was read
    lengths = ctx.shape(image)[2:]
    total = to(torch.mul(torch.select(grid, -1, 0), 0), torch.int64)
    for axis, length in enumerate(lengths):  # the grid names the last axis first
        at = torch.select(grid, -1, len(lengths) - 1 - axis)
        at = torch.round(_reflected(torch.round(_coordinate(at, length, aligned)), length, aligned))
        at = torch.clamp(to(at, torch.int64), 0, length - 1)
        total = torch.add(torch.mul(total, length), at)
    index = torch.broadcast_to(torch.reshape(total, [made[0], 1, -1]), [*made[:2], math.prod(made[2:])])
    pixels = torch.reshape(x, [*made[:2], math.prod(lengths)])
    return torch.reshape(torch.gather(pixels, 2, index), made)


def _coordinate(g: Tensor, length: int, aligned: bool) -> Tensor:
    """From [-1, 1] to pixels, in the order of ONNX Runtime's operations, which decides ties."""
    if aligned:
        return torch.mul(torch.mul(torch.add(g, 1), 0.5), length - 1)
    return torch.mul(torch.sub(torch.mul(torch.add(g, 1), length), 1), 0.5)


def _reflected(at: Tensor, length: int, aligned: bool) -> Tensor:
    """Folded between the limits: a triangle wave."""
    low, high = (0.0, length - 1.0) if aligned else (-0.5, length - 0.5)
    span = high - low
    if span == 0:
        return torch.clamp(at, low, high)
    way = torch.abs(torch.sub(at, low))
    rest = torch.sub(way, torch.mul(torch.floor(torch.mul(way, 1 / (2 * span))), 2 * span))
    return torch.rsub(torch.abs(torch.sub(rest, span)), span + low)
