"""LiteRT for `arm_worker.py`, on one thread."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

SUFFIXES = (".tflite",)


def load(path: Path) -> Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]:
    signature = Interpreter(model_path=str(path), num_threads=1).get_signature_runner()

    def run(sample: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        outputs: dict[str, np.ndarray] = signature(**sample)
        return outputs

    return run
