"""Elements moved between space, depth and batch; padding."""

from __future__ import annotations

import numpy as np

from edgeport.targets.coreml.evaluator.call import Call
from edgeport.targets.coreml.evaluator.registry import Array, EvaluationError, evaluates


def _image(call: Call) -> tuple[Array, tuple[int, int, int, int]]:
    x = call.array("x")
    if x.ndim != 4:
        raise EvaluationError(f"an array of rank {x.ndim}, 4 is needed")
    n, c, h, w = x.shape
    return x, (n, c, h, w)


@evaluates("pixel_shuffle")
def pixel_shuffle(call: Call) -> Array:
    """PyTorch's PixelShuffle: channel c * f * f + i * f + j becomes row i, column j of a block."""
    x, (n, c, h, w) = _image(call)
    f = call.integer("upscale_factor")
    return x.reshape(n, -1, f, f, h, w).transpose(0, 1, 4, 2, 5, 3).reshape(n, c // (f * f), h * f, w * f)


@evaluates("pixel_unshuffle")
def pixel_unshuffle(call: Call) -> Array:
    """The inverse of `pixel_shuffle`."""
    x, (n, c, h, w) = _image(call)
    f = call.integer("downscale_factor")
    return x.reshape(n, c, h // f, f, w // f, f).transpose(0, 1, 3, 5, 2, 4).reshape(n, c * f * f, h // f, w // f)


@evaluates("depth_to_space")
def depth_to_space(call: Call) -> Array:
    """TensorFlow's order: channel (i * b + j) * c + k becomes channel k, row i, column j of a block."""
    x, (n, c, h, w) = _image(call)
    b = call.integer("block_size")
    return x.reshape(n, b, b, -1, h, w).transpose(0, 3, 4, 1, 5, 2).reshape(n, c // (b * b), h * b, w * b)


@evaluates("space_to_depth")
def space_to_depth(call: Call) -> Array:
    """The inverse of `depth_to_space`."""
    x, (n, c, h, w) = _image(call)
    b = call.integer("block_size")
    return x.reshape(n, c, h // b, b, w // b, b).transpose(0, 3, 5, 1, 2, 4).reshape(n, c * b * b, h // b, w // b)


@evaluates("space_to_batch")
def space_to_batch(call: Call) -> Array:
    """TensorFlow's order: after padding, row i, column j of a block go to batch (i * q + j) * n + image."""
    x, (n, c, _, _) = _image(call)
    p, q = call.ints("block_shape")
    top, bottom, left, right = call.ints("paddings")
    x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    h, w = x.shape[2] // p, x.shape[3] // q
    return x.reshape(n, c, h, p, w, q).transpose(3, 5, 0, 1, 2, 4).reshape(n * p * q, c, h, w)


@evaluates("batch_to_space")
def batch_to_space(call: Call) -> Array:
    """The inverse of `space_to_batch`, then cropped."""
    x, (n, c, h, w) = _image(call)
    p, q = call.ints("block_shape")
    top, bottom, left, right = call.ints("crops")
    x = x.reshape(p, q, n // (p * q), c, h, w).transpose(2, 3, 4, 0, 5, 1).reshape(n // (p * q), c, h * p, w * q)
    return x[:, :, top : h * p - bottom, left : w * q - right]


@evaluates("pad")
def pad(call: Call) -> Array:
    """Pads the last dimensions with a constant, with a reflection that leaves the border out, or with the border."""
    x, amounts, mode = call.array("x"), call.ints("pad"), call.text("mode", "constant")
    filler = call.maybe("constant_val")
    if len(amounts) % 2 or len(amounts) > 2 * x.ndim or min(amounts, default=0) < 0:
        raise EvaluationError(f"padding {list(amounts)} of an array of rank {x.ndim}")
    rest = x.ndim - len(amounts) // 2
    widths = [(0, 0)] * rest + list(zip(amounts[::2], amounts[1::2], strict=True))
    shape = call.room(tuple(size + a + b for size, (a, b) in zip(x.shape, widths, strict=True)))
    if mode == "constant":
        result = np.full(shape, 0 if filler is None else filler.reshape(()), x.dtype)
        result[tuple(slice(a, a + size) for size, (a, _) in zip(x.shape, widths, strict=True))] = x
        return result
    limit = {"reflect": -1, "replicate": 0}.get(mode)
    if limit is None:
        raise EvaluationError(f"unknown mode {mode!r}")
    if any(max(width) > max(size + limit, 0) for size, width in zip(x.shape, widths, strict=True)):
        raise EvaluationError(f"mode {mode!r} with padding {list(amounts)}, more than {list(x.shape)} has")
    return np.pad(x, widths, "reflect" if mode == "reflect" else "edge")
