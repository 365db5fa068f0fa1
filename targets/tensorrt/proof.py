"""What can be proven of emitted files without a GPU: our own lint, and NVIDIA's parser where it is installed."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib import metadata
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


class Builds:
    """Engines of emitted files by TensorRT for RTX, which needs no GPU for that; none where it is not installed.

    Args:
        paths: the files.
        ahead: begin at once, beside whatever else is done, rather than when somebody asks.
    """

    def __init__(self, paths: Iterable[Path], *, ahead: bool) -> None:
        self._paths = tuple(paths) if oracle.installed() else ()
        self._started = ThreadPoolExecutor(1).submit(_built, self._paths) if ahead and self._paths else None

    @functools.cached_property
    def findings(self) -> tuple[Finding, ...]:
        """The files of which it builds none."""
        return _built(self._paths) if self._started is None else self._started.result()


def _built(paths: Iterable[Path]) -> tuple[Finding, ...]:
    found = []
    for path in paths:
        try:
            oracle.build(path, (_GPU,))
        except oracle.WorkerError as error:
            message = f"{path.name}: TensorRT for RTX builds no engine of it: {error}"
            found.append(Finding("warning", "tensorrt-not-built", message, hint="a board's TensorRT may, or may not"))
    return tuple(found)


def proven_with() -> dict[str, str]:
    """What findings, and the engine of `desktop-rtx`, depend on beside the packages that every export uses."""
    return {"tensorrt_rtx": metadata.version("tensorrt-rtx")} if oracle.installed() else {}


def parsed(paths: Iterable[Path]) -> tuple[Finding, ...]:
    """What NVIDIA's parser says of the files; nothing where TensorRT for RTX is not installed."""
    if not oracle.installed():
        return ()
    said = ((path, one) for path in paths for one in oracle.parse(path))
    return tuple(replace(one, message=f"{path.name}: {one.message}") for path, one in said)
