"""Any .tflite file, whoever made it: runs it, times it and looks inside."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Sample = Mapping[str, npt.NDArray[Any]]
"""The source's input names -> arrays in the source's layout and dtype."""
Floats = npt.NDArray[np.float32]


class TfliteFile:
    """A file open in LiteRT on one thread, with XNNPACK (LiteRT's default)."""

    def __init__(self, path: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.path = path
        self._engine: Any = Interpreter(model_path=str(path), num_threads=1)
        self._engine.allocate_tensors()

    def run(self, sample: Sample) -> Floats:
        """The outputs as float32, flat and joined, whatever dtype the file gives."""
        self.prepare(sample)
        self._engine.invoke()
        return np.concatenate([self._read(detail) for detail in self._engine.get_output_details()])

    def _read(self, detail: Any) -> Floats:
        raw = self._engine.get_tensor(detail["index"]).reshape(-1)
        scale, zero = detail["quantization"]
        result: Floats = (raw.astype(np.float32) - zero) * np.float32(scale) if raw.dtype.kind == "i" else raw
        return result

    @property
    def float_input(self) -> bool:
        """Whether values go in as they are, not as quantized integers."""
        return all(detail["quantization"][0] == 0 for detail in self._engine.get_input_details())

    def prepare(self, sample: Sample) -> None:
        """Sets the inputs for `seconds`."""
        for name, detail in self._inputs(sample).items():
            self._engine.set_tensor(detail["index"], _stored(sample[name], detail))

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

    def _inputs(self, sample: Sample) -> dict[str, Any]:
        """Source name -> the file's input; files with names of their own (args_0, ...) keep the source's order."""
        details = {d["index"]: d for d in self._engine.get_input_details()}
        signatures = self._engine.get_signature_list()
        if signatures:
            runner = self._engine.get_signature_runner(next(iter(signatures)))
            named = {name: details[d["index"]] for name, d in sorted(runner.get_input_details().items())}
            ordered = list(named.values())
            if set(named) == set(sample):
                return named
        else:
            ordered = list(details.values())
        return dict(zip(sample, ordered, strict=True))


def _stored(array: npt.NDArray[Any], detail: Any) -> npt.NDArray[Any]:
    if tuple(detail["shape"]) != array.shape:
        array = np.ascontiguousarray(array.transpose(0, 2, 3, 1))
    dtype = detail["dtype"]
    scale, zero = detail["quantization"]
    if not scale:
        return array.astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.rint(array / scale) + zero, limits.min, limits.max).astype(dtype)


def sqnr(reference: Floats, measured: Floats) -> float:
    """Signal over noise in dB, over all elements together."""
    noise = float(((reference.astype(np.float64) - measured) ** 2).sum())
    return float(10 * np.log10((reference.astype(np.float64) ** 2).sum() / noise)) if noise else float("inf")
