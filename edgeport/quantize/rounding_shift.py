"""What rounded weights add to the mean of each output channel; a kernel's bias takes it off again.

    y = (W + dW) x + b     the mean of dW x is dW mean(x), which no later operator averages out: it is one error for a
                           whole channel of an image or sequence

Bias correction after Nagel et al. 2019 (arXiv:1906.04721, section 4.2), with one mean for the whole input: histograms
hold no means of channels, and behind rectifiers, where means are far from 0, those of channels have one sign. Where
means of channels are collected, for palettes and sparse weights, `importance.added_means` takes those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from edgeport.quantize.groups import KernelGroup
from edgeport.quantize.plan import QParams
from edgeport.sample import Array

_CHANNEL_AXIS = {"Conv": 0, "MatMul": 1}
"""Operators of whose weights all of a channel enter every output (but for padding), and the axis of the channels."""
_TELLING = 1 / 32
"""Of the standard deviation: a mean nearer to 0 says nothing about the means of channels."""

Moments = Callable[[str], tuple[float, float] | None]


def rounding_shifts(
    groups: Iterable[KernelGroup],
    qparams: Callable[[str], QParams | None],
    moments: Moments,
) -> Mapping[str, Array]:
    """Shifts of the kernels that have a constant bias, by the name of their anchor.

    Args:
        groups: kernels that run in integers.
        qparams: the parameters of a weight, by name.
        moments: mean and standard deviation of an activation, by name; None where nothing is known of it.

    Returns:
        float32 arrays of shape (channels,), to be taken off the bias.
    """
    shifts: dict[str, Array] = {}
    for group in groups:
        node, bias = group.anchor, group.bias_value
        axis = _CHANNEL_AXIS.get(node.op_type)
        if axis is None or bias is None or bias.const_value is None:
            continue
        x, weight = node.inputs[:2]
        if x is None or weight is None or weight.const_value is None:
            continue
        parameters, known = qparams(weight.name or ""), moments(x.name or "")
        if parameters is None or known is None or not known[0] ** 2 > (_TELLING * known[1]) ** 2:
            continue
        array = weight.const_value.numpy()
        added = parameters.dequantize(parameters.quantize(array)).astype(np.float64) - array
        others = tuple(i for i in range(array.ndim) if i != axis)
        shifts[node.name or ""] = np.asarray(added.sum(axis=others) * known[0], np.float32)
    return shifts
