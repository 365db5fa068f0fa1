"""Engines of TensorRT for RTX, which are built without a GPU and are artifacts themselves.

An engine is for several generations of GPUs at once (docs.nvidia.com/deeplearning/tensorrt-rtx, "CPU-only engines").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from edgeport.errors import ModelError, ToolchainError
from edgeport.findings import Finding
from edgeport.targets.tensorrt import oracle
from edgeport.targets.tensorrt.board import Board
from edgeport.targets.worker_process import WorkerError

SUFFIX = ".rtx"


def require_builder(board: Board) -> None:
    """Refuses a device whose engines are built here where the builder is missing.

    Raises:
        ToolchainError: with the pip line.
    """
    if board.engine == "rtx" and not oracle.installed():
        raise ToolchainError(
            f"--profile {board.name} builds engines with TensorRT for RTX, which is not installed: "
            f"pip install {oracle.REQUIREMENT}"
        )


def build_rtx(onnx: Path, stem: Path, board: Board) -> tuple[Path, tuple[Finding, ...]]:
    """Writes `stem.rtx`, one engine for as many of the board's GPUs as it builds for.

    Args:
        onnx: the file that it is built from.
        stem: the engine's path without its suffix, e.g. `out/model.int8`.
        board: names the GPUs.

    Returns:
        The file; and a warning for GPUs that the engine is not for, with the reason.

    Raises:
        ToolchainError: TensorRT for RTX is not installed.
        ModelError: it builds for none of the GPUs.
    """
    require_builder(board)
    path = stem.with_name(f"{stem.name}{SUFFIX}")
    fit, reasons = board.gpus, dict[str, str]()
    try:
        engine = oracle.build(onnx, fit)
    except WorkerError:
        fit, reasons = _fitting(onnx, board.gpus)
        if not fit:
            raise _refusal(onnx, reasons) from None
        engine = oracle.build(onnx, fit)
    path.write_bytes(engine)
    return path, tuple(_left_out(path, gpu, reason) for gpu, reason in reasons.items())


def _fitting(onnx: Path, gpus: Sequence[str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """The GPUs that an engine can be built for, and why not for the others."""
    reasons: dict[str, str] = {}
    for gpu in gpus:
        try:
            oracle.build(onnx, (gpu,))
        except WorkerError as error:
            reasons[gpu] = str(error)
    return tuple(gpu for gpu in gpus if gpu not in reasons), reasons


def _refusal(onnx: Path, reasons: Mapping[str, str]) -> ModelError:
    found = [Finding("error", "engine-not-built", f"{gpu}: {reason}") for gpu, reason in reasons.items()]
    return ModelError(f"TensorRT for RTX builds no engine of {onnx.name}: {next(iter(reasons.values()))}", found)


def _left_out(path: Path, gpu: str, reason: str) -> Finding:
    message = f"{path.name} is not for GPUs of compute capability {_capability(gpu)}: {reason}"
    return Finding("warning", "engine-not-for-gpu", message, hint="export a precision that they have for those")


def _capability(gpu: str) -> str:
    """`SM86` is 8.6, `SM120` is 12.0."""
    digits = gpu.removeprefix("SM")
    return f"{digits[:-1]}.{digits[-1]}"
