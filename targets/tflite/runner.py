"""Runs a .tflite file in LiteRT under canonical names, shapes and dtypes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from edgeport.errors import ModelError, UsageError
from edgeport.findings import Finding
from edgeport.sample import Array, InputSpec, Sample
from edgeport.targets.tflite.interpreter import interpreter
from edgeport.targets.values import dtype_of, shape_of, spec_of
from edgeport.validate.runner import Verdict

_NAME = re.compile(r"^(?P<name>.*?)(?:\|(?P<layout>[0-9_]+))?(?:\|(?P<form>[qf]))?$", re.DOTALL)


@dataclass
class LiteRtRunner:
    """A `Runner` over a .tflite file.

    Args:
        path: the file.
        graph: the canonical graph it was lowered from; gives names, shapes and dtypes.
    """

    path: Path
    graph: ir.Model

    def __post_init__(self) -> None:
        self._opened: dict[bool, tuple[Any, Any]] = {}

    @property
    def inputs(self) -> tuple[InputSpec, ...]:
        """The graph's inputs."""
        return tuple(spec_of(v) for v in self.graph.graph.inputs)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The graph's output names."""
        return tuple(v.name or "" for v in self.graph.graph.outputs)

    @property
    def verdict(self) -> Verdict:
        """LiteRT is the target's own runtime."""
        return "measured"

    @property
    def remarks(self) -> tuple[Finding, ...]:
        """LiteRT shows outputs only."""
        return ()

    def run(self, sample: Sample) -> dict[str, Array]:
        """Runs one sample (batch axis included) and returns every output by name."""
        return self._invoke(self._open(preserve_all=False)[1], sample)

    def intermediates(self, sample: Sample, names: Sequence[str]) -> dict[str, Array]:
        """Internal tensors by canonical name, as float, in ONNX layout; values that fusion removed are left out."""
        opened, runner = self._open(preserve_all=True)
        self._invoke(runner, sample)
        values = {v.name: v for node in self.graph.graph for v in node.outputs}
        values.update({v.name: v for v in self.graph.graph.inputs})
        wanted, found = set(names), {}
        for detail in opened.get_tensor_details():
            match = _NAME.match(detail["name"])
            name = match["name"] if match else ""
            if match is None or name not in wanted or name in found or name not in values:
                continue
            if detail["name"] != name and detail["name"] in values:  # `a|q` may be a form of `a` or the value `a|q`
                continue
            try:
                raw = opened.get_tensor(detail["index"])
            except ValueError:  # optimized away by the delegate
                continue
            stored = _dequantized(raw, detail["quantization_parameters"])
            found[name] = _onnx_order(stored, shape_of(values[name]), match["layout"])
        return found

    def stored_inputs(self, sample: Sample) -> list[Array]:
        """A sample as the file's input tensors, in the file's order, for another runtime of the same file."""
        opened, runner = self._open(preserve_all=False)
        feeds, details = self._feeds(runner, sample), runner.get_input_details()
        named = {int(details[name]["index"]): array for name, array in feeds.items()}
        return [named[int(detail["index"])] for detail in opened.get_input_details()]

    def named_outputs(self, tensors: Sequence[Array]) -> dict[str, Array]:
        """The file's output tensors, in the file's order, by canonical name."""
        opened, runner = self._open(preserve_all=False)
        order = [int(detail["index"]) for detail in opened.get_output_details()]
        details = runner.get_output_details()
        return self._results(runner, {name: tensors[order.index(int(d["index"]))] for name, d in details.items()})

    def _open(self, preserve_all: bool) -> tuple[Any, Any]:
        """The interpreter and the runner of its signature, opened once."""
        if preserve_all not in self._opened:
            try:
                opened = interpreter(self.path, preserve_all=preserve_all)
                self._opened[preserve_all] = opened, opened.get_signature_runner("serving_default")
            except (RuntimeError, ValueError) as error:
                reason = " ".join(str(error).split())
                raise ModelError(
                    f"{self.path} is no .tflite file that LiteRT can run, or is damaged ({reason}); export it again"
                ) from error
        return self._opened[preserve_all]

    def _invoke(self, runner: Any, sample: Sample) -> dict[str, Array]:
        feeds = self._feeds(runner, sample)
        try:
            raw = runner(**feeds)
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise ModelError(f"LiteRT stopped while running {self.path.name}: {reason}") from error
        return self._results(runner, raw)

    def _feeds(self, runner: Any, sample: Sample) -> dict[str, Array]:
        details = runner.get_input_details()
        if set(sample) != set(details):
            raise UsageError(f"the sample has inputs {sorted(sample)}, {self.path.name} takes {sorted(details)}")
        feeds = {}
        for name, detail in details.items():
            array = _stored_order(np.asarray(sample[name]), detail["name"])
            if tuple(array.shape) != tuple(detail["shape"]):
                raise UsageError(
                    f"input {name!r} has shape {array.shape}, {self.path.name} takes {tuple(detail['shape'])}"
                )
            feeds[name] = _as_stored(array, detail)
        return feeds

    def _results(self, runner: Any, raw: Mapping[str, Array]) -> dict[str, Array]:
        results = {}
        for value in self.graph.graph.outputs:
            name = value.name or ""
            if name not in raw:
                raise UsageError(f"the model has output {name!r}, {self.path.name} gives {sorted(raw)}")
            detail = runner.get_output_details()[name]
            array = _dequantized(raw[name], detail["quantization_parameters"])
            if array.size != math.prod(shape_of(value)):
                raise UsageError(
                    f"output {name!r} has shape {array.shape} in {self.path.name}, the model gives {shape_of(value)}"
                )
            results[name] = np.array(array, dtype=dtype_of(value)).reshape(shape_of(value))
        return results


def _stored_order(array: Array, tensor_name: str) -> Array:
    """An input in the order in which the file takes it, which the name of its tensor says."""
    match = _NAME.match(tensor_name)
    order = [int(c) for c in (match["layout"] or "") if c != "_"] if match else []
    return array.transpose(order) if len(order) == array.ndim > 0 else array


def _as_stored(array: Array, detail: Any) -> Array:
    scales = detail["quantization_parameters"]["scales"]
    if scales.size and array.dtype.kind == "f":
        info = np.iinfo(detail["dtype"])
        q = np.rint(array / scales[0]) + detail["quantization_parameters"]["zero_points"][0]
        return np.asarray(np.clip(q, info.min, info.max), detail["dtype"])
    return np.asarray(array, detail["dtype"], order="C")


def _dequantized(array: Array, params: Any) -> Array:
    if not params["scales"].size or array.dtype.kind not in "iu":
        return np.array(array)
    real = (array.astype(np.int64) - params["zero_points"][0]) * params["scales"][0]
    return np.asarray(real, np.float32)


def _onnx_order(stored: Array, shape: tuple[int, ...], layout: str | None) -> Array:
    if layout is None:
        return stored.reshape(shape)
    order = [int(c) for c in layout if c != "_"]
    squeezed = stored.reshape([shape[a] for a in order])
    return squeezed.transpose(sorted(range(len(order)), key=lambda i: order[i])).reshape(shape)
