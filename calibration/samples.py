"""Sample sources: what `--calib` and `--data` can name, all behind one protocol."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeGuard

import numpy as np
import numpy.typing as npt

from edgeport.calibration.arrays import ArraySource
from edgeport.calibration.callables import CallableSource, load_factory
from edgeport.calibration.images import IMAGE_SUFFIXES, ImageSource
from edgeport.calibration.preprocessing import Preprocessing
from edgeport.calibration.texts import TextSource
from edgeport.errors import CalibrationError
from edgeport.findings import Finding
from edgeport.sample import InputSpec, Sample

_KINDS = {".npy": "arrays", ".npz": "arrays", ".jsonl": "texts", **dict.fromkeys(IMAGE_SUFFIXES, "images")}


class SampleSource(Protocol):
    """Samples that can be read again and again, one in memory at a time."""

    def __len__(self) -> int:
        """Number of samples."""

    def __iter__(self) -> Iterator[Sample]:
        """All samples, in a fixed order."""

    def read(self, start: int, stop: int) -> Iterator[Sample]:
        """The samples `start` to `stop` (0 <= start <= stop <= len)."""

    @property
    def labels(self) -> npt.NDArray[np.int64] | None:
        """int64, the first axis counts samples; None if the data has none."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What was noticed while opening."""

    def digest(self) -> str:
        """sha256 of the content and the preprocessing, whatever the files are called."""

    def description(self) -> dict[str, Any]:
        """JSON-ready: kind, count, preprocessing."""


Data = str | Path | Callable[[], Iterable[Sample]] | Iterable[Sample]


def open_samples(
    data: Data | SampleSource,
    inputs: Sequence[InputSpec],
    *,
    preprocessing: Preprocessing | None = None,
    tokenizer: Path | None = None,
    base: Path | None = None,
) -> SampleSource:
    """Opens calibration or held-out data for a graph's inputs.

    Args:
        data: a folder of images (needs `preprocessing`), a .npy/.npz file or a folder of them, a .jsonl of texts (needs
            `tokenizer`), `file.py:callable`, a Python callable that gives an iterable of mappings, or such an iterable.
        inputs: the graph's inputs; every sample fits them.
        preprocessing: what happens to images.
        tokenizer: a tokenizer.json.
        base: folder that relative paths start from.

    Raises:
        CalibrationError: the data cannot be read or does not fit the inputs.
    """
    if _is_source(data):
        return data
    if callable(data):
        return CallableSource(data, inputs, getattr(data, "__name__", "callable"))
    if not isinstance(data, str | Path):
        return CallableSource(_again(data), inputs, "samples")
    text = str(data)
    file, _, function = text.rpartition(":")
    if file.endswith(".py"):
        return CallableSource(load_factory(_resolve(file, base), function), inputs, f"{Path(file).name}:{function}")
    path = _resolve(text, base)
    files = _files(path)
    kind = _kind(path, files)
    if kind == "arrays":
        return ArraySource(files, inputs, preprocessing)
    if kind == "images":
        return ImageSource(path if path.is_dir() else path.parent, files, inputs, preprocessing)
    return TextSource(files[0], inputs, tokenizer if tokenizer is None else _resolve(str(tokenizer), base, "tokenizer"))


def _is_source(data: object) -> TypeGuard[SampleSource]:
    # Not isinstance: that would evaluate the properties, and `labels` may take a pass over all samples.
    return all(callable(getattr(type(data), name, None)) for name in ("read", "digest", "description", "__len__"))


def _again(samples: Iterable[Sample]) -> Callable[[], Iterable[Sample]]:
    if isinstance(samples, Iterator):
        raise CalibrationError(
            "data is an iterator, which can be read only once; give a list, or the function making it"
        )
    if not isinstance(samples, Iterable):
        raise CalibrationError(f"data is a {type(samples).__name__}; give a path, a callable or a list of mappings")
    return lambda: samples


def _resolve(text: str, base: Path | None, what: str = "data") -> Path:
    path = Path(text).expanduser()
    path = base / path if base is not None else path
    if not path.exists():
        raise CalibrationError(f"{what} {text!r} does not exist")
    return path


def _files(path: Path) -> list[Path]:
    """The file itself, or the data files in a folder and its subfolders, sorted; hidden ones are left out."""
    if path.is_file():
        return [path]
    relative = (p.relative_to(path) for p in path.rglob("*") if p.suffix.lower() in _KINDS and p.is_file())
    return [path / p for p in sorted(relative) if not any(part.startswith(".") for part in p.parts)]


def _kind(path: Path, files: Sequence[Path]) -> str:
    kinds = {_KINDS.get(file.suffix.lower(), ""): file for file in files}
    if not kinds or "" in kinds:
        raise CalibrationError(
            f"data {path.name!r} is or holds nothing usable; give images, .npy, .npz, a .jsonl of texts, "
            "or file.py:callable"
        )
    if len(kinds) > 1:
        names = " and ".join(sorted(f.name for f in kinds.values()))
        raise CalibrationError(f"data {path.name!r} mixes kinds ({names}); keep one kind in the folder")
    if "texts" in kinds and len(files) > 1:
        raise CalibrationError(f"data {path.name!r} holds {len(files)} .jsonl files; name one of them")
    return next(iter(kinds))


@dataclass(frozen=True)
class _Slice:
    """Some consecutive samples of a source."""

    source: SampleSource
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[Sample]:
        return self.source.read(self.start, self.stop)

    def read(self, start: int, stop: int) -> Iterator[Sample]:
        return self.source.read(self.start + start, self.start + stop)

    @property
    def labels(self) -> npt.NDArray[np.int64] | None:
        labels = self.source.labels
        return None if labels is None else labels[self.start : self.stop]

    @property
    def findings(self) -> tuple[Finding, ...]:
        return self.source.findings

    def digest(self) -> str:
        return hashlib.sha256(f"{self.source.digest()} {self.start} {self.stop}".encode()).hexdigest()

    def description(self) -> dict[str, Any]:
        return {**self.source.description(), "count": len(self), "first": self.start}


def split(source: SampleSource, held_out: float = 1 / 8) -> tuple[SampleSource, SampleSource]:
    """Keeps the last part of the samples out of calibration, for measuring the drift.

    Args:
        source: the samples.
        held_out: the part that is kept out; at least one sample, and never all.

    Returns:
        The samples to calibrate on, and those held out.

    Raises:
        CalibrationError: there are fewer than two samples.
    """
    count = len(source)
    if count < 2:
        raise CalibrationError(f"the data holds {count} sample(s), so none can be held out; give more, or --data")
    held = min(max(int(count * held_out), 1), count - 1)
    return _Slice(source, 0, count - held), _Slice(source, count - held, count)
