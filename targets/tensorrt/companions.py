"""The float files that go with a quantized one: each is run once beside the canonical graph, on the first sample."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import onnx_ir as ir

from edgeport.errors import ModelError
from edgeport.findings import Finding
from edgeport.sample import Array, Sample
from edgeport.validate.metrics import OutputDrift
from edgeport.validate.onnx_runner import OnnxRunner

_LEAST_DB = 30.0
"""Float arithmetic explains no more noise, in halves neither; 100 dB and 50 dB are usual."""
_NEGLIGIBLE = 1e-4
"""Absolute error below which a low SQNR only says that the output was next to zero."""


def check_companions(paths: Sequence[Path], graph: ir.Model, sample: Sample) -> Iterator[Finding]:
    """Runs files with another arithmetic than the artifact's on a sample.

    Args:
        paths: float files, `NAME.fp32.onnx` or `NAME.fp16.onnx`.
        graph: the canonical graph.
        sample: one sample.

    Yields:
        A remark for every file with halves that is far from the float model.

    Raises:
        ModelError: a float32 file does not compute what the graph computes, which is a defect of this target.
    """
    if not paths:
        return
    want = OnnxRunner(graph).run(sample)
    for path in paths:
        for name, decibels in _far(want, OnnxRunner(path, optimize=False).run(sample)):
            if ".fp16." not in path.name:
                raise ModelError(
                    f"target tensorrt: {path.name} does not compute what the model computes (output {name!r}: "
                    f"{decibels:.1f} dB); this is a defect of edgeport, please report it with the model"
                )
            message = f"{path.name}: output {name!r} has {decibels:.1f} dB SQNR in float16"
            yield Finding("warning", "fp16-drift", message, hint="use the quantized file or NAME.fp32.onnx")


def _far(want: Mapping[str, Array], got: Mapping[str, Array]) -> Iterator[tuple[str, float]]:
    for name, reference in want.items():
        drift = OutputDrift(name)
        drift.update(reference, got[name].astype(reference.dtype, copy=False))
        metrics = drift.result()
        low = metrics.sqnr_db is not None and metrics.sqnr_db < _LEAST_DB
        if metrics.sqnr_db is not None and low and (metrics.max_abs or 0) > _NEGLIGIBLE:
            yield name, metrics.sqnr_db
