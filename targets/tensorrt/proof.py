"""What can be proven of emitted files without a GPU: our own lint, and NVIDIA's parser where it is installed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import onnx_ir as ir

from edgeport.errors import ModelError
from edgeport.findings import Finding, gathered
from edgeport.targets.tensorrt import oracle
from edgeport.targets.tensorrt.board import Board
from edgeport.targets.tensorrt.lint import lint

_GPU = "SM89"
"""The oldest that has every type of the precisions."""


def linted(models: Mapping[str, ir.Model], board: Board) -> tuple[Finding, ...]:
    """The lint's warnings about models that are going to be written, one for each rule.

    Raises:
        ModelError: a model breaks a rule. That is a defect of this target, whatever the source was.
    """
    found = [finding for model in models.values() for finding in lint(model, board)]
    errors = [finding for finding in found if finding.severity == "error"]
    if errors:
        raise ModelError(
            f"target tensorrt: the file would break a rule of TensorRT ({errors[0].message}, {errors[0].node}); "
            "this is a defect of edgeport, please report it with the model",
            errors,
        )
    return gathered(dict.fromkeys(found))  # what stands in several of the models is told once


def built(paths: Iterable[Path]) -> tuple[Finding, ...]:
    """Of which files TensorRT for RTX, where it is installed, builds no engine; it needs no GPU for that."""
    if not oracle.installed():
        return ()
    found = []
    for path in paths:
        try:
            oracle.build(path, (_GPU,))
        except oracle.WorkerError as error:
            message = f"{path.name}: TensorRT for RTX builds no engine of it: {error}"
            found.append(Finding("warning", "tensorrt-not-built", message, hint="a board's TensorRT may, or may not"))
    return tuple(found)


def parsed(paths: Iterable[Path]) -> tuple[Finding, ...]:
    """What NVIDIA's parser says of the files; nothing where TensorRT for RTX is not installed."""
    if not oracle.installed():
        return ()
    said = ((path, one) for path in paths for one in oracle.parse(path))
    return tuple(replace(one, message=f"{path.name}: {one.message}") for path, one in said)
