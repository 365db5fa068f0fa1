"""edgeport's int8 files of one model under every range method, from one calibration run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeport import api
from edgeport.calibration import METHODS, Method
from edgeport.sample import Array, Sample

__all__ = ["METHODS", "Method", "Run", "float_run", "int8_files", "int8_run"]

Run = Callable[[Sample], Sequence[Array]]
"""Runs one sample, named arrays, and gives the outputs in the order of the ONNX file."""


def int8_files(source: Path, samples: Sequence[Sample], folder: Path) -> Mapping[Method, Path]:
    """Writes one .tflite file for every method below `folder`.

    Raises:
        EdgeportError: the model is refused.
    """
    statistics = folder / "statistics.safetensors"
    # Samples of real models are what they are; judging them is not what is measured here.
    api.calibrate(str(source), calib=list(samples), out=statistics, allow_suspicious_data=True, cache=False)
    files: dict[Method, Path] = {}
    for method in METHODS:
        out = folder / method
        result = api.export(str(source), statistics=statistics, ranges=method, validate=False, out=out, cache=False)
        files[method] = Path(result.artifacts["tflite"])
    return files


def float_run(source: Path) -> tuple[tuple[str, ...], Run]:
    """The output names of an ONNX file, and its float form in ONNX Runtime."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    return tuple(o.name for o in session.get_outputs()), lambda sample: session.run(None, dict(sample))


def int8_run(path: Path, outputs: Sequence[str]) -> Run:
    """A .tflite file of edgeport's in LiteRT: it keeps the names, layouts and float outputs of its source."""
    from ai_edge_litert.interpreter import Interpreter

    engine: Any = Interpreter(model_path=str(path), num_threads=1)
    runner = engine.get_signature_runner()
    dtypes = {name: detail["dtype"] for name, detail in runner.get_input_details().items()}

    def run(sample: Sample) -> Sequence[Array]:
        results = runner(**{name: sample[name].astype(dtype, copy=False) for name, dtype in dtypes.items()})
        return [results[name] for name in outputs]

    return run
