"""How far one model's outputs are from another's: figures per output, streamed over samples.

Every figure is computed in float64, sample after sample in the order given, so the result depends neither on
memory nor on threads. Shapes and dtypes must agree; nothing is broadcast.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeport.errors import ModelError
from edgeport.sample import Array
from edgeport.validate.intervals import Interval, PairedMean

_ROW_SUM_TOLERANCE = 1e-3
"""How far from 1 the sum of a row of probabilities may be: float16 softmax over 1,000 classes is off by 5e-4."""


@dataclass(frozen=True)
class OutputMetrics:
    """Distance of one output from its reference over all samples.

    Attributes:
        output: its name.
        dtype: numpy dtype of the reference.
        shape: shape in the first sample.
        samples: number of samples.
        identical: every element equals its reference.
        sqnr_db: signal to quantization noise ratio, 10 log10(sum ref^2 / sum (ref - out)^2), both sums over all
            elements of all samples. None when `identical` (it is infinite), and when it is not defined: a reference
            that is all zero, values that are not finite, an output that is not float.
        cosine_mean: mean over samples of the cosine between the flattened arrays; None if not float or not finite.
        cosine_min: the smallest of them.
        max_abs: largest absolute difference of two elements; None if an element is not finite on one side only.
        exact_match: share of equal elements, for outputs that are not float.
        top1_agreement: share of rows (last axis) whose largest element is at the same index, where the output is a
            distribution: float, and either of shape (batch, classes >= 2), or with rows of the reference that are
            not negative and sum to 1 in every sample.
        top1_interval: its 95 % interval.
        nonfinite: elements that are NaN or infinite here and finite in the reference.
        reference_nonfinite: elements that are NaN or infinite in the reference and something else here. Elements
            that are the same infinity, or NaN, on both sides are equal and enter no sum.
        signal: sum ref^2. None where it is not finite.
        noise: sum (ref - out)^2.
    """

    output: str
    dtype: str
    shape: tuple[int, ...]
    samples: int
    identical: bool
    sqnr_db: float | None = None
    cosine_mean: float | None = None
    cosine_min: float | None = None
    max_abs: float | None = None
    exact_match: float | None = None
    top1_agreement: float | None = None
    top1_interval: Interval | None = None
    nonfinite: int = 0
    reference_nonfinite: int = 0
    signal: float | None = None
    noise: float | None = None


def check_comparable(name: str, reference: Array, compared: Array, *, what: str, any_float: bool = False) -> None:
    """Refuses to compare arrays of different shape or dtype.

    Args:
        name: the output.
        reference: its value in the reference.
        compared: its value in the other model.
        what: names the two, e.g. `the artifact and the canonical graph`.
        any_float: float dtypes may differ in width (a float16 source and its float32 canonical graph).

    Raises:
        ModelError: they differ, or their dtype has no distance (complex).
    """
    if reference.shape != compared.shape:
        why = "they are not the same model"
        if reference.ndim == compared.ndim:
            why += ", or values decide how much comes out (NonMaxSuppression, NonZero): then end the model before that"
        shapes = f"{list(compared.shape)} and {list(reference.shape)}"
        raise ModelError(f"output {name!r}: {what} give shapes {shapes} for one sample; {why}")
    same = reference.dtype == compared.dtype or (any_float and is_float(reference.dtype) and is_float(compared.dtype))
    if not same:
        raise ModelError(f"output {name!r}: {what} give dtypes {compared.dtype} and {reference.dtype}")
    if reference.dtype.kind == "c":
        raise ModelError(f"output {name!r} is complex; return its real and imaginary parts as two outputs instead")


def is_float(dtype: np.dtype[Any]) -> bool:
    """Whether a dtype holds real numbers, ml_dtypes' bfloat16 and float8 included (numpy calls their kind `V`)."""
    return dtype.kind == "f" or dtype.name.startswith(("bfloat", "float"))


@dataclass
class OutputDrift:
    """Collects the metrics of one output, one sample at a time, in memory that does not grow with their size."""

    output: str
    _dtype: str = ""
    _shape: tuple[int, ...] = ()
    _float: bool = True
    _samples: int = 0
    _elements: int = 0
    _equal: int = 0
    _signal: float = 0.0
    _noise: float = 0.0
    _max_abs: float = 0.0
    _nonfinite: int = 0
    _reference_nonfinite: int = 0
    _cosine_sum: float = 0.0
    _cosine_min: float = math.inf
    _distribution: bool = True
    _rows: PairedMean = field(default_factory=lambda: PairedMean(share=True))

    def update(self, reference: Array, compared: Array) -> None:
        """Adds one sample; the arrays have passed `check_comparable`."""
        if self._samples == 0:
            self._dtype, self._shape, self._float = reference.dtype.name, reference.shape, is_float(reference.dtype)
        self._samples += 1
        self._elements += reference.size
        if self._float:
            self._update_float(reference.astype(np.float64), compared.astype(np.float64))
        else:
            self._equal += int(np.count_nonzero(reference == compared))
            self._max_abs = max(_largest_integer_gap(reference, compared), self._max_abs)

    def _update_float(self, ref: npt.NDArray[np.float64], out: npt.NDArray[np.float64]) -> None:
        finite_ref, finite_out = np.isfinite(ref), np.isfinite(out)
        both = finite_ref & finite_out
        self._nonfinite += int(np.count_nonzero(finite_ref & ~finite_out))
        same = (ref == out) | (np.isnan(ref) & np.isnan(out))
        self._equal += int(np.count_nonzero(same))
        self._reference_nonfinite += int(np.count_nonzero(~finite_ref & ~same))
        a, b = (ref, out) if both.all() else (ref[both], out[both])
        if a.size:
            gap = a - b
            self._max_abs = max(self._max_abs, float(np.abs(gap).max()))
            self._noise += float(np.square(gap).sum())
        signal = float(np.square(a).sum())
        self._signal += signal
        cosine = _cosine(a, b, signal)
        self._cosine_sum += cosine
        self._cosine_min = min(self._cosine_min, cosine)
        self._distribution = self._distribution and is_distribution(ref)
        if self._distribution:
            agree = (ref.argmax(-1) == out.argmax(-1)) & ~np.isnan(out).any(-1)
            self._rows.add(float(np.count_nonzero(agree)), agree.size, agree.size)

    def result(self) -> OutputMetrics:
        """The metrics of all samples so far (at least one)."""
        identical = self._equal == self._elements
        finite = self._nonfinite == 0 and self._reference_nonfinite == 0
        common = OutputMetrics(
            self.output,
            self._dtype,
            self._shape,
            self._samples,
            identical,
            max_abs=self._max_abs if finite and math.isfinite(self._max_abs) else None,
            nonfinite=self._nonfinite,
            reference_nonfinite=self._reference_nonfinite,
        )
        if not self._float:
            return replace(common, exact_match=self._equal / self._elements if self._elements else 1.0)
        top1 = top1_interval = None
        if self._distribution and self._rows.samples:
            top1, top1_interval = self._rows.means()[0], self._rows.intervals()[0]
        return replace(
            common,
            sqnr_db=self._sqnr() if finite and not identical else None,
            cosine_mean=self._cosine_sum / self._samples if finite else None,
            cosine_min=self._cosine_min if finite else None,
            top1_agreement=top1,
            top1_interval=top1_interval,
            signal=self._signal if math.isfinite(self._signal) else None,
            noise=self._noise if math.isfinite(self._noise) else None,
        )

    def _sqnr(self) -> float | None:
        noise = max(self._noise, np.finfo(np.float64).tiny)  # differences below 1e-154 vanish when squared
        if self._signal == 0 or not math.isfinite(self._signal) or not math.isfinite(noise):
            return None
        return 10 * (math.log10(self._signal) - math.log10(noise))


def is_distribution(reference: Array) -> bool:
    """Whether the largest element of each row (last axis) means a choice among classes.

    True for float arrays of shape (batch, classes >= 2), and for arrays of any rank whose rows are not negative and
    sum to 1, as Softmax makes them. Token logits of rank 3 are not taken for one, since boxes and masks look alike.
    """
    if reference.ndim == 0 or reference.shape[-1] < 2 or reference.size == 0:
        return False
    if reference.ndim == 2:
        return True
    rows = reference.astype(np.float64)
    return bool((rows >= 0).all() and (np.abs(rows.sum(-1) - 1) <= _ROW_SUM_TOLERANCE).all())


def _cosine(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64], signal: float) -> float:
    """Cosine of two flattened arrays: 1 if both are zero, 0 if one is. `signal` is sum a^2."""
    other = float(np.square(b).sum())
    if signal == 0 or other == 0:
        return 1.0 if signal == other else 0.0
    # No BLAS dot: its order of summation depends on the number of threads.
    return min(1.0, max(-1.0, float((a * b).sum()) / (math.sqrt(signal) * math.sqrt(other))))


def _largest_integer_gap(a: Array, b: Array) -> float:
    """Largest |a - b| of integer or bool arrays, exact for 64 bits; NaN for strings, which have no difference."""
    if a.dtype.kind in "OSU":
        return math.nan
    if a.size == 0:
        return 0.0
    if a.dtype.kind not in "iub":  # 4 and 2 bit integers of ml_dtypes
        a, b = a.astype(np.int64), b.astype(np.int64)
    high, low = np.maximum(a, b), np.minimum(a, b)
    # Modulo 2^64 the difference of two 64-bit integers is exact, whatever their signs.
    return float((high.astype(np.uint64) - low.astype(np.uint64)).max())
