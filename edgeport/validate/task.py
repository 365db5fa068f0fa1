"""Figures that need more than two arrays: top-1 against labels, and a user's metric averaged over samples."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgeport.errors import CalibrationError
from edgeport.sample import Array, Sample
from edgeport.validate.intervals import Interval, PairedMean
from edgeport.validate.metrics import is_float
from edgeport.validate.user_metric import UserMetric, sample_value


@dataclass(frozen=True)
class MetricResult:
    """A figure of the source and of the artifact on the same samples.

    Attributes:
        name: `top1`, or the user's name for it.
        values: model (`source`, `canonical`, `float_artifact`, `quantized`, `artifact`) -> value; a user's metric has
            the first and the last only.
        drop: source minus artifact.
        output: the output that `top1` looks at.
        samples: number of samples that count; None for a task metric, which brings its own data.
        interval: 95 % interval of the artifact's value, None where it cannot be had.
        drop_interval: the paired 95 % interval of `drop`.
    """

    name: str
    values: Mapping[str, float]
    drop: float
    output: str | None = None
    samples: int | None = None
    interval: Interval | None = None
    drop_interval: Interval | None = None


@dataclass
class Top1:
    """Share of labelled rows whose largest element is at the label's index, for every model at once.

    The output is the first float one whose rows (all axes but the last) are as many as the sample's labels and that
    has at least two classes. Negative labels mark rows that do not count. Labels that are no class indices, or fit no
    output, belong to a metric of the user's own: `misfit` then says why there is no top-1.
    """

    output: str = ""
    misfit: str | None = None
    _right: dict[str, float] = field(default_factory=dict)
    _rows: float = 0.0
    _paired: PairedMean = field(default_factory=lambda: PairedMean(share=True))

    def update(self, stages: Mapping[str, Mapping[str, Array]], label: Any, index: int) -> None:
        """Adds sample number `index`; `stages` maps models to their outputs.

        Raises:
            CalibrationError: the labels of a later sample do not fit the output that those of the first fit.
        """
        if self.misfit is not None:
            return
        labels = np.asarray(label)
        if index == 0:
            self.output, self.misfit = _labelled_output(stages["source"], labels)
            if self.misfit is not None:
                return
        shape = stages["source"][self.output].shape
        if labels.dtype.kind not in "iu" or math.prod(shape[:-1]) != labels.size:
            raise CalibrationError(
                f"the label of sample {index} ({labels.dtype}, shape {list(labels.shape)}) does not fit "
                f"output {self.output!r} of shape {list(shape)}"
            )
        labels = labels.astype(np.int64).reshape(-1)
        if labels.size and labels.max() >= shape[-1]:
            raise CalibrationError(
                f"label {labels.max()} of sample {index} is not a class of output {self.output!r}, "
                f"which has {shape[-1]}"
            )
        known = labels >= 0
        count = float(np.count_nonzero(known))
        right: dict[str, float] = {}
        for stage, outputs in stages.items():
            rows = outputs[self.output].astype(np.float64).reshape(labels.size, shape[-1])
            # argmax takes a NaN for the largest element: such a row has no answer.
            hit = (rows.argmax(-1) == labels) & ~np.isnan(rows).any(-1)
            right[stage] = float(np.count_nonzero(hit & known))
            self._right[stage] = self._right.get(stage, 0.0) + right[stage]
        self._rows += count
        self._paired.add(right["source"], right["artifact"], count)

    def result(self) -> MetricResult | None:
        """The figures so far, None if no label counts."""
        if not self._rows:
            return None
        values = {stage: right / self._rows for stage, right in self._right.items()}
        _, interval, drop_interval = self._paired.intervals()
        return MetricResult(
            "top1", values, self._paired.means()[2], self.output, self._paired.samples, interval, drop_interval
        )


@dataclass
class SampleMetric:
    """A user's per-sample metric, averaged."""

    metric: UserMetric
    _paired: PairedMean = field(default_factory=lambda: PairedMean(share=False))

    def update(
        self, sample: Sample, source: Mapping[str, Array], artifact: Mapping[str, Array], label: Any | None
    ) -> None:
        """Adds one sample.

        Raises:
            UsageError: the user's code failed or did not return a finite number.
        """
        first = sample_value(self.metric, sample, source, label)
        self._paired.add(first, sample_value(self.metric, sample, artifact, label))

    def result(self) -> MetricResult:
        """The figures of all samples (at least one)."""
        first, second, drop = self._paired.means()
        _, interval, drop_interval = self._paired.intervals()
        values = {"source": first, "artifact": second}
        return MetricResult(self.metric.name, values, drop, None, self._paired.samples, interval, drop_interval)


def _labelled_output(outputs: Mapping[str, Array], labels: Array) -> tuple[str, str | None]:
    """The output that labels belong to, or the reason why there is none."""
    if labels.dtype.kind not in "iu":
        return "", f"labels are {labels.dtype}, not integer class indices"
    for name, value in outputs.items():
        if is_float(value.dtype) and value.ndim and value.shape[-1] > 1 and math.prod(value.shape[:-1]) == labels.size:
            return name, None
    shapes = ", ".join(f"{name!r} {list(value.shape)}" for name, value in outputs.items())
    return "", f"a sample has {labels.size} label(s), which fit the rows of no output ({shapes})"
