"""Opens what an export wrote in its target's own way, by the source's names, without edgeport's runners."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

Array = np.ndarray
SUFFIXES = {"tflite": ".tflite", "coreml": ".mlpackage", "coreai": ".aimodel"}
"""The targets that can be judged."""
_PRELOADED = {"tflite": "ai_edge_litert.interpreter", "coreml": "edgeport.targets.coreml.mil", "coreai": "numpy"}
_ELEMENTS = {"fp32": "float32", "fp16": "float16", "int32": "int32"}


@dataclass(frozen=True)
class Opened:
    """A file ready to run.

    Attributes:
        inputs: name -> shape and dtype that the file takes.
        run: every output of one sample, by name.
        core_ml: whether integers and truth values are int32 at its ends, and scalars have an axis.
    """

    inputs: Mapping[str, tuple[tuple[int, ...], np.dtype]]
    run: Callable[[Mapping[str, Array]], dict[str, Array]]
    core_ml: bool = False


def toolchain(target: str) -> str:
    """The module that an export for the target takes long to import."""
    return _PRELOADED[target]


def open_artifact(target: str, path: Path) -> Opened:
    """The artifact of a target."""
    return {"tflite": _litert, "coreml": _evaluator, "coreai": _core_ai}[target](path)


def _litert(path: Path) -> Opened:
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_path=str(path), num_threads=1).get_signature_runner()
    details = runner.get_input_details()
    inputs = {name: (tuple(int(i) for i in d["shape"]), np.dtype(d["dtype"])) for name, d in details.items()}
    return Opened(inputs, lambda sample: runner(**sample))


def _evaluator(path: Path) -> Opened:
    """A package in the evaluator; the names of the source are in its metadata."""
    from edgeport.targets.coreml.evaluator.package import open_package
    from edgeport.targets.coreml.evaluator.run import Evaluator

    package = open_package(path)
    evaluator = Evaluator(package)
    renamed = json.loads(package.metadata.get("edgeport.names", "{}"))
    identifiers = {name: identifier for identifier, name in renamed.items()}

    def run(sample: Mapping[str, Array]) -> dict[str, Array]:
        done = evaluator.run({identifiers.get(name, name): array for name, array in sample.items()})
        return {renamed.get(name, name): array for name, array in done.outputs.items()}

    inputs = {
        renamed.get(name, name): (tuple(declared.shape), np.dtype(_ELEMENTS[declared.dtype]))
        for name, declared in evaluator.inputs.items()
    }
    return Opened(inputs, run, core_ml=True)


def _core_ai(path: Path) -> Opened:
    """An .aimodel in Core AI's runtime, which is kept in a process of its own."""
    from edgeport.targets.coreai import engine

    inputs = {name: (shape, np.dtype(dtype)) for name, (shape, dtype) in engine.inspect(path).inputs.items()}
    return Opened(inputs, lambda sample: engine.run(path, sample))
