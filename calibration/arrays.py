"""Samples from .npy and .npz: one array an input, the first axis counts samples."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeport.calibration.fit import LABEL_NAMES, check_dtype, fit_values, rows_per_sample
from edgeport.calibration.npy import StoredArray, stored_arrays
from edgeport.calibration.preprocessing import Preprocessing, is_stored_image
from edgeport.errors import CalibrationError
from edgeport.findings import Finding
from edgeport.sample import Array, InputSpec, Sample
from edgeport.suggest import did_you_mean


@dataclass(frozen=True)
class _Column:
    """One input's rows over all files. `batch` rows make a sample; 0 if each row is a sample as it is."""

    spec: InputSpec
    parts: tuple[StoredArray, ...]
    batch: int
    preprocessing: Preprocessing | None

    @property
    def rows(self) -> int:
        return sum(p.shape[0] for p in self.parts)

    @property
    def samples(self) -> int:
        return self.rows // max(self.batch, 1)

    def read(self, start: int, stop: int) -> Iterator[Array]:
        step = max(self.batch, 1)
        rows = self._rows(start * step, stop * step)
        for _ in range(start, stop):
            group = list(itertools.islice(rows, step))
            yield group[0] if self.batch == 0 else np.stack(group)

    def _rows(self, start: int, stop: int) -> Iterator[Array]:
        row_spec = self.spec if self.batch == 0 else InputSpec(self.spec.name, self.spec.dtype, self.spec.shape[1:])
        first = 0
        for part in self.parts:
            begin, end = max(start - first, 0), min(stop - first, part.shape[0])
            if begin < end:
                for i, row in enumerate(part.rows(begin, end), begin):
                    where = f"{part.where} sample {i}"
                    if self.preprocessing is not None:
                        row = self.preprocessing.apply(row, self.spec, where)
                    yield fit_values(row, row_spec, where)
            first += part.shape[0]


class ArraySource:
    """Samples stored in arrays. Only headers are kept; rows are read when they are asked for."""

    def __init__(self, files: Sequence[Path], inputs: Sequence[InputSpec], preprocessing: Preprocessing | None) -> None:
        self._files = tuple(files)
        groups = [_named_arrays(f, inputs, len(files)) for f in files]
        if len(files) > 1 and all(f.suffix.lower() == ".npy" and _is_known(f.stem, inputs) for f in files):
            groups = [{f.stem: a for f, g in zip(files, groups, strict=True) for a in g.values()}]
        self._columns = tuple(_column(spec, groups, preprocessing) for spec in inputs)
        self._preprocessing = preprocessing if any(c.preprocessing for c in self._columns) else None
        counts = {c.spec.name: c.samples for c in self._columns}
        if len(set(counts.values())) > 1:
            text = ", ".join(f"{n!r} {k}" for n, k in counts.items())
            raise CalibrationError(f"calibration arrays disagree in the number of samples: {text}")
        self._count = next(iter(counts.values()))
        self._labels = _labels(groups, inputs, self._columns[0])

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Sample]:
        return self.read(0, len(self))

    def read(self, start: int, stop: int) -> Iterator[Sample]:
        """The samples `start` to `stop`, one in memory at a time."""
        names = [c.spec.name for c in self._columns]
        for arrays in zip(*(c.read(start, stop) for c in self._columns), strict=True):
            yield dict(zip(names, arrays, strict=True))

    @property
    def labels(self) -> npt.NDArray[np.int64] | None:
        """int64, the first axis counts samples."""
        return self._labels

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Rows that were left over because they do not fill the graph's fixed batch."""
        return tuple(
            Finding(
                "warning",
                "calibration-remainder",
                f"the last {rest} rows of input {c.spec.name!r} do not fill a batch of {c.batch} and are dropped",
            )
            for c in self._columns
            if c.batch > 1 and (rest := c.rows % c.batch)
        )

    def digest(self) -> str:
        """sha256 of the files' contents and the preprocessing."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        total = hashlib.sha256(self._preprocessing.to_json().encode() if self._preprocessing else b"")
        for file in self._files:
            with file.open("rb") as data:
                total.update(hashlib.file_digest(data, "sha256").digest())
        return total.hexdigest()

    def description(self) -> dict[str, Any]:
        """JSON-ready."""
        declared = self._preprocessing.model_dump(mode="json") if self._preprocessing else None
        return {"kind": "arrays", "count": len(self), "preprocessing": declared}


def _is_known(name: str, inputs: Sequence[InputSpec]) -> bool:
    return name in LABEL_NAMES or any(name == s.name for s in inputs)


def _named_arrays(file: Path, inputs: Sequence[InputSpec], files: int) -> dict[str, StoredArray]:
    """The file's arrays by input or label name. A single-input graph takes the one other array under any name."""
    found = stored_arrays(file)
    named = {file.stem if name is None else name: a for name, a in found.items()}
    if not named:
        raise CalibrationError(f"{file.name} holds no arrays")
    unknown = [n for n in named if not _is_known(n, inputs)]
    if len(inputs) == 1 and len(unknown) == 1 and inputs[0].name not in named:
        return {inputs[0].name if n in unknown else n: a for n, a in named.items()}
    if unknown:
        names = [s.name for s in inputs]
        hint = did_you_mean(unknown[0], names)
        raise CalibrationError(f"{file.name}: array {unknown[0]!r} is no input of the model; {hint}")
    return named


def _column(spec: InputSpec, groups: Sequence[Mapping[str, StoredArray]], declared: Preprocessing | None) -> _Column:
    parts = []
    for group in groups:
        if spec.name not in group:
            holder = next(iter(group.values())).path.name
            raise CalibrationError(f"{holder}: no array for input {spec}; it has {', '.join(map(repr, sorted(group)))}")
        parts.append(group[spec.name])
    batches = set()
    preprocessing = None
    for part in parts:
        if not part.shape:
            raise CalibrationError(
                f"{part.where} is a scalar; input {spec} needs an array whose first axis counts samples"
            )
        if declared is not None and len(spec.shape) == 4 and is_stored_image(part.dtype, part.shape):
            preprocessing = declared
            batches.add(declared.check_output(spec))
            continue
        check_dtype(part.dtype, spec, part.where)
        batches.add(rows_per_sample(spec, part.shape, part.where))
    if len(batches) > 1 or (preprocessing is not None and not all(is_stored_image(p.dtype, p.shape) for p in parts)):
        raise CalibrationError(
            f"the files hold input {spec} in different layouts, e.g. {parts[0].where} and {parts[-1].where}"
        )
    column = _Column(spec, tuple(parts), batches.pop(), preprocessing)
    if 0 < column.rows < column.batch:
        raise CalibrationError(
            f"{parts[0].where} has {column.rows} rows, but input {spec} takes {column.batch} at once"
        )
    return column


def _labels(
    groups: Sequence[Mapping[str, StoredArray]], inputs: Sequence[InputSpec], column: _Column
) -> npt.NDArray[np.int64] | None:
    names = {n for g in groups for n in g if n in LABEL_NAMES and all(n != s.name for s in inputs)}
    if not names:
        return None
    if len(names) > 1 or any(not names & g.keys() for g in groups):
        raise CalibrationError(
            f"labels must be in one array of the same name in every file; found {', '.join(sorted(names))}"
        )
    name = names.pop()
    parts = []
    for group in groups:
        stored = group[name]
        if stored.dtype.kind not in "iu":
            raise CalibrationError(f"{stored.where} is {stored.dtype}, but labels are integers")
        labels = stored.whole()
        parts.append(labels if labels.ndim else labels[None])
    if len({p.shape[1:] for p in parts}) > 1:
        raise CalibrationError(f"labels {name!r} have different shapes in different files")
    labels = np.concatenate(parts).astype(np.int64)
    if len(labels) != column.rows:
        raise CalibrationError(
            f"there are {len(labels)} labels {name!r} for {column.rows} samples of input {column.spec.name!r}"
        )
    if column.batch > 1:
        labels = labels[: column.samples * column.batch].reshape(column.samples, column.batch, *labels.shape[1:])
    return labels
