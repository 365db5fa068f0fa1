"""ExecuTorch for `arm_worker.py`, on one thread; the outputs are called by their places."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

SUFFIXES = (".pte",)


def load(path: Path) -> Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]:
    module = _bindings()._load_for_executorch(str(path))

    def run(sample: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        # Copies: a runtime that plans its memory may write into what it was given, and numpy's may be read-only.
        outputs = module.forward([torch.from_numpy(array.copy()) for array in sample.values()])
        return {str(i): tensor.numpy().copy() for i, tensor in enumerate(outputs)}

    return run


def _bindings() -> Any:
    """The runtime alone. Its package would import the whole exporter, for which ARM lacks the packages."""
    if "executorch.exir" not in sys.modules:
        found = importlib.util.find_spec("executorch")
        if found is None or not found.submodule_search_locations:
            raise ModuleNotFoundError("executorch is not installed")
        exporter = ModuleType("executorch.exir")
        exporter.__path__ = [str(Path(found.submodule_search_locations[0]) / "exir")]
        sys.modules["executorch.exir"] = exporter
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # experimental
        bindings = importlib.import_module("executorch.extension.pybindings.portable_lib")
    bindings._unsafe_reset_threadpool(1)
    return bindings
