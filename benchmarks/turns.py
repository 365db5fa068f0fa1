"""Files side by side: each runs the same held-out samples and is then timed in turn with the others.

LiteRT with XNNPACK, one thread. Files take turns in random order in every round, and ratios are taken from rounds, so
that a busy machine slows all of them alike. Where its tensors lie in memory makes a file up to 2 % faster or slower for
as long as it is open: every file is therefore closed and opened again several times, in random order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
from tables import table
from tflite_file import Floats, Sample, TfliteFile, sqnr

_OPENINGS, _WARM_UP = 10, 3


@dataclass(frozen=True)
class Row:
    """One file's figures: seconds of each round, drift against ONNX Runtime's float, and what it holds."""

    label: str
    seconds: tuple[float, ...]
    outputs: Floats
    sqnr: float
    operators: int
    transposes: int
    float_input: bool
    size: int

    @property
    def milliseconds(self) -> float:
        return float(np.median(self.seconds)) * 1e3


def measure(
    found: Mapping[str, Path], samples: Sequence[Sample], reference: Floats, counted: Floats, rounds: int
) -> list[Row]:
    """Runs every file on the samples, then times all of them in turns on the first.

    Args:
        found: label -> file.
        samples: held-out inputs.
        reference: the float outputs, (samples, elements).
        counted: 1 where an output element counts, 0 where it doesn't (padding); broadcasts against `reference`.
        rounds: how often each is timed.
    """
    times = take_turns({label: partial(TfliteFile, path) for label, path in found.items()}, samples[0], rounds)
    rows = []
    for label, path in found.items():
        file = TfliteFile(path)
        ops, out = file.operators(), np.stack([file.run(s) for s in samples])
        drift = sqnr(reference * counted, out * counted)
        size = path.stat().st_size
        rows.append(Row(label, times[label], out, drift, sum(ops.values()), ops["TRANSPOSE"], file.float_input, size))
    return rows


class Timed(Protocol):
    """An open file that can be timed."""

    def prepare(self, sample: Sample) -> None:
        """Sets the inputs for `seconds`."""

    def seconds(self) -> float:
        """Wall time of one inference."""


def take_turns(openers: Mapping[str, Callable[[], Timed]], sample: Sample, rounds: int) -> dict[str, tuple[float, ...]]:
    """Seconds of each inference, one for every round; the orders are shuffled from a seed.

    Args:
        openers: label -> what opens the file, as often as it is called.
        sample: what all of them are timed on.
        rounds: how often each is timed, all openings together.
    """
    times: dict[str, list[float]] = {label: [] for label in openers}
    order = np.random.default_rng(0)
    labels = list(openers)
    for _ in range(_OPENINGS):
        opened = {label: openers[label]() for label in order.permutation(labels)}
        for file in opened.values():
            file.prepare(sample)
        for number in range(-_WARM_UP, -(-rounds // _OPENINGS)):
            for label in order.permutation(labels):
                opened[label].seconds()  # brings its weights back into the cache after the others' turns
                seconds = opened[label].seconds()
                if number >= 0:
                    times[label].append(seconds)
    return {label: tuple(values) for label, values in times.items()}


def ratio(ours: Row, theirs: Row) -> float:
    """Median over the rounds of our time over theirs in the same round."""
    return float(np.median(np.array(ours.seconds) / np.array(theirs.seconds)))


def fastest(rows: Sequence[Row]) -> Row | None:
    """The row with the lowest median."""
    return min(rows, key=lambda row: row.milliseconds, default=None)


def show(rows: Sequence[Row], base: Row, extra: Mapping[str, Sequence[str]] | None = None) -> str:
    """The rows as a table; times beside those of `base`; `extra`: further columns, heading -> a cell a row."""
    extra = extra or {}
    head = ("file", "ms", f"/ {base.label}", "SQNR dB", *extra, "ops", "TRANSPOSE", "MB")
    cells = [
        (
            r.label,
            f"{r.milliseconds:.2f}",
            f"{ratio(r, base):.3f}",
            f"{r.sqnr:.1f}",
            *(column[i] for column in extra.values()),
            str(r.operators),
            str(r.transposes),
            f"{r.size / 1e6:.2f}",
        )
        for i, r in enumerate(rows)
    ]
    return table(head, cells)
