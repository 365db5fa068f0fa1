"""torch's engine `qnnpack` on numpy arrays, and random parameters, for the tests of the integer reference."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from edgeport.quantize.plan import QParams

ZERO_POINTS = (0, 255, 128, 3, 201)

torch: Any = pytest.importorskip("torch", reason="the engine that the reference imitates is part of torch")
if "qnnpack" not in torch.backends.quantized.supported_engines:
    pytest.skip("this torch has no engine qnnpack", allow_module_level=True)


@contextlib.contextmanager
def engine() -> Iterator[None]:
    """The engine set before anything is packed, on one thread, and put back."""
    before, threads = torch.backends.quantized.engine, torch.get_num_threads()
    torch.backends.quantized.engine = "qnnpack"
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.backends.quantized.engine = before
        torch.set_num_threads(threads)


def generator(*seed: object) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(repr(seed).encode()))


def activation(rng: np.random.Generator, scale: float) -> QParams:
    """uint8 parameters with this scale and a random zero point, 0 and 255 among them."""
    return QParams("uint8", np.asarray(scale, np.float32), np.asarray(rng.choice(ZERO_POINTS), np.int32))


def log_uniform(rng: np.random.Generator, low: float, high: float, size: int | None = None) -> Any:
    return np.exp(rng.uniform(np.log(low), np.log(high), size)).astype(np.float32)


def integers(rng: np.random.Generator, *shape: int) -> Any:
    """uint8 over the whole range, with both ends more often than by chance."""
    q = rng.integers(0, 256, shape)
    ends = rng.random(shape)
    return np.where(ends < 0.05, 0, np.where(ends > 0.95, 255, q)).astype(np.uint8)


def weights(rng: np.random.Generator, *shape: int, axis: int = 0, per_channel: bool = True) -> tuple[Any, QParams]:
    """int8 over the whole range, -128 included, with scales that differ by up to 30 times."""
    count = shape[axis] if per_channel else 1
    scale = log_uniform(rng, 0.002, 0.06, count) if per_channel else log_uniform(rng, 0.002, 0.06, 1).reshape(())
    w = rng.integers(-128, 128, shape).astype(np.int8)
    return w, QParams("int8", scale, np.zeros(scale.shape, np.int32), axis if per_channel else None)


def tensor(q: Any, qparams: QParams) -> Any:
    """A torch tensor that holds exactly these integers."""
    values = torch.from_numpy(np.ascontiguousarray(q))
    if qparams.axis is None:
        return torch._make_per_tensor_quantized_tensor(values, float(qparams.scale), int(qparams.zero_point))
    scales = torch.from_numpy(qparams.scale.astype(np.float64))
    return torch._make_per_channel_quantized_tensor(values, scales, torch.zeros(len(scales)).long(), qparams.axis)


def stored(y: Any, qparams: QParams | None = None) -> Any:
    """The integers of a quantized torch tensor, after a look at its parameters."""
    if qparams is not None:
        assert (np.float32(y.q_scale()), y.q_zero_point()) == (qparams.scale, qparams.zero_point)
    return y.int_repr().numpy()


def output_for(rng: np.random.Generator, spread: float) -> QParams:
    """Output parameters for sums of this real spread: mostly what fits, else much too fine or too coarse."""
    steps = rng.choice([40, 40, 40, 1, 4000, 1e6])
    return activation(rng, float(max(spread / steps, 1e-30)))
