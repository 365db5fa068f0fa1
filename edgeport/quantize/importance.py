"""How much each weight's error counts: the power E[x**2] of the input channel that it multiplies.

The squared error of a product's output, for inputs whose channels are uncorrelated:

    E[(sum of dw_i * x_i)**2] = sum of dw_i**2 * E[x_i**2]
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgeport.quantize.groups import KernelGroup
from edgeport.quantize.plan import Compression
from edgeport.sample import Array


class ChannelMoments(Protocol):
    """What is known about the channels of a tensor: float64 arrays of shape (channels,)."""

    @property
    def mean(self) -> npt.NDArray[np.float64]:
        """Means."""

    @property
    def mean_square(self) -> npt.NDArray[np.float64]:
        """Mean squares."""


Channels = Callable[[str, int], ChannelMoments | None]
"""From a tensor's name and channel axis: what is known about its channels."""

_LEAST = 0.001
"""Of the mean importance: samples are few, and a channel that was silent in them may speak later."""
_CHANNEL_AXIS: Mapping[str, int] = {
    "Conv": 1,
    "ConvTranspose": 1,
    "MatMul": -1,
    "Gemm": -1,
    "LSTM": -1,
    "GRU": -1,
    "RNN": -1,
}
"""Operator -> the axis of its first input that its second, the weights, is multiplied along."""

_OUTPUT_AXIS: Mapping[str, int] = {"Conv": 0, "MatMul": 1}
"""Operators of whose weights all of a channel enter every output (but for padding), and the axis of the channels."""


def channel_axis(node: ir.Node, index: int) -> tuple[str, int] | None:
    """The activation whose channels meet the constant at input `index`, and their axis; None if there is none."""
    x = node.inputs[0] if node.inputs else None
    axis = _CHANNEL_AXIS.get(node.op_type)
    if index != 1 or axis is None or x is None or x.const_value is not None or x.dtype != ir.DataType.FLOAT:
        return None
    if node.op_type == "Gemm" and _integer(node, "transA", 0):
        return None
    return x.name or "", axis


def importance(weight: ir.Value, groups: Iterable[KernelGroup], channels: Channels) -> npt.NDArray[np.float64] | None:
    """What the squared error of each weight counts, broadcastable to the weight and with mean 1.

    Args:
        weight: a constant.
        groups: the kernels that use it.
        channels: of the activations.

    Returns:
        None where nothing is known about a kernel's input.
    """
    total: npt.NDArray[np.float64] | None = None
    for group in groups:
        known = _moments(group.anchor, weight, channels)
        shaped = None if known is None else _beside(group.anchor, weight, known.mean_square)
        if shaped is None or not np.isfinite(shaped).all() or not shaped.any():
            return None
        total = shaped if total is None else total + shaped
    return None if total is None else np.maximum(total / total.mean(), _LEAST)


def added_means(
    weight: ir.Value, stored: Compression, groups: Iterable[KernelGroup], channels: Channels
) -> Mapping[str, Array]:
    """What stored weights add to the mean of each output channel of the kernels that have a constant bias.

    A bias can take it off again (Nagel et al. 2019, arXiv:1906.04721, section 4.2): E[dW x] = dW E[x].

    Args:
        weight: a constant.
        stored: how it is stored, which changes it.
        groups: the kernels that use it.
        channels: of the activations.

    Returns:
        Name of the anchor -> float32 array of shape (channels,).
    """
    means: dict[ir.Node, npt.NDArray[np.float64]] = {}
    for group in groups:
        node, bias = group.anchor, group.bias_value
        known = _moments(node, weight, channels)
        if node.op_type not in _OUTPUT_AXIS or bias is None or bias.const_value is None or known is None:
            continue
        shaped = _beside(node, weight, known.mean)
        if shaped is not None and np.isfinite(shaped).all():
            means[node] = shaped
    if not means:
        return {}
    assert weight.const_value is not None
    array = weight.const_value.numpy()
    added = stored.restored(array).astype(np.float64) - array
    found = {}
    for node, mean in means.items():
        others = tuple(i for i in range(array.ndim) if i != _OUTPUT_AXIS[node.op_type])
        found[node.name or ""] = np.asarray((added * mean).sum(axis=others), np.float32)
    return found


def _moments(node: ir.Node, weight: ir.Value, channels: Channels) -> ChannelMoments | None:
    index = next(i for i, value in enumerate(node.inputs) if value is weight)
    source = channel_axis(node, index)
    return None if source is None else channels(*source)


def _beside(node: ir.Node, weight: ir.Value, power: Array) -> npt.NDArray[np.float64] | None:
    """The figure of the channel that each weight multiplies; None where there are not as many as the weights have."""
    assert weight.const_value is not None
    shape = weight.const_value.numpy().shape
    groups = _integer(node, "group", 1)
    if node.op_type == "Conv" and power.size == groups * shape[1]:
        mine = np.repeat(power.reshape(groups, shape[1]), shape[0] // groups, axis=0)
        return mine.reshape(*mine.shape, *[1] * (len(shape) - 2))
    if node.op_type == "ConvTranspose" and power.size == shape[0]:
        return power.reshape(-1, *[1] * (len(shape) - 1))
    rows = node.op_type == "MatMul" or (node.op_type == "Gemm" and not _integer(node, "transB", 0))
    if rows and len(shape) >= 2 and power.size == shape[-2]:
        return power.reshape(-1, 1)
    if node.op_type in ("Gemm", "LSTM", "GRU", "RNN") and not rows and power.size == shape[-1]:
        return power
    return None


def _integer(node: ir.Node, name: str, default: int) -> int:
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_int()
