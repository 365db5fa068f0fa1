"""Statistics of tensors: what one calibration run leaves behind, for every target and every way to choose ranges.

Merging is exact, associative and commutative, down to the saved bytes: counts are integers, extremes are exact and
the histogram's bin width is a function of the extremes.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edgeport.calibration.histogram import SIDE, Counts, empty_counts, exponent_for, widen
from edgeport.calibration.powers import ChannelPowers, untrimmed
from edgeport.errors import CalibrationError
from edgeport.findings import Finding
from edgeport.sample import Array

Request = Literal["minmax", "histogram"]
FORMAT = 1
_POWERS = "\x1fpowers/"
"""Begins the names of arrays that are no tensor's histogram; no tensor's name holds the control character."""


@dataclass(frozen=True, eq=False)
class TensorStatistics:
    """What is known about one tensor.

    Attributes:
        name: its name in the canonical graph.
        count: finite elements seen, all of them, over all samples.
        non_finite: NaN and infinite elements, which enter nothing else.
        minimum: exact over all finite elements; +inf if there were none.
        maximum: exact over all finite elements; -inf if there were none.
        counts: histogram, int64 of shape (2 * SIDE,); position SIDE + i counts the sampled values in
            [i * width, (i + 1) * width). Large tensors enter it with about every 16th element. None if only the
            extremes were requested.
    """

    name: str
    count: int
    non_finite: int
    minimum: float
    maximum: float
    counts: Counts | None

    @property
    def exponent(self) -> int:
        """Bin width of the histogram, as a power of two."""
        return exponent_for(max(abs(self.minimum), abs(self.maximum)) if self.count else 0.0)

    @property
    def width(self) -> float:
        """Bin width of the histogram."""
        return math.ldexp(1.0, self.exponent)

    @property
    def mean(self) -> float:
        """Mean of the histogram, every value taken at the middle of its bin; NaN without values."""
        return self._moment(1)

    @property
    def standard_deviation(self) -> float:
        """Standard deviation of the histogram, every value taken at the middle of its bin; NaN without values."""
        mean = self._moment(1)
        return math.sqrt(max(self._moment(2) - mean * mean, 0.0))

    def kept(self, restored: Callable[[Array], Array]) -> float:
        """How much of the histogram is left by a storage of fewer bits: signal over error in dB, inf without error.

        Args:
            restored: from float32 values, those that stand for them.
        """
        seen = np.flatnonzero(self.histogram)
        counts, middles = self.histogram[seen], ((seen - SIDE + 0.5) * self.width).astype(np.float32)
        error = np.dot(counts, np.square(restored(middles).astype(np.float64) - middles))
        return 10 * math.log10(np.dot(counts, np.square(middles, dtype=np.float64)) / error) if error else math.inf

    def _moment(self, power: int) -> float:
        counts = self.histogram
        total = int(counts.sum())
        middles = (np.arange(-SIDE, SIDE) + 0.5) * self.width
        return float(np.dot(counts, middles**power)) / total if total else math.nan

    @property
    def histogram(self) -> Counts:
        """The histogram's counts.

        Raises:
            CalibrationError: only the extremes of this tensor were collected.
        """
        if self.counts is None:
            raise CalibrationError(
                f"tensor {self.name!r}: only its extremes were collected, no histogram; calibrate again with histograms"
            )
        return self.counts

    def merge(self, other: TensorStatistics) -> TensorStatistics:
        """The statistics of the union of both sets of elements."""
        merged = TensorStatistics(
            self.name,
            self.count + other.count,
            self.non_finite + other.non_finite,
            min(self.minimum, other.minimum),
            max(self.maximum, other.maximum),
            None,
        )
        if self.counts is None or other.counts is None:
            return merged
        mine, theirs = (widen(s.histogram, merged.exponent - s.exponent) for s in (self, other))
        return TensorStatistics(
            self.name, merged.count, merged.non_finite, merged.minimum, merged.maximum, mine + theirs
        )


@dataclass(frozen=True, eq=False)
class Statistics:
    """Statistics of the requested tensors over a number of samples.

    Attributes:
        tensors: sorted by name.
        samples: how many there were.
        graph: `graph_digest` of the graph they ran through; statistics of another graph must not be taken for its own.
        powers: mean squares of the channels of the tensors for which they were requested.
    """

    tensors: Mapping[str, TensorStatistics]
    samples: int
    graph: str = ""
    powers: Mapping[str, ChannelPowers] = field(default_factory=dict)

    def merge(self, other: Statistics) -> Statistics:
        """Equal, to the byte, to the statistics of one run over the samples of both.

        Raises:
            CalibrationError: the two were not collected for the same tensors of the same graph.
        """
        if self.graph != other.graph:
            raise CalibrationError("statistics cannot be merged: they were collected on different graphs")
        mine, theirs = ({n: s.counts is None for n, s in x.tensors.items()} for x in (self, other))
        if mine != theirs:
            odd = sorted(n for n in mine.keys() | theirs.keys() if mine.get(n) != theirs.get(n))
            raise CalibrationError(f"statistics cannot be merged: they differ in what they hold of tensor {odd[0]!r}")
        if self.powers.keys() != other.powers.keys():
            raise CalibrationError("statistics cannot be merged: they hold the powers of different tensors' channels")
        tensors = {name: s.merge(other.tensors[name]) for name, s in sorted(self.tensors.items())}
        powers = {name: p.merge(other.powers[name]) for name, p in sorted(self.powers.items())}
        return Statistics(tensors, self.samples + other.samples, self.graph, powers)

    def findings(self) -> list[Finding]:
        """Tensors whose range cannot be chosen because they were NaN or infinite."""
        return [
            Finding(
                "warning",
                "non-finite-activation",
                f"tensor {s.name!r} held {s.non_finite} NaN or infinite of {s.count + s.non_finite} elements",
                hint="it stays in float",
            )
            for s in self.tensors.values()
            if s.non_finite
        ]

    def to_bytes(self) -> bytes:
        """The safetensors file: one int64 array a histogram, without empty bins at its ends, and one for the channel
        powers of a tensor; the rest in the header."""
        from safetensors.numpy import save

        table: dict[str, dict[str, Any]] = {}
        arrays: dict[str, Counts] = {}
        for name, s in sorted(self.tensors.items()):
            entry: dict[str, Any] = {"count": s.count, "non_finite": s.non_finite}
            if s.count:
                entry |= {"min": s.minimum, "max": s.maximum}
            if s.counts is not None:
                used = np.flatnonzero(s.counts)
                first, last = (int(used[0]), int(used[-1])) if used.size else (SIDE, SIDE - 1)
                entry |= {"exponent": s.exponent, "first_bin": first - SIDE}
                arrays[name] = s.counts[first : last + 1]
            table[name] = entry
        header: dict[str, Any] = {"format": FORMAT, "graph": self.graph, "samples": self.samples, "tensors": table}
        if self.powers:
            names = sorted(self.powers)
            keys = {name: f"{_POWERS}{i}" for i, name in enumerate(names)}
            trimmed = {name: self.powers[name].trimmed() for name in names}
            arrays |= {keys[name]: trimmed[name][1] for name in names}
            header["powers"] = {
                n: {"axis": self.powers[n].axis, "first_bucket": trimmed[n][0], "array": keys[n]} for n in names
            }
        # One metadata entry only: safetensors writes several in no fixed order.
        return bytes(save(arrays, {"edgeport.statistics": json.dumps(header, sort_keys=True)}))

    def save(self, path: Path) -> None:
        """Writes `to_bytes()`; the same statistics give the same bytes."""
        path.write_bytes(self.to_bytes())

    def digest(self) -> str:
        """sha256 of the saved file, in hexadecimal."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    @classmethod
    def load(cls, path: Path) -> Statistics:
        """Reads a file that `save` wrote.

        Raises:
            CalibrationError: the file is missing, damaged, or of another format.
        """
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise CalibrationError(f"statistics {path}: cannot be read ({error.strerror}); see --statistics") from error
        try:
            return cls.from_bytes(data)
        except ValueError as error:
            raise CalibrationError(f"statistics {path}: {error}; write them anew with `edgeport calibrate`") from error

    @classmethod
    def from_bytes(cls, data: bytes) -> Statistics:
        """Reads what `to_bytes` gives.

        Raises:
            ValueError: the bytes are damaged or of another format.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            arrays = load(data)
            length = int.from_bytes(data[:8], "little")
            header = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["edgeport.statistics"])
            if header["format"] != FORMAT:
                raise ValueError(f"has format {header['format']}, this version reads {FORMAT}")
            tensors = {n: _read_entry(n, e, arrays.get(n)) for n, e in sorted(header["tensors"].items())}
            samples = int(header["samples"])
            powers = {n: _read_powers(n, e, samples, arrays) for n, e in sorted(header.get("powers", {}).items())}
            return cls(tensors, samples, str(header["graph"]), powers)
        except (SafetensorError, KeyError, TypeError, AttributeError) as error:
            raise ValueError("is no statistics file, or a damaged one") from error


def _read_entry(name: str, entry: Mapping[str, Any], trimmed: Counts | None) -> TensorStatistics:
    count, non_finite = int(entry["count"]), int(entry["non_finite"])
    low, high = (float(entry["min"]), float(entry["max"])) if count else (math.inf, -math.inf)
    if "first_bin" not in entry:
        return TensorStatistics(name, count, non_finite, low, high, None)
    if trimmed is None or trimmed.dtype != np.int64 or trimmed.ndim != 1:
        raise ValueError(f"lacks the histogram of tensor {name!r}")
    counts, first = empty_counts(), SIDE + int(entry["first_bin"])
    if first < 0 or first + trimmed.size > counts.size or (trimmed < 0).any():
        raise ValueError(f"has an impossible histogram for tensor {name!r}")
    counts[first : first + trimmed.size] = trimmed
    statistics = TensorStatistics(name, count, non_finite, low, high, counts)
    if statistics.exponent != entry["exponent"] or (count and not -math.inf < low <= high < math.inf):
        raise ValueError(f"contradicts itself about tensor {name!r}")
    return statistics


def _read_powers(name: str, entry: Mapping[str, Any], samples: int, arrays: Mapping[str, Any]) -> ChannelPowers:
    sums = arrays.get(entry["array"])
    if sums is None or sums.dtype != np.int64 or sums.ndim != 3 or len(sums) != 2:
        raise ValueError(f"lacks the channel powers of tensor {name!r}")
    try:
        return ChannelPowers(int(entry["axis"]), samples, untrimmed(int(entry["first_bucket"]), sums))
    except ValueError as error:
        raise ValueError(f"has impossible channel powers for tensor {name!r}") from error
