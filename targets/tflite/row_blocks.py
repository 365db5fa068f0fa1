"""Neighbouring outputs of a row as channels of one convolution, where a convolution has few channels.

    x [N, H, W, C] -> PAD -> RESHAPE [N, H, W / (s * B), s * B * C] -> CONV_2D, B * O outputs -> RESHAPE [N, H, W', O]

XNNPACK's kernels compute 8 (ARM) or 16 (AVX512) output channels in the time of one. B outputs that lie side by side
read nearly the same inputs, and s * B columns of the input are channels by another name; s is the stride. What the
weights gain in zeros is less than what the kernel wasted: filters of long sequences and large windows of few outputs
take a quarter to a half of the time. An infinite input makes its neighbours NaN, too.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from edgeport.sample import Array
from edgeport.targets.tflite.builder import Tensor
from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.pieces import shaped, sliced
from edgeport.targets.window import Window

_CHOICES = (1, 2, 4, 8, 16)
_TILES = (8, 16)
"""Output channels that kernels compute at once."""
_NARROW = 4
"""Input channels below which a tap costs twice as much a channel."""
_WORTH, _LEAST_SAVED, _LEAST_REUSE = 0.6, 64, 256
"""Share of the time that may remain; products saved for an output, which has to be copied, and for a stored weight."""
_MOST_WEIGHTS = 1 << 18


def outputs_together(win: Window, channels: int, outs: int) -> int:
    """How many outputs of a row to compute as channels; 1 where that is not clearly faster.

    Args:
        win: of two axes.
        channels: of the input.
        outs: output channels.
    """
    if win.dilations[1] != 1:
        return 1
    depth = win.kernel[0] * channels
    costs = {b: _cost(win, channels, outs, b) for b in _CHOICES}
    best = min(_CHOICES, key=lambda b: costs[b])
    saved = (costs[1] - costs[best]) * depth
    weights = best * outs * _width(win, best) * depth
    worth = costs[best] <= _WORTH * costs[1] and saved >= _LEAST_SAVED * outs
    repaid = weights <= _MOST_WEIGHTS and saved * math.prod(win.out) >= _LEAST_REUSE * weights
    return best if worth and repaid else 1


def _width(win: Window, together: int) -> int:
    """Columns that a block of outputs reads, in whole blocks."""
    block = win.strides[1] * together
    return -(-(win.kernel[1] + block - win.strides[1]) // block) * block


def _cost(win: Window, channels: int, outs: int, together: int) -> float:
    """Products, also those computed in vain, for all channels of an output in one row of one input channel."""
    lanes = sum(-(-together * outs // tile) * tile for tile in _TILES) / len(_TILES)
    width = win.kernel[1] if together == 1 else _width(win, together)
    slow = 2 if channels * win.strides[1] * together < _NARROW else 1
    return lanes * width / together * slow


def spread_weights(weights: Array, together: int, stride: int) -> Array:
    """[O, kh, kw, C] -> [B * O, kh, taps, s * B * C]: output j of a block sees its taps j * s columns further right."""
    outs, height, taps, channels = weights.shape
    block = stride * together
    width = -(-(taps + block - stride) // block) * block
    spread = np.zeros((together, outs, height, width, channels), weights.dtype)
    for j in range(together):
        spread[j, :, :, j * stride : j * stride + taps] = weights
    return spread.reshape(together * outs, height, width // block, block * channels)


def blocks_of_rows(ctx: Context, y: ir.Value, data: Tensor, win: Window, together: int) -> tuple[Tensor, Window]:
    """The padded input [N, H, W / (s * B), s * B * C], and the window over it, which pads nothing."""
    batch, height, width, channels = data.shape
    block = win.strides[1] * together
    count, span = -(-win.out[1] // together), _width(win, together) // block
    wanted = (count - 1 + span) * block
    behind = wanted - win.before[1] - width
    if behind < 0:
        data = sliced(ctx, y, data, 2, 0, width + behind)
    pads = [(0, 0), (win.before[0], max(win.after[0], 0)), (win.before[1], max(behind, 0)), (0, 0)]
    if any(p for pair in pads for p in pair):
        padded = ctx.temporary(y, "pad", [d + sum(p) for d, p in zip(data.shape, pads, strict=True)])
        amounts = ctx.builder.constant("const/pads", np.asarray(pads, np.int32))
        ctx.emit("PAD", [data, amounts], [padded], "PadOptions")
        data = padded
    view = shaped(ctx, y, data, (batch, data.shape[1], wanted // block, block * channels))
    over = Window(
        size=view.shape[1:3],
        out=(win.out[0], count),
        kernel=(win.kernel[0], span),
        strides=(win.strides[0], 1),
        dilations=win.dilations,
        before=(0, 0),
    )
    return view, over


def rows_of_blocks(ctx: Context, y: ir.Value, blocks: Tensor, win: Window, outs: int) -> Tensor:
    """The convolution's result [N, H', m, B * O] as [N, H', W', O]."""
    batch, height, count, channels = blocks.shape
    row = shaped(ctx, y, blocks, (batch, height, count * channels // outs, outs))
    return sliced(ctx, y, row, 2, 0, win.out[1])
