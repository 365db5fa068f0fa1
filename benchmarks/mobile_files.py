"""Files for phones, whoever made them, open on one thread.

.ptl in torch's lite interpreter, .pte in ExecuTorch, .onnx in ONNX Runtime.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tflite_file import Floats, Sample

_ENGINE = "qnnpack"


class MobileFile:
    """An open file; its inputs are those of the source, in the same order."""

    def __init__(self, path: Path) -> None:
        self._stored, self._invoke = _OPENERS[path.suffix](path)
        self._prepared: Any = None

    def run(self, sample: Sample) -> Floats:
        """The outputs as float32, flat and joined."""
        self.prepare(sample)
        return np.concatenate([np.asarray(array, np.float32).ravel() for array in self._invoke(self._prepared)])

    def prepare(self, sample: Sample) -> None:
        """Sets the inputs for `seconds`."""
        self._prepared = self._stored(sample)

    def seconds(self) -> float:
        """Wall time of one inference."""
        start = time.perf_counter()
        self._invoke(self._prepared)
        return time.perf_counter() - start


_Opened = tuple[Callable[[Sample], Any], Callable[[Any], Sequence[Any]]]
"""What makes a sample the runtime's own arrays, and what runs these."""


def _tensors(sample: Sample) -> list[Any]:
    import torch

    # Copied: a batch axis that numpy put in front has stride 0, which ExecuTorch refuses.
    return [torch.from_numpy(array.copy()) for array in sample.values()]


def _lite(path: Path) -> _Opened:
    import torch
    from torch.jit import mobile

    torch.set_num_threads(1)
    torch.backends.quantized.engine = _ENGINE  # weights are packed for the engine that is set when a file is loaded
    module: Any = mobile._load_for_lite_interpreter(str(path))  # type: ignore[no-untyped-call]

    def invoke(tensors: list[Any]) -> Sequence[Any]:
        with torch.inference_mode():
            found = module(*tensors)
        return found if isinstance(found, tuple | list) else (found,)

    return _tensors, invoke


def _executorch(path: Path) -> _Opened:
    from executorch.extension.pybindings import portable_lib

    portable_lib._unsafe_reset_threadpool(1)
    module: Any = portable_lib._load_for_executorch(str(path))
    return _tensors, module.forward


def _onnx(path: Path) -> _Opened:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return dict, lambda arrays: session.run(None, arrays)


_OPENERS: dict[str, Callable[[Path], _Opened]] = {".ptl": _lite, ".pte": _executorch, ".onnx": _onnx}
