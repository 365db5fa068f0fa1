"""ONNX Runtime for `arm_worker.py`, on one thread, with the optimizations that it does by default."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime

SUFFIXES = (".onnx", ".ort")


def load(path: Path) -> Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(sample: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return dict(zip(names, session.run(names, sample), strict=True))

    return run
