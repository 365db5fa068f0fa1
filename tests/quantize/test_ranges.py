import numpy as np
import pytest

from edgeport.quantize.plan import QParams, bias_qparams
from edgeport.quantize.ranges import activation_qparams, weight_qparams


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 6.0), (-1.5, 3.0), (-4.0, 0.0), (0.2, 5.0), (-1e-20, 1e-20), (-1e20, 1e20)]
)
@pytest.mark.parametrize("symmetric", [False, True])
def test_activation_range_holds_zero_exactly_and_errs_by_half_a_step(low, high, symmetric):
    q = activation_qparams(low, high, symmetric=symmetric)
    zero = q.quantize(np.zeros(1, np.float32))
    assert q.dequantize(zero)[0] == 0
    x = np.linspace(min(low, 0), max(high, 0), 1001).astype(np.float32)
    error = np.abs(q.dequantize(q.quantize(x)) - x)
    # Half a step, plus at most half a step at the end that the rounded zero point moved.
    assert error.max() <= float(q.scale) * 1.001


def test_range_of_zeros_gets_a_usable_scale():
    q = activation_qparams(0.0, 0.0)
    assert float(q.scale) > 0
    assert q.dequantize(q.quantize(np.zeros(3, np.float32))).tolist() == [0, 0, 0]


def test_weights_are_symmetric_per_channel_without_minus_128():
    rng = np.random.default_rng(0)
    w = rng.normal(size=(5, 3, 3, 3)).astype(np.float32) * np.array([1, 10, 0.1, 0, 1e-3], np.float32).reshape(
        -1, 1, 1, 1
    )
    q = weight_qparams(w, 0)
    stored = q.quantize(w)
    assert stored.min() >= -127
    assert np.all(q.zero_point == 0)
    assert np.all(q.scale > 0)
    assert np.allclose(
        q.scale[[0, 1, 2, 4]], np.abs(w).max((1, 2, 3))[[0, 1, 2, 4]] / 127, rtol=1e-6
    )  # float32 rounding
    assert not stored[3].any()
    assert np.all(np.abs(q.dequantize(stored) - w) <= q.scale.reshape(-1, 1, 1, 1) * 0.5001)


def test_large_bias_over_tiny_weights_fits_int32_and_keeps_its_value():
    x = activation_qparams(-1e-3, 1e-3)
    w = np.full((2, 4), 1e-7, np.float32)
    w[1] = 1.0
    bias = np.array([50.0, 0.5], np.float32)
    q = weight_qparams(w, 0, [(x, bias)])
    b = bias_qparams(x, q)
    stored = b.quantize(bias)
    assert np.abs(stored.astype(np.int64)).max() < 2**31 - 1
    assert np.allclose(b.dequantize(stored), bias, rtol=1e-6)  # float32 rounding of the scale


def test_quantize_rounds_half_to_even_as_onnx_does():
    q = QParams("int8", np.asarray(2.0, np.float32), np.asarray(1, np.int32))
    assert q.quantize(np.array([1.0, 3.0, 5.0, -1.0, 1e9, -1e9], np.float32)).tolist() == [1, 3, 3, 1, 127, -128]
