"""Normalizations: by stored statistics, over an instance, over chosen dimensions, over neighbouring channels."""

from __future__ import annotations

import numpy as np

from edgeport.targets.coreml.evaluator.call import Call
from edgeport.targets.coreml.evaluator.registry import Array, EvaluationError, evaluates


def _by_channel(vector: Array, x: Array) -> Array:
    """A vector along the second dimension of `x`."""
    if vector.shape != x.shape[1:2]:
        raise EvaluationError(f"a parameter of shape {list(vector.shape)} for {x.shape[1]} channels")
    return vector.reshape(-1, *[1] * (x.ndim - 2))


@evaluates("batch_norm")
def batch_norm(call: Call) -> Array:
    """`gamma * (x - mean) / sqrt(variance + epsilon) + beta`, each channel by itself."""
    x = call.array("x")
    gamma, beta = call.maybe("gamma"), call.maybe("beta")
    scale = 1 / np.sqrt(call.array("variance") + np.float32(call.number("epsilon", 1e-5)))
    scale = scale if gamma is None else scale * gamma
    shift = -call.array("mean") * scale
    result: Array = x * _by_channel(scale, x)
    result += _by_channel(shift if beta is None else shift + beta, x)
    return result


@evaluates("instance_norm")
def instance_norm(call: Call) -> Array:
    """`gamma * (x - mean) / sqrt(variance + epsilon) + beta`, statistics of each image's channel."""
    x = call.array("x")
    result = _normalized(x, tuple(range(2, x.ndim)), call.number("epsilon", 1e-5))
    gamma, beta = call.maybe("gamma"), call.maybe("beta")
    result = result if gamma is None else result * _by_channel(gamma, x)
    return result if beta is None else result + _by_channel(beta, x)


@evaluates("layer_norm")
def layer_norm(call: Call) -> Array:
    """`gamma * (x - mean) / sqrt(variance + epsilon) + beta`, statistics over `axes`; gamma and beta span these."""
    x = call.array("x")
    axes = tuple(sorted(axis % x.ndim for axis in call.ints("axes", tuple(range(x.ndim)))))
    result = _normalized(x, axes, call.number("epsilon", 1e-5))
    shape = [size if axis in axes else 1 for axis, size in enumerate(x.shape)]
    gamma, beta = call.maybe("gamma"), call.maybe("beta")
    if gamma is not None:
        result *= gamma.reshape(shape)
    if beta is not None:
        result += beta.reshape(shape)
    return result


def _normalized(x: Array, axes: tuple[int, ...], epsilon: float) -> Array:
    centred: Array = x - x.mean(axis=axes, keepdims=True)
    deviation = np.sqrt((centred * centred).mean(axis=axes, keepdims=True) + np.float32(epsilon))
    centred /= deviation
    return centred


@evaluates("l2_norm")
def l2_norm(call: Call) -> Array:
    """Divides by the square root of the sum of squares over the last three dimensions."""
    x = call.array("x")
    if x.ndim < 3:
        raise EvaluationError(f"an array of rank {x.ndim}, at least 3 is needed")
    squares = (x * x).sum(axis=(-3, -2, -1), keepdims=True)
    result: Array = x / np.sqrt(squares + np.float32(call.number("epsilon", 1e-6)))
    return result


@evaluates("local_response_norm")
def local_response_norm(call: Call) -> Array:
    """`x / (k + alpha / size * (sum of squares over size neighbouring channels)) ** beta`.

    On which side an even window has its odd channel is not documented; it is refused.
    """
    x, size = call.array("x"), call.integer("size")
    if size < 1 or size % 2 == 0:
        raise EvaluationError(f"a window of {size} channels: only odd ones have a documented centre")
    half, channels = size // 2, x.shape[1]
    padded = np.zeros((x.shape[0], channels + 2 * half, *x.shape[2:]), np.float32)
    np.multiply(x, x, out=padded[:, half : half + channels])
    total = np.zeros_like(x)
    for shift in range(size):
        total += padded[:, shift : shift + channels]
    alpha, beta, k = call.number("alpha", 1e-4), call.number("beta", 0.75), call.number("k", 1.0)
    result: Array = x / (np.float32(k) + np.float32(alpha / size) * total) ** np.float32(beta)
    return result
