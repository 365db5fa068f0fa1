"""Pooling of the integer reference against torch's engine `qnnpack`: every byte is equal."""

from __future__ import annotations

import numpy as np
import pytest
from qnnpack_engine import activation, engine, generator, integers, log_uniform, stored, tensor, torch

from edgeport.targets.qnnpack import reference

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("channels_last", [False, True])
def test_max_pool2d(channels_last: bool) -> None:
    rng = generator("max", channels_last)
    for _ in range(80):
        kernel = [int(k) for k in rng.integers(1, 6, 2)]
        strides = [int(s) for s in rng.integers(1, 4, 2)]
        dilations = [int(d) for d in rng.integers(1, 3, 2)]
        padding = [int(rng.integers(0, k // 2 + 1)) for k in kernel]
        sizes = [(k - 1) * d + 1 + int(rng.integers(0, 8)) for k, d in zip(kernel, dilations, strict=True)]
        if np.prod(kernel) == 1:
            continue  # refused by both
        x_q = activation(rng, 0.1)
        x = integers(rng, int(rng.integers(1, 3)), int(rng.integers(1, 40)), *sizes)
        with engine():
            held = tensor(x, x_q)
            held = held.contiguous(memory_format=torch.channels_last) if channels_last else held
            expected = stored(torch.ops.quantized.max_pool2d(held, kernel, strides, padding, dilations, False), x_q)
        got = reference.max_pool2d(x, kernel=kernel, strides=strides, padding=padding, dilations=dilations)
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("counted", [True, False])
def test_avg_pool2d(counted: bool) -> None:
    """This engine counts the padding, whatever it is told."""
    rng = generator("avg", counted)
    for _ in range(120):
        kernel = [int(k) for k in rng.integers(1, 8, 2)]
        if np.prod(kernel) == 1:
            continue
        strides = [int(s) for s in rng.integers(1, 5, 2)]
        padding = [int(rng.integers(0, k // 2 + 1)) for k in kernel]
        x_q = activation(rng, float(log_uniform(rng, 1e-6, 100)))
        x = integers(
            rng, int(rng.integers(1, 3)), int(rng.integers(1, 40)), *(k + int(rng.integers(0, 8)) for k in kernel)
        )
        with engine():
            y = torch.nn.functional.avg_pool2d(tensor(x, x_q), kernel, strides, padding, False, counted)
            expected = stored(y, x_q)
        got = reference.avg_pool2d(x, x_q, kernel=kernel, strides=strides, padding=padding, machine="desktop")
        np.testing.assert_array_equal(got, expected)


def test_adaptive_avg_pool2d() -> None:
    rng = generator("adaptive")
    for _ in range(80):
        output = [int(n) for n in rng.integers(1, 5, 2)]
        x_q = activation(rng, float(log_uniform(rng, 1e-6, 100)))
        x = integers(
            rng, int(rng.integers(1, 3)), int(rng.integers(1, 40)), *(n * int(rng.integers(1, 8)) for n in output)
        )
        with engine():
            expected = stored(torch.nn.functional.adaptive_avg_pool2d(tensor(x, x_q), output), x_q)
        np.testing.assert_array_equal(reference.adaptive_avg_pool2d(x, x_q, output, machine="desktop"), expected)


def test_global_avg_pool() -> None:
    rng = generator("global")
    for _ in range(80):
        x_q = activation(rng, float(log_uniform(rng, 1e-6, 100)))
        x = integers(rng, *(int(n) for n in rng.integers(1, 3, 1)), *(int(n) for n in rng.integers(1, 40, 3)))
        with engine():
            expected = stored(tensor(x, x_q).mean([2, 3]), x_q)
        np.testing.assert_array_equal(reference.global_avg_pool(x, x_q, machine="desktop"), expected)


def test_what_the_engine_has_not_is_refused() -> None:
    rng = generator("refused")
    x, x_q = integers(rng, 1, 2, 5, 5), activation(rng, 0.1)
    with pytest.raises(ValueError, match="one element"):
        reference.avg_pool2d(x, x_q, kernel=[1, 1], strides=[1, 1], machine="desktop")
    with pytest.raises(ValueError, match="divides"):
        reference.adaptive_avg_pool2d(x, x_q, [2, 2], machine="desktop")
    with pytest.raises(ValueError, match="half"):
        reference.max_pool2d(x, kernel=[3, 3], strides=[1, 1], padding=[2, 2])
