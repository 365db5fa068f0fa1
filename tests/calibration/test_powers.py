"""Channel powers against numpy, and merged in any order."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgeport.calibration import Statistics, collect
from edgeport.calibration.powers import sample_powers
from edgeport.errors import CalibrationError

RNG = np.random.default_rng(3)


@pytest.mark.parametrize(("shape", "axis"), [((2, 5, 4, 3), 1), ((1, 6, 7), -1), ((8,), 0)])
def test_small_tensors_have_the_mean_squares_of_numpy(shape: tuple[int, ...], axis: int) -> None:
    x = (RNG.normal(size=shape) * 10.0 ** RNG.uniform(-18, 18, shape)).astype(np.float32)
    rest = tuple(i for i in range(x.ndim) if i != axis % x.ndim)
    powers, exact = sample_powers(x, axis), x.astype(np.float64)
    # 24 bits of each mean are kept.
    np.testing.assert_allclose(powers.mean_square, np.square(exact).mean(axis=rest), rtol=2e-7)
    np.testing.assert_allclose(powers.mean, exact.mean(axis=rest), rtol=2e-7)


def test_large_tensors_are_sampled_over_all_columns() -> None:
    # Columns differ by a factor of 16: a stride that met only some of them would be far off.
    x = (RNG.normal(size=(1, 3, 128, 128)) * np.array([[1], [2], [3]])[None, :, :, None]).astype(np.float32)
    x *= np.linspace(0.25, 4, 128, dtype=np.float32)
    exact = np.square(x.astype(np.float64)).mean(axis=(0, 2, 3))
    # 512 squares of normal numbers times squares of such factors vary by about 10 % in their mean.
    np.testing.assert_allclose(sample_powers(x, 1).mean_square, exact, rtol=0.3)


def test_what_is_not_finite_counts_as_zero() -> None:
    x = np.array([[1, np.nan, np.inf, 0, 1e-45, 3e38]], np.float32)
    tiny = float(np.float32(1e-45))
    assert sample_powers(x, 1).mean_square == pytest.approx([1, 0, 0, 0, tiny**2, 9e76], rel=1e-6)
    assert sample_powers(-x, 1).mean == pytest.approx([-1, 0, 0, 0, -tiny, -3e38], rel=1e-6)


def test_merging_gives_the_same_bytes_in_any_order() -> None:
    proto = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 21]> g (float[1,4,6,6] x) => (float[1,4,6,6] y) { y = Relu(x) }'
    )
    graph = ir.from_proto(onnx.shape_inference.infer_shapes(proto))
    samples = [{"x": (RNG.normal(size=(1, 4, 6, 6)) * 10.0 ** (i - 4)).astype(np.float32)} for i in range(9)]
    wanted = {"x": 1, "y": 1}

    def run(part: list[dict[str, np.ndarray]]) -> Statistics:
        return collect(graph, part, {"y": "histogram"}, powers=wanted)

    whole = run(samples).to_bytes()
    for cut in (1, 4, 8):
        a, b = run(samples[:cut]), run(samples[cut:])
        assert a.merge(b).to_bytes() == b.merge(a).to_bytes() == whole
    assert run(samples[::-1]).to_bytes() == whole
    read = Statistics.from_bytes(whole)
    assert read.to_bytes() == whole
    exact = np.mean([np.square(s["x"].astype(np.float64)).mean(axis=(0, 2, 3)) for s in samples], axis=0)
    np.testing.assert_allclose(read.powers["x"].mean_square, exact, rtol=2e-7)  # 24 bits a sample
    exact = np.mean([s["x"].astype(np.float64).mean(axis=(0, 2, 3)) for s in samples], axis=0)
    np.testing.assert_allclose(read.powers["x"].mean, exact, rtol=1e-6)  # the same, and terms cancel
    with pytest.raises(CalibrationError, match="powers"):
        read.merge(collect(graph, samples, {"y": "histogram"}))
