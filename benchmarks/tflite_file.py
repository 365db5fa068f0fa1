"""Any .tflite file with one image in and one output, whoever made it: runs it and looks inside."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from images import Floats


class TfliteFile:
    """A file open in LiteRT on one thread, with XNNPACK (LiteRT's default). Images go in as (1, 3, H, W) float32."""

    def __init__(self, path: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.path = path
        self._engine: Any = Interpreter(model_path=str(path), num_threads=1)
        self._engine.allocate_tensors()
        (self._input,), (self._output,) = self._engine.get_input_details(), self._engine.get_output_details()

    def run(self, image: Floats) -> Floats:
        """The output as float32, shape (classes,), whatever layout and dtype the file takes and gives."""
        self._engine.set_tensor(self._input["index"], self._stored(image))
        self._engine.invoke()
        raw = self._engine.get_tensor(self._output["index"]).reshape(-1)
        scale, zero = self._output["quantization"]
        result: Floats = (raw.astype(np.float32) - zero) * np.float32(scale) if raw.dtype.kind == "i" else raw
        return result

    @property
    def float_input(self) -> bool:
        """Whether images go in as float32, not as integers."""
        return bool(np.issubdtype(self._input["dtype"], np.floating))

    def prepare(self, image: Floats) -> None:
        """Sets the input for `seconds`."""
        self._engine.set_tensor(self._input["index"], self._stored(image))

    def seconds(self) -> float:
        """Wall time of one inference."""
        start = time.perf_counter()
        self._engine.invoke()
        return time.perf_counter() - start

    def operators(self) -> Counter[str]:
        """How many of each operator the file holds."""
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        engine: Any = Interpreter(model_path=str(self.path), experimental_op_resolver_type=plain)
        return Counter(op["op_name"] for op in engine._get_ops_details())

    def _stored(self, image: Floats) -> Any:
        if tuple(self._input["shape"]) != image.shape:
            image = np.ascontiguousarray(image.transpose(0, 2, 3, 1))
        dtype = self._input["dtype"]
        if not np.issubdtype(dtype, np.integer):
            return image
        scale, zero = self._input["quantization"]
        limits = np.iinfo(dtype)
        return np.clip(np.rint(image / scale) + zero, limits.min, limits.max).astype(dtype)


def sqnr(reference: Floats, measured: Floats) -> float:
    """Signal over noise in dB, over all elements together."""
    noise = float(((reference.astype(np.float64) - measured) ** 2).sum())
    return float(10 * np.log10((reference.astype(np.float64) ** 2).sum() / noise)) if noise else float("inf")
