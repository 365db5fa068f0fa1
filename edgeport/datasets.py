"""`--calib` and `--data` for a prepared model: what to calibrate on, and what the drift is measured on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeport.calibration import Preprocessing, SampleSource, open_samples, split
from edgeport.description import ImageInput
from edgeport.findings import Finding
from edgeport.preparation import Prepared, divisors, example_samples, run_source

_MADE_UP = 4


@dataclass(frozen=True)
class Datasets:
    """Opened data. `calibration` is None without `--calib`; `held_out` is made up where there is no data at all."""

    calibration: SampleSource | None
    held_out: SampleSource
    findings: tuple[Finding, ...]

    def describe(self) -> dict[str, Any]:
        """JSON-ready facts with digests, for the manifest and the report."""
        named = {"calibration": self.calibration, "held_out": self.held_out}
        return {k: {**s.description(), "sha256": s.digest()} for k, s in named.items() if s is not None}


def open_datasets(
    prepared: Prepared,
    calib: Any,
    data: Any,
    preprocessing: Mapping[str, Any] | None,
    tokenizer: Path | None,
    images: Mapping[str, ImageInput] | None = None,
) -> Datasets:
    """Opens both; without `data` the last eighth of the calibration data is held out.

    `images` are inputs of the artifact that are pixels, so that samples which have to be made up are, too.

    Raises:
        CalibrationError: the data cannot be read or does not fit the model's inputs.
        ModelError: there is no data, and the model cannot be run.
        UsageError: the preprocessing makes no sense.
    """
    calibration = open_source(prepared, calib, preprocessing, tokenizer) if calib is not None else None
    findings = calibration.findings if calibration is not None else ()
    if data is not None:
        held_out = open_source(prepared, data, preprocessing, tokenizer)
        findings = (*findings, *held_out.findings)
    elif calibration is not None:
        calibration, held_out = split(calibration)
    else:
        run_source(prepared.captured)  # where the samples are ours, a failure is the model's
        made_up = example_samples(prepared.inputs, _MADE_UP, divisors(prepared.captured.model), images)
        held_out = open_samples(made_up, prepared.inputs)
        message = f"no data was given: the drift is measured on {_MADE_UP} made-up samples"
        findings = (Finding("warning", "made-up-samples", message, hint="give real samples with --data"),)
    return Datasets(calibration, held_out, findings)


def open_source(
    prepared: Prepared, data: Any, preprocessing: Mapping[str, Any] | None, tokenizer: Path | None
) -> SampleSource:
    """Opens one set of samples for a prepared model.

    Raises:
        CalibrationError: the data cannot be read or does not fit the model's inputs.
        UsageError: the preprocessing makes no sense.
    """
    declared = Preprocessing.parse(preprocessing) if preprocessing is not None else None
    return open_samples(data, prepared.inputs, preprocessing=declared, tokenizer=tokenizer)
