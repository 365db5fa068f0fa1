"""A whole residual network in the integer reference against torch's engine: one flipped bit anywhere would spread."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qnnpack_engine import engine, generator, stored, tensor, torch, weights

from edgeport.quantize.plan import QParams
from edgeport.targets.qnnpack import reference

pytestmark = pytest.mark.filterwarnings("ignore")
ONE = [1, 1]


def fitting(real: Any) -> QParams:
    """The parameters of these floats' range."""
    return reference.choose_qparams(float(real.min()), float(real.max()))


def scale(qparams: QParams) -> tuple[float, int]:
    return float(qparams.scale), int(qparams.zero_point)


@pytest.mark.parametrize("seed", range(4))
def test_residual_network(seed: int) -> None:
    """Quantize, ten times (depthwise 3x3 with relu, 1x1, residual sum), mean, linear, sigmoid."""
    rng = generator("network", seed)
    channels = 24
    real = rng.standard_normal((2, channels, 13, 11)).astype(np.float32)
    x_q = QParams("uint8", np.asarray(0.031, np.float32), np.asarray(127, np.int32))

    with engine():
        ours = reference.quantize(real, x_q, machine="desktop")
        theirs = torch.quantize_per_tensor(torch.from_numpy(real), *scale(x_q), torch.quint8)
        for _ in range(10):
            spread, branch, branch_q, branch_ours = float(x_q.scale) * 50, theirs, x_q, ours
            for shape, groups, pad, relu in (
                ((channels, 1, 3, 3), channels, ONE, True),
                ((channels, channels, 1, 1), 1, [0, 0], False),
            ):
                w, w_q = weights(rng, *shape)
                bias = (rng.standard_normal(channels) * spread).astype(np.float32)
                kernel = torch.from_numpy(w_q.dequantize(w))
                real = torch.conv2d(branch.dequantize(), kernel, torch.from_numpy(bias), ONE, pad, ONE, groups)
                y_q = fitting(torch.relu(real) if relu else real)
                integer: Any = reference.quantize_bias(bias, branch_q, w_q)
                branch_ours = reference.conv(
                    branch_ours,
                    w,
                    integer,
                    branch_q,
                    w_q,
                    y_q,
                    machine="desktop",
                    strides=ONE,
                    padding=pad,
                    dilations=ONE,
                    groups=groups,
                    relu=relu,
                )
                run = torch.ops.quantized.conv2d_relu if relu else torch.ops.quantized.conv2d
                packed = torch.ops.quantized.conv2d_prepack(
                    tensor(w, w_q), torch.from_numpy(bias), ONE, pad, ONE, groups
                )
                branch, branch_q = run(branch, packed, *scale(y_q)), y_q
            sum_q = fitting(theirs.dequantize() + branch.dequantize())
            ours = reference.add(ours, branch_ours, x_q, branch_q, sum_q)
            theirs, x_q = torch.ops.quantized.add(theirs, branch, *scale(sum_q)), sum_q
        np.testing.assert_array_equal(ours, stored(theirs, x_q))
        assert np.unique(ours).size > 100  # neither saturated nor constant

        pooled, theirs = reference.global_avg_pool(ours, x_q, machine="desktop"), theirs.mean([2, 3])
        w, w_q = weights(rng, 10, channels)
        y_q = fitting(theirs.dequantize() @ torch.from_numpy(w_q.dequantize(w)).T)
        ours = reference.linear(pooled, w, None, x_q, w_q, y_q, machine="desktop")
        theirs = torch.ops.quantized.linear(
            theirs, torch.ops.quantized.linear_prepack(tensor(w, w_q), None), *scale(y_q)
        )
        np.testing.assert_array_equal(reference.sigmoid(ours, y_q), stored(torch.sigmoid(theirs)))
