"""int4 scales against exhaustive search and their own definition."""

from __future__ import annotations

import numpy as np
import pytest

from edgeport.quantize.four_bits import four_bit_qparams


def weights(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_t(4, shape).astype(np.float32)


def loss(row: np.ndarray, scale: float) -> float:
    return float(np.square(row - np.clip(np.rint(row / scale), -8, 7) * scale).sum())


@pytest.mark.parametrize("axis", [0, 1])
def test_scales_of_channels_are_as_good_as_an_exhaustive_search(axis: int) -> None:
    w = weights(12, 40) if axis == 0 else weights(40, 12)
    q = four_bit_qparams(w, axis, None)
    assert q.scale.shape == (12,)
    for row, scale in zip(np.moveaxis(w, axis, 0), q.scale, strict=True):
        full = np.abs(row).max() / 7
        best = min(loss(row, full * f) for f in np.linspace(0.3, 1.1, 2000))
        assert loss(row, scale) <= 1.05 * best  # 17 candidates and two refinements against 2000
    restored = q.dequantize(q.quantize(w))
    assert np.square(restored - w).sum() < np.square(w).sum() * 0.02


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("block", [32, 64])
def test_blocks_lie_along_the_other_axis_and_their_scales_fit_every_runtime(axis: int, block: int) -> None:
    w = weights(6, 128) * np.geomspace(1e-6, 1e3, 6, dtype=np.float32)[:, None]
    w = w if axis == 0 else np.ascontiguousarray(w.T)
    q = four_bit_qparams(w, axis, block)
    assert q.axis == 1 - axis
    assert q.scale.shape == ((6, 128 // block) if axis == 0 else (128 // block, 6))
    assert np.array_equal(q.scale.astype(np.float16).astype(np.float32), q.scale)
    assert not (q.scale.view(np.uint32) & 0xFFFF).any(), "exact in bfloat16: the low half of a float32 is zero"
    rows, scales = np.moveaxis(w, axis, 0), np.moveaxis(q.scale, axis, 0)
    integers = np.moveaxis(q.quantize(w), axis, 0)
    for c in range(6):
        for b in range(128 // block):
            piece = slice(b * block, (b + 1) * block)
            want = np.clip(np.rint(rows[c, piece] / scales[c, b]), -8, 7)
            assert np.array_equal(integers[c, piece], want)


def test_zero_channels_and_blocks_stay_zero() -> None:
    w = weights(4, 64)
    w[1], w[2, :32] = 0, 0
    for block in (None, 32):
        q = four_bit_qparams(w, 0, block)
        assert (q.scale > 0).all()
        assert not q.dequantize(q.quantize(w))[1].any()
        assert not q.dequantize(q.quantize(w))[2, :32].any()
