"""torch's lite interpreter with the engine qnnpack for `arm_worker.py`; the outputs are called by their places."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.jit import mobile

SUFFIXES = (".ptl",)

torch.set_num_threads(1)
torch.backends.quantized.engine = "qnnpack"  # before anything is loaded: weights are packed for it then


def load(path: Path) -> Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]:
    open_file: Any = mobile._load_for_lite_interpreter
    module = open_file(str(path))

    def run(sample: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        with torch.no_grad():
            given = module(*(torch.from_numpy(array) for array in sample.values()))
        outputs = given if isinstance(given, (tuple, list)) else (given,)
        return {str(i): tensor.numpy() for i, tensor in enumerate(outputs)}

    return run
