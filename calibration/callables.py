"""Samples from Python: a callable that gives mappings (also named as `file.py:callable`), or a list of mappings."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeport.calibration.fit import LABEL_NAMES, fit_sample
from edgeport.entry import load_callable
from edgeport.errors import CalibrationError, UsageError
from edgeport.findings import Finding
from edgeport.sample import Array, InputSpec, Sample
from edgeport.suggest import did_you_mean

Factory = Callable[[], Iterable[Mapping[str, Any]]]


def load_factory(path: Path, name: str) -> Factory:
    """Takes the callable `name` from a Python file.

    Raises:
        CalibrationError: the file fails to run, or has no such callable.
    """
    try:
        return load_callable(f"{path}:{name}")
    except UsageError as error:
        raise CalibrationError(str(error)) from error


class CallableSource:
    """Calls `factory` afresh for every pass, so it must give the same samples each time."""

    def __init__(self, factory: Factory, inputs: Sequence[InputSpec], where: str) -> None:
        self._factory, self._inputs, self._where = factory, tuple(inputs), where
        self._scan: tuple[int, str, npt.NDArray[np.int64] | None] | None = None

    def __len__(self) -> int:
        return self._scanned()[0]

    def __iter__(self) -> Iterator[Sample]:
        return (sample for sample, _ in self._pairs())

    def read(self, start: int, stop: int) -> Iterator[Sample]:
        """The samples `start` to `stop`; those before are made and dropped."""
        return itertools.islice(iter(self), start, stop)

    @property
    def labels(self) -> npt.NDArray[np.int64] | None:
        """int64, from the key label, labels or y of the mappings."""
        return self._scanned()[2]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """None."""
        return ()

    def digest(self) -> str:
        """sha256 of all samples' names, dtypes, shapes and values, and the labels."""
        return self._scanned()[1]

    def description(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"kind": "python", "count": len(self), "preprocessing": None}

    def _scanned(self) -> tuple[int, str, npt.NDArray[np.int64] | None]:
        """Count, digest and labels need one pass over the data, which is made once."""
        if self._scan is None:
            count, total, labels = 0, hashlib.sha256(), []
            for sample, label in self._pairs():
                count += 1
                for name, array in sorted(sample.items()):
                    total.update(f"{name}:{array.dtype}{array.shape}".encode())
                    total.update(np.ascontiguousarray(array).data)
                if label is not None:
                    labels.append(label)
            if len(labels) not in (0, count) or len({x.shape for x in labels}) > 1:
                raise CalibrationError(f"{self._where}: every sample needs a label of the same shape, or none has one")
            stacked = np.stack(labels) if labels else None
            total.update(b"" if stacked is None else stacked.tobytes())
            self._scan = (count, total.hexdigest(), stacked)
        return self._scan

    def _pairs(self) -> Iterator[tuple[Sample, npt.NDArray[np.int64] | None]]:
        for index, given in enumerate(self._call()):
            where = f"{self._where} sample {index}"
            if not isinstance(given, Mapping):
                raise CalibrationError(f"{where} is a {type(given).__name__}; give mappings of input name to array")
            label_name = next((n for n in LABEL_NAMES if n in given and all(n != s.name for s in self._inputs)), None)
            self._check_names(given, label_name, where)
            sample = {
                s.name: fit_sample(_array(given[s.name], f"{where}: {s.name!r}"), s, f"{where}: {s.name!r}")
                for s in self._inputs
            }
            yield sample, None if label_name is None else _label(given[label_name], where)

    def _call(self) -> Iterator[Mapping[str, Any]]:
        try:
            yield from self._factory()
        except CalibrationError:
            raise
        except Exception as error:
            raise CalibrationError(f"{self._where} failed: {_say(error)}") from error

    def _check_names(self, given: Mapping[str, Any], label_name: str | None, where: str) -> None:
        names = [s.name for s in self._inputs]
        for name in given:
            if name not in names and name != label_name:
                raise CalibrationError(f"{where}: {name!r} is no input of the model; {did_you_mean(str(name), names)}")
        for spec in self._inputs:
            if spec.name not in given:
                raise CalibrationError(f"{where}: no array for input {spec}; it has {', '.join(map(repr, given))}")


def _array(value: Any, where: str) -> Array:
    value = value.detach().cpu() if hasattr(value, "detach") else value
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise CalibrationError(f"{where} is no array: {_say(error)}") from error
    # Python numbers have no width of their own; they stand for the usual ones.
    return array.astype(np.float32) if isinstance(value, float | list) and array.dtype == np.float64 else array


def _label(value: Any, where: str) -> npt.NDArray[np.int64]:
    label = _array(value, f"{where}: label")
    if label.dtype.kind not in "iu":
        raise CalibrationError(f"{where}: the label is {label.dtype}, but labels are integers")
    return label.astype(np.int64)


def _say(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}".rstrip(": ")
