"""NVIDIA ModelOpt's int8 ONNX files, from the same float file and samples, in an environment of its own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from peers import Made, Skipped, environment
from processes import Spent, spent

from edgeport.sample import Sample

METHODS = ("entropy", "max")
"""How it chooses ranges; the first is its default."""
VERSION = "nvidia-modelopt 0.47.0"


def interpreter(given: Path | None) -> Made:
    """Python with ModelOpt: the one that is given, or that of an environment which is made on first use."""
    if given is not None:
        return given
    made = environment("modelopt")
    return made if isinstance(made, Skipped) else made / "python"


def stacked(samples: Sequence[Sample], path: Path) -> Path:
    """Calibration samples as ModelOpt reads them: every input's samples in one array, along its first axis."""
    np.savez(path, **{name: np.concatenate([sample[name] for sample in samples]) for name in samples[0]})
    return path


def int8_file(python: Path, source: Path, samples: Path, method: str, out: Path) -> Spent:
    """Writes an int8 file whose other numbers are float32, as edgeport's; on one thread.

    Args:
        python: with ModelOpt.
        source: float ONNX file.
        samples: what `stacked` wrote.
        method: one of METHODS.
        out: path of the file.

    Raises:
        RuntimeError: ModelOpt does not take the model; the message is what it said last.
    """
    command = [
        *(python, "-m", "modelopt.onnx.quantization", "--quantize_mode", "int8", "--calibration_method", method),
        *("--onnx_path", source, "--calibration_data_path", samples, "--output_path", out),
        *("--high_precision_dtype", "fp32", "--calibration_eps", "cpu", "--log_level", "WARNING"),
    ]
    return spent(command, {**os.environ, "OMP_NUM_THREADS": "1"})
