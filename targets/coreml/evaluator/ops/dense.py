"""Products of matrices: linear, matmul, einsum, attention."""

from __future__ import annotations

import numpy as np

from edgeport.targets.coreml.evaluator.accumulate import product
from edgeport.targets.coreml.evaluator.call import Call
from edgeport.targets.coreml.evaluator.registry import Array, EvaluationError, evaluates


@evaluates("linear")
def linear(call: Call) -> Array:
    """`x @ weight.T + bias` on the last dimension of `x`."""
    x, weight = call.array("x"), call.array("weight")
    if x.ndim == 0 or weight.ndim != 2 or x.shape[-1] != weight.shape[1]:
        raise EvaluationError(f"weights of shape {list(weight.shape)} on {list(x.shape)}")
    result = product(call, x.reshape(-1, x.shape[-1]), weight.T).reshape(*x.shape[:-1], weight.shape[0])
    bias = call.maybe("bias")
    if bias is not None:
        result += bias
    return result


@evaluates("matmul")
def matmul(call: Call) -> Array:
    """A product of matrices, batches broadcast as in numpy, either side transposed (of no effect on a vector)."""
    x, y = call.array("x"), call.array("y")
    transpose_x, transpose_y = call.flag("transpose_x", False), call.flag("transpose_y", False)
    x = np.swapaxes(x, -1, -2) if transpose_x and x.ndim > 1 else x
    y = np.swapaxes(y, -1, -2) if transpose_y and y.ndim > 1 else y
    return product(call, x, y)


@evaluates("einsum")
def einsum(call: Call) -> Array:
    """The one product that MIL has under this name: `nchw,nwhu->nchu`, or the same without `n`; n and h broadcast."""
    values, equation = call.arrays("values"), call.text("equation").replace(" ", "")
    if len(values) != 2 or not _is_channel_product(equation, values[0].ndim):
        raise EvaluationError(f"equation {equation!r}; MIL defines nchw,nwhu->nchu and chw,whu->chu only")
    x, y = (np.moveaxis(value, -2, -3) for value in values)
    return np.moveaxis(product(call, x, y), -3, -2)


def _is_channel_product(equation: str, rank: int) -> bool:
    """Whether an equation is `nchw,nwhu->nchu` (rank 4) or `chw,whu->chu` (rank 3) with any letters."""
    known = {4: "nchw,nwhu->nchu", 3: "chw,whu->chu"}.get(rank)
    if known is None or len(known) != len(equation):
        return False
    pairs = set(zip(known, equation, strict=True))
    return len(pairs) == len(set(known)) == len(set(equation)) and {(",", ","), ("-", "-"), (">", ">")} <= pairs


@evaluates("scaled_dot_product_attention")
def scaled_dot_product_attention(call: Call) -> Array:
    """`softmax(query @ key.T / sqrt(e) + mask) @ value`; a boolean mask lets pass what is true."""
    query, key, value, mask = call.array("query"), call.array("key"), call.array("value"), call.maybe("attn_mask")
    scores = product(call, query / np.float32(np.sqrt(query.shape[-1])), np.swapaxes(key, -1, -2))
    if mask is not None:
        scores += np.where(mask, np.float32(0), np.float32(-np.inf)) if mask.dtype == np.bool_ else mask
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    return product(call, weights, value)
