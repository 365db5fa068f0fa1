"""The folder of files that `arm_worker.py` runs on both machines, and what may differ between them."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_NEARER = 1.0
"""How many dB further from float than here a file may be on ARM: two golden samples tell less."""


@dataclass(frozen=True)
class Emitted:
    """A file to compare.

    Attributes:
        name: without the ending.
        least_db: the least SQNR in dB of the outputs on ARM; None: equal bytes.
        beside: what they are compared with.
        expected: the outputs (NAME/INDEX/OUTPUT -> array) where they do not come from the same runtime on x86-64.
        reference: the float source's outputs. Deep networks of integers with floats between them spread one turned
            rounding to many; what counts then is that the file is as near to these on ARM as it is here.
    """

    name: str
    least_db: float | None
    beside: str = "x86-64"
    expected: Mapping[str, np.ndarray] | None = None
    reference: Mapping[str, np.ndarray] | None = None

    @property
    def allowed(self) -> str:
        """`least_db` in words."""
        if self.least_db is None:
            return "identical"
        return f">= {self.least_db:.0f} dB" + ("" if self.reference is None else " or as near to float")


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
    for where, outputs in (("here", here), ("on ARM", arm)):
        if f"{file.name}/error" in outputs:
            return f"fails {where}: {outputs[f'{file.name}/error'][0]}", False
    sought = {key: array for key, array in here.items() if key.startswith(f"{file.name}/")}
    expected = sought if file.expected is None else file.expected
    if not expected or {key for key in arm if key.startswith(f"{file.name}/")} != set(expected):
        return "other outputs", False
    pairs = [(array, arm[key]) for key, array in expected.items()]
    if any(a.shape != b.shape or a.dtype != b.dtype for a, b in pairs):
        return "outputs of another shape or dtype", False
    if all(a.tobytes() == b.tobytes() for a, b in pairs):
        return f"identical ({sum(a.nbytes for a, _ in pairs)} bytes)", True
    ratio, largest = _sqnr(pairs), max(float(np.abs(a.astype(np.float64) - b).max()) for a, b in pairs)
    figure = f"{ratio:.1f} dB, largest {largest:.1e}"
    if file.least_db is None or ratio >= file.least_db:
        return figure, file.least_db is not None
    if file.reference is None or set(file.reference) != set(expected):
        return figure, False
    near_here = _sqnr([(array, expected[key]) for key, array in file.reference.items()])
    near_arm = _sqnr([(array, arm[key]) for key, array in file.reference.items()])
    return f"{figure}; from float {near_arm:.1f} dB, here {near_here:.1f}", near_arm >= near_here - _NEARER


def _sqnr(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """Signal to noise in dB over all (reference, other) arrays."""
    wide = [(a.astype(np.float64), b.astype(np.float64)) for a, b in pairs]
    noise = sum(float(((a - b) ** 2).sum()) for a, b in wide)
    return float(10 * np.log10(sum(float((a**2).sum()) for a, _ in wide) / noise)) if noise else np.inf
