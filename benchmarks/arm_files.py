"""The folder of files that `arm_worker.py` runs on both machines, and what may differ between them."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Emitted:
    """A file to compare.

    Attributes:
        name: without the ending.
        least_db: the least SQNR in dB of the outputs on ARM; None: equal bytes.
        beside: what they are compared with.
        expected: the outputs (NAME/INDEX/OUTPUT -> array) where they do not come from the same runtime on x86-64.
    """

    name: str
    least_db: float | None
    beside: str = "x86-64"
    expected: Mapping[str, np.ndarray] | None = None

    @property
    def allowed(self) -> str:
        """`least_db` in words."""
        return "identical" if self.least_db is None else f">= {self.least_db:.0f} dB"


def write_file(artifact: Path, name: str, samples: Iterable[Mapping[str, np.ndarray]], folder: Path) -> None:
    """Copies an artifact to `folder` under another name, and the samples beside it as INDEX/INPUT in their order."""
    shutil.copyfile(artifact, folder / f"{name}{artifact.suffix}")
    arrays = {f"{i}/{key}": array for i, sample in enumerate(samples) for key, array in sample.items()}
    np.savez(folder / f"{name}.npz", **arrays)


def compare(file: Emitted, here: Mapping[str, np.ndarray], arm: Mapping[str, np.ndarray]) -> tuple[str, bool]:
    """The distance of all outputs of a file in words, and whether it is allowed.

    Args:
        file: which.
        here: this machine's outputs of all files, NAME/INDEX/OUTPUT -> array.
        arm: those of the emulated core.
    """
    sought = {key: array for key, array in here.items() if key.startswith(f"{file.name}/")}
    expected = sought if file.expected is None else file.expected
    if not expected or {key for key in arm if key.startswith(f"{file.name}/")} != set(expected):
        return "other outputs", False
    pairs = [(array, arm[key]) for key, array in expected.items()]
    if any(a.shape != b.shape or a.dtype != b.dtype for a, b in pairs):
        return "outputs of another shape or dtype", False
    if all(a.tobytes() == b.tobytes() for a, b in pairs):
        return f"identical ({sum(a.nbytes for a, _ in pairs)} bytes)", True
    wide = [(a.astype(np.float64), b.astype(np.float64)) for a, b in pairs]
    noise = sum(float(((a - b) ** 2).sum()) for a, b in wide)
    ratio = 10 * np.log10(sum(float((a**2).sum()) for a, _ in wide) / noise) if noise else np.inf
    largest = max(float(np.abs(a - b).max()) for a, b in wide)
    return f"{ratio:.1f} dB, largest {largest:.1e}", file.least_db is not None and bool(ratio >= file.least_db)
