"""Is the calibration data believable? Looks at a bounded number of samples, one at a time.

Broken values (NaN, infinite, wrong shape or dtype) are refused by the sources whenever a sample is read.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from edgeport.calibration.samples import SampleSource
from edgeport.errors import CalibrationError
from edgeport.findings import Finding
from edgeport.sample import Array

_FEW = 16
_LOOKED_AT = 64
_NOISE_LOOKED_AT = 8
_SMALLEST_EXTENT = 8  # along an axis, to speak of neighbours
_FEWEST_ELEMENTS = 768  # an image of fewer values proves nothing about its distribution
_FEWEST_IN_SIGNAL = 2048  # shorter ones may be states or features, whose neighbours are unrelated by nature
_SIGMAS = 5.0

Float64 = npt.NDArray[np.float64]


def check_samples(source: SampleSource, *, allow_suspicious: bool = False) -> list[Finding]:
    """Looks for data that would give ranges nobody wants.

    Args:
        source: the samples that calibration will see.
        allow_suspicious: constant or noise-like data becomes a warning.

    Returns:
        Warnings: fewer than 16 samples, an input that never changes, left-over rows.

    Raises:
        CalibrationError: there are no samples; all are the same, or each is one constant; image- or signal-like inputs
            are independent random numbers.
    """
    count = len(source)
    if count == 0:
        raise CalibrationError("calibration data holds no samples; give at least one, better 100 or more")
    findings = list(source.findings)
    if count < _FEW:
        message = f"only {count} calibration sample(s): ranges will not cover what the model meets; give 100 or more"
        findings.append(Finding("warning", "few-calibration-samples", message))
    for code, message in _suspicions(source, count, findings):
        if not allow_suspicious:
            raise CalibrationError(f"{message}; insist with --allow-suspicious-data")
        findings.append(Finding("warning", code, message))
    return findings


def _suspicions(source: SampleSource, count: int, findings: list[Finding]) -> Iterator[tuple[str, str]]:
    digests: dict[str, set[bytes]] = {}
    flat: dict[str, bool] = {}
    noise: dict[str, bool] = {}
    for index, sample in enumerate(_spread(source, count)):
        for name, array in sample.items():
            digests.setdefault(name, set()).add(hashlib.sha256(np.ascontiguousarray(array).data).digest())
            flat[name] = flat.get(name, True) and bool(array.size > 1 and array.min() == array.max())
            if index < _NOISE_LOOKED_AT:
                noise[name] = noise.get(name, True) and looks_like_noise(array)
    if count > 1 and all(len(d) == 1 for d in digests.values()):
        yield (
            "constant-data",
            f"all {min(count, _LOOKED_AT)} calibration samples looked at are the same; give different ones",
        )
        return
    if all(flat.values()):
        yield "constant-data", "every calibration sample holds one constant value (blank images?); give real ones"
        return
    for name in sorted(n for n, seen in digests.items() if count > 1 and len(seen) == 1):
        message = f"input {name!r} is the same in every calibration sample looked at"
        findings.append(Finding("info", "constant-input", message, hint="fine for masks and states; otherwise vary it"))
    for name in sorted(n for n, is_noise in noise.items() if is_noise):
        yield (
            "noise-like-data",
            f"input {name!r} looks like random numbers (neighbours do not resemble each other, the values follow a "
            "uniform or normal distribution), so ranges would be wrong for real images or signals; give real samples",
        )


def _spread(source: SampleSource, count: int) -> Iterator[dict[str, Array]]:
    """At most `_LOOKED_AT` samples: the first half of them from the start, the rest from the end."""
    half = _LOOKED_AT // 2
    ranges = [(0, count)] if count <= _LOOKED_AT else [(0, half), (count - half, count)]
    for sample in itertools.chain.from_iterable(source.read(*r) for r in ranges):
        yield dict(sample)


def looks_like_noise(array: Array) -> bool:
    """Whether an image- or signal-like array is independent random numbers, by four signs that must all hold.

    Image-like is rank 4 and up; signal-like is rank 3 with at most 4 channels on one side. Other arrays (tokens,
    embeddings, feature vectors) never are. The signs: the correlation of neighbours along each long axis is zero
    within 5 standard errors; means and variances of rows and columns differ no more than chance makes them; and the
    values of each channel follow a uniform or a normal distribution (Kolmogorov-Smirnov).
    """
    if array.dtype.kind != "f" and array.dtype not in (np.uint8, np.int8):  # wider integers are tokens or indices
        return False
    if array.ndim < 3 or array.size < _FEWEST_ELEMENTS:
        return False
    channels = _channels_first(array)
    if channels is None:
        return False
    x = channels.astype(np.float64)
    flat = x.reshape(len(x), -1)
    spread = flat.std(axis=1)
    if not (spread > 0).all():
        return False
    x = ((flat - flat.mean(axis=1, keepdims=True)) / spread[:, None]).reshape(x.shape)
    axes = [a for a in range(1, x.ndim) if x.shape[a] >= _SMALLEST_EXTENT]
    if not all(_unrelated_neighbours(x, a) and _slices_alike(x, a) for a in axes):
        return False
    return _random_marginal(x.reshape(len(x), -1))


def _channels_first(array: Array) -> Array | None:
    """The first sample of the batch as (channels, ...), or None if it is not image- or signal-like."""
    x = array[0]
    if x.ndim < 2 or not any(d >= _SMALLEST_EXTENT for d in x.shape):
        return None
    few = [a for a in range(x.ndim) if x.shape[a] <= 4]
    if x.ndim == 2:  # a signal; with many "channels" it may as well be embeddings or a spectrogram
        signal: Array | None = np.moveaxis(x, few[0], 0) if few and x.size >= _FEWEST_IN_SIGNAL else None
        return signal
    long = sum(d >= _SMALLEST_EXTENT for d in x.shape)
    if long < 2:
        return None
    image: Array = np.moveaxis(x, few[0] if few else 0, 0)
    return image


def _unrelated_neighbours(x: Float64, axis: int) -> bool:
    a, b = np.delete(x, -1, axis), np.delete(x, 0, axis)
    correlation = float((a * b).mean())
    return abs(correlation) < _SIGMAS / math.sqrt(a.size)


def _slices_alike(x: Float64, axis: int) -> bool:
    """Means and mean squares of the slices along `axis` vary as those of independent values do."""
    slices = np.moveaxis(x, axis, 0).reshape(x.shape[axis], -1)
    count, size = slices.shape
    # The ratio below is chi-squared over its degrees of freedom; its cube root is nearly normal (Wilson and Hilferty).
    freedom = 2 / (9 * (count - 1))
    limit = (1 - freedom + _SIGMAS * math.sqrt(freedom)) ** 3
    for values in (slices, slices**2):
        expected = float(values.var()) / size
        if expected > 0 and size > 1 and float(values.mean(axis=1).var(ddof=1)) / expected > limit:
            return False
    return True


def _random_marginal(channels: Float64) -> bool:
    """Every channel (already of mean 0 and variance 1) fits the uniform or the normal distribution."""
    # 8-bit steps and clipped tails move the distance by up to 0.02; chance by about 1 / sqrt(n).
    limit = 0.02 + 2 / math.sqrt(channels.shape[1])
    return all(min(_distance(c, _NORMAL), _distance(c, _UNIFORM)) < limit for c in channels)


_GRID = np.linspace(-3, 3, 241)
_NORMAL = np.array([(1 + math.erf(v / math.sqrt(2))) / 2 for v in _GRID])
_UNIFORM = np.clip((_GRID / math.sqrt(3) + 1) / 2, 0, 1)


def _distance(values: Float64, expected: Float64) -> float:
    """Kolmogorov-Smirnov distance on a grid; a step counts half, so that integer pixels are not held against it."""
    ordered = np.sort(values)
    below = (np.searchsorted(ordered, _GRID, "left") + np.searchsorted(ordered, _GRID, "right")) / 2
    return float(np.abs(below / values.size - expected).max())
