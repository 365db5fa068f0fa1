"""What can be proven of emitted files without a GPU: our own lint, and NVIDIA's parser where it is installed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import onnx_ir as ir

from edgeport.errors import ModelError
from edgeport.findings import Finding
from edgeport.targets.tensorrt import oracle
from edgeport.targets.tensorrt.board import Board
from edgeport.targets.tensorrt.lint import lint


def linted(models: Mapping[str, ir.Model], board: Board) -> tuple[Finding, ...]:
    """The lint's warnings about models that are going to be written, each once.

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
    return tuple(dict.fromkeys(found))


def parsed(paths: Iterable[Path]) -> tuple[Finding, ...]:
    """What NVIDIA's parser says of the files; nothing where TensorRT for RTX is not installed."""
    if not oracle.installed():
        return ()
    said = ((path, one) for path in paths for one in oracle.parse(path))
    return tuple(replace(one, message=f"{path.name}: {one.message}") for path, one in said)
