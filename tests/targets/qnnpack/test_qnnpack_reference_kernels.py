"""Convolutions and linear layers of the integer reference against torch's engine `qnnpack`: every byte is equal."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qnnpack_engine import (
    activation,
    engine,
    generator,
    integers,
    log_uniform,
    output_for,
    stored,
    tensor,
    torch,
    weights,
)

from edgeport.quantize.plan import QParams
from edgeport.targets.qnnpack import reference

pytestmark = pytest.mark.filterwarnings("ignore")


def biases(rng: np.random.Generator, count: int, spread: float) -> Any:
    return (rng.standard_normal(count) * spread).astype(np.float32) if rng.random() < 0.8 else None


def spread_of(rng: np.random.Generator, x: QParams, w: QParams, terms: int) -> float:
    """About what a sum of so many random products is in reals."""
    return float(x.scale * np.median(w.scale) * 74 * 130 * np.sqrt(terms))


@pytest.mark.parametrize("space", [1, 2, 3])
@pytest.mark.parametrize("kind", ["dense", "grouped", "depthwise", "multiplier"])
@pytest.mark.parametrize("per_channel", [True, False], ids=["per-channel", "per-tensor"])
def test_convolution(space: int, kind: str, per_channel: bool) -> None:
    rng = generator("conv", space, kind, per_channel)
    for trial in range(25 if space < 3 else 10):
        groups = {"dense": 1, "grouped": int(rng.integers(2, 5)), "depthwise": int(rng.integers(2, 40))}.get(kind, 6)
        inputs = 1 if kind in ("depthwise", "multiplier") else int(rng.integers(1, 20))
        outputs = {"depthwise": 1, "multiplier": int(rng.integers(2, 5))}.get(kind, int(rng.integers(1, 20)))
        kernel = [int(k) for k in rng.integers(1, 6 if space < 3 else 4, space)]
        dilations = [int(d) for d in rng.integers(1, 4, space)]
        if space == 3 and kind != "dense":
            dilations = [1] * 3
        strides = [int(s) for s in rng.integers(1, 4, space)]
        padding = [int(p) for p in rng.integers(0, 4, space)]
        sizes = [(k - 1) * d + 1 + int(rng.integers(0, 7)) for k, d in zip(kernel, dilations, strict=True)]
        x_q = activation(rng, float(log_uniform(rng, 0.001, 2)))
        x = integers(rng, int(rng.integers(1, 3)), groups * inputs, *sizes)
        w, w_q = weights(rng, groups * outputs, inputs, *kernel, per_channel=per_channel)
        spread = spread_of(rng, x_q, w_q, inputs * int(np.prod(kernel)))
        y_q, bias = output_for(rng, spread), biases(rng, groups * outputs, spread)
        relu = bool(trial % 2)
        with engine():
            pack = getattr(torch.ops.quantized, f"conv{space}d_prepack")
            run = getattr(torch.ops.quantized, f"conv{space}d_relu" if relu else f"conv{space}d")
            held = None if bias is None else torch.from_numpy(bias)
            packed = pack(tensor(w, w_q), held, strides, padding, dilations, groups)
            expected = stored(run(tensor(x, x_q), packed, float(y_q.scale), int(y_q.zero_point)), y_q)
        got = reference.conv(
            x,
            w,
            None if bias is None else reference.quantize_bias(bias, x_q, w_q),
            x_q,
            w_q,
            y_q,
            machine="desktop",
            strides=strides,
            padding=padding,
            dilations=dilations,
            groups=groups,
            relu=relu,
        )
        np.testing.assert_array_equal(
            got, expected, err_msg=f"{trial} {x.shape} {w.shape} {strides} {padding} {dilations}"
        )


@pytest.mark.parametrize("space", [1, 2])
@pytest.mark.parametrize(("groups", "per_channel"), [(1, True), (1, False), (3, False)])
def test_transposed_convolution(space: int, groups: int, per_channel: bool) -> None:
    rng = generator("deconv", space, groups, per_channel)
    for trial in range(30):
        inputs, outputs = int(rng.integers(1, 12)), int(rng.integers(1, 12))
        kernel = [int(k) for k in rng.integers(1, 6, space)]
        strides = [int(s) for s in rng.integers(1, 4, space)]
        dilations = [int(d) for d in rng.integers(1, 3, space)]
        padding = [int(p) for p in rng.integers(0, 2, space)]
        extra = [int(rng.integers(0, max(s, d))) for s, d in zip(strides, dilations, strict=True)]
        x_q = activation(rng, float(log_uniform(rng, 0.001, 2)))
        x = integers(rng, int(rng.integers(1, 3)), groups * inputs, *(int(s) for s in rng.integers(3, 8, space)))
        w, w_q = weights(rng, groups * inputs, outputs, *kernel, axis=1, per_channel=per_channel)
        spread = spread_of(rng, x_q, w_q, inputs * int(np.prod(kernel)))
        y_q, bias = output_for(rng, spread), biases(rng, groups * outputs, spread)
        with engine():
            pack = getattr(torch.ops.quantized, f"conv_transpose{space}d_prepack")
            run = getattr(torch.ops.quantized, f"conv_transpose{space}d")
            held = None if bias is None else torch.from_numpy(bias)
            packed = pack(tensor(w, w_q), held, strides, padding, extra, dilations, groups)
            expected = stored(run(tensor(x, x_q), packed, float(y_q.scale), int(y_q.zero_point)), y_q)
        got = reference.conv_transpose(
            x,
            w,
            None if bias is None else reference.quantize_bias(bias, x_q, w_q, axis=1),
            x_q,
            w_q,
            y_q,
            machine="desktop",
            strides=strides,
            padding=padding,
            output_padding=extra,
            dilations=dilations,
            groups=groups,
        )
        np.testing.assert_array_equal(got, expected, err_msg=f"{trial} {x.shape} {w.shape} {strides} {padding} {extra}")


@pytest.mark.parametrize("per_channel", [True, False], ids=["per-channel", "per-tensor"])
@pytest.mark.parametrize("relu", [True, False])
def test_linear(per_channel: bool, relu: bool) -> None:
    rng = generator("linear", per_channel, relu)
    for _ in range(60):
        lead = [int(n) for n in rng.integers(1, 9, int(rng.integers(1, 4)))]
        width, outputs = int(rng.integers(1, 400)), int(rng.integers(1, 40))
        x_q = activation(rng, float(log_uniform(rng, 0.001, 2)))
        x = integers(rng, *lead, width)
        w, w_q = weights(rng, outputs, width, per_channel=per_channel)
        spread = spread_of(rng, x_q, w_q, width)
        y_q, bias = output_for(rng, spread), biases(rng, outputs, spread)
        with engine():
            held = None if bias is None else torch.from_numpy(bias)
            packed = torch.ops.quantized.linear_prepack(tensor(w, w_q), held)
            run = torch.ops.quantized.linear_relu if relu else torch.ops.quantized.linear
            expected = stored(run(tensor(x, x_q), packed, float(y_q.scale), int(y_q.zero_point)), y_q)
        integer_bias = None if bias is None else reference.quantize_bias(bias, x_q, w_q)
        got = reference.linear(x, w, integer_bias, x_q, w_q, y_q, machine="desktop", relu=relu)
        np.testing.assert_array_equal(got, expected, err_msg=f"{x.shape} {w.shape}")


@pytest.mark.parametrize("step", [0.25, 0.5, 1.0, 1.5, 64.0])
def test_ties_round_half_to_even_at_any_ratio(step: float) -> None:
    """Sums from -20000 to 20000 in steps of one, at ratios that make ties of them, at and above one."""
    x = np.asarray([[q, 255] for q in range(256)], np.uint8)
    x_q = QParams("uint8", np.asarray(1, np.float32), np.asarray(128, np.int32))
    w = np.stack([np.arange(-64, 64), np.arange(-64, 64)[::-1]], 1).astype(np.int8)
    w_q = QParams("int8", np.asarray(step, np.float32), np.asarray(0, np.int32))
    y_q = QParams("uint8", np.asarray(1, np.float32), np.asarray(77, np.int32))
    with engine():
        packed = torch.ops.quantized.linear_prepack(tensor(w, w_q), None)
        expected = stored(torch.ops.quantized.linear(tensor(x, x_q), packed, 1.0, 77))
    np.testing.assert_array_equal(reference.linear(x, w, None, x_q, w_q, y_q, machine="desktop"), expected)


@pytest.mark.parametrize("trial", range(12))
def test_sums_next_to_ties_at_ratios_of_any_size(trial: int) -> None:
    """Biases put sums of up to 30 bits next to ties: float32(sum), the ratio and the product each round once."""
    rng = generator("ties", trial)
    channels = 2000
    x_q = activation(rng, float(log_uniform(rng, 0.001, 2)))
    w = rng.integers(-3, 4, (channels, 1)).astype(np.int8)
    w_q = QParams("int8", log_uniform(rng, 0.01, 0.02, channels), np.zeros(channels, np.int32), 0)
    y_q = activation(rng, float(x_q.scale) * 0.015 * float(log_uniform(rng, 1, 2.0**22)))
    steps = rng.integers(-10, 266, channels) - int(y_q.zero_point) + 0.5
    bias = (steps * y_q.scale).astype(np.float32)
    x = np.asarray([[min(int(x_q.zero_point) + 1, 255)], [max(int(x_q.zero_point) - 1, 0)]], np.uint8)
    with engine():
        packed = torch.ops.quantized.linear_prepack(tensor(w, w_q), torch.from_numpy(bias))
        run = torch.ops.quantized.linear
        expected = stored(run(tensor(x, x_q), packed, float(y_q.scale), int(y_q.zero_point)))
    integer_bias = reference.quantize_bias(bias, x_q, w_q)
    np.testing.assert_array_equal(reference.linear(x, w, integer_bias, x_q, w_q, y_q, machine="desktop"), expected)


def test_scaled_sums_beyond_int32_become_zero_on_desktops_and_saturate_on_phones() -> None:
    x, w = np.full((1, 8), 255, np.uint8), np.full((4, 8), 127, np.int8)
    x_q = QParams("uint8", np.asarray(1, np.float32), np.asarray(0, np.int32))
    w_q = QParams("int8", np.asarray(1, np.float32), np.asarray(0, np.int32))
    y_q = QParams("uint8", np.asarray(1e-6, np.float32), np.asarray(9, np.int32))
    with engine():
        packed = torch.ops.quantized.linear_prepack(tensor(w, w_q), None)
        expected = stored(torch.ops.quantized.linear(tensor(x, x_q), packed, float(y_q.scale), 9))
    np.testing.assert_array_equal(reference.linear(x, w, None, x_q, w_q, y_q, machine="desktop"), expected)
    assert expected.max() == 0
    assert reference.linear(x, w, None, x_q, w_q, y_q, machine="phone").min() == 255


@pytest.mark.parametrize("per_channel", [True, False], ids=["per-channel", "per-tensor"])
def test_dynamic_linear_floats_are_equal_bit_by_bit(per_channel: bool) -> None:
    rng = generator("dynamic", per_channel)
    for trial in range(60):
        width, outputs = int(rng.integers(1, 300)), int(rng.integers(1, 40))
        lead = [int(n) for n in rng.integers(1, 9, int(rng.integers(1, 3)))]
        size = float(log_uniform(rng, 1e-6, 1e4))
        x = ((rng.standard_normal((*lead, width)) + rng.choice([0, 0, -8, 8])) * size).astype(np.float32)
        x = x if trial else np.zeros_like(x)
        w, w_q = weights(rng, outputs, width, per_channel=per_channel)
        bias = biases(rng, outputs, size)
        with engine():
            held = None if bias is None else torch.from_numpy(bias)
            packed = torch.ops.quantized.linear_prepack(tensor(w, w_q), held)
            relu = bool(trial % 2)
            run = torch.ops.quantized.linear_relu_dynamic if relu else torch.ops.quantized.linear_dynamic
            expected = run(torch.from_numpy(x), packed).numpy()
        got = reference.linear_dynamic(x, w, bias, w_q, machine="desktop", relu=relu)
        np.testing.assert_array_equal(got, expected, err_msg=f"{x.shape} {w.shape} {size}")
