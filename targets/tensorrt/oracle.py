"""NVIDIA's own ONNX parser as a check of our files, where TensorRT for RTX is installed.

It is of the TensorRT 11 generation and needs no GPU. What it rejects, a board rejects most likely, too; what it takes,
the older parser of a board may still reject: `limits` knows those.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from edgeport.findings import Finding
from edgeport.targets.tensorrt.operators import restriction
from edgeport.targets.tensorrt.oracle_worker import Said
from edgeport.targets.tensorrt.version import Version
from edgeport.targets.worker_process import WorkerDied, WorkerError, WorkerProcess

REQUIREMENT = "tensorrt-rtx==1.7.1.116"
GENERATION = Version(11, 2)
"""Of TensorRT, whose parser it has."""
WORKER = WorkerProcess("edgeport.targets.tensorrt.oracle_worker")


def installed() -> bool:
    """Whether TensorRT for RTX can be asked."""
    return importlib.util.find_spec("tensorrt_rtx") is not None


def parse(model: Path | bytes) -> tuple[Finding, ...]:
    """What NVIDIA's parser says of an ONNX file.

    Args:
        model: a file, read with the external data that lies beside it, or the bytes of one without any.

    Returns:
        Warnings with the parser's own words: `tensorrt-rejects` with the node, `tensorrt-warns`, and
        `tensorrt-parser-died` if it crashed; or one remark, `tensorrt-parser-absent`, if it could not be asked. Empty
        if it takes the file and says nothing.
    """
    try:
        said: list[Said] = WORKER.ask("parse", _given(model))
    except WorkerDied as died:
        return (Finding("warning", "tensorrt-parser-died", f"NVIDIA's ONNX parser does not survive the file: {died}"),)
    except WorkerError as error:
        return (Finding("info", "tensorrt-parser-absent", f"NVIDIA's ONNX parser could not be asked: {error}"),)
    return tuple(_finding(one) for one in said)


def rejections(model: Path | bytes) -> tuple[Finding, ...]:
    """Those of `parse` that say that the parser does not take the file."""
    return tuple(found for found in parse(model) if found.code in ("tensorrt-rejects", "tensorrt-parser-died"))


def importers(op_types: Iterable[str]) -> frozenset[str]:
    """Those of the operators that NVIDIA's parser imports in some form.

    Raises:
        WorkerError: TensorRT for RTX is not installed, or its version has another interface.
    """
    return frozenset(WORKER.ask("importers", tuple(op_types)))


def build(model: Path | bytes, capabilities: Sequence[str]) -> bytes:
    """An engine of TensorRT for RTX, built without a GPU; the same arguments give the same bytes.

    Args:
        model: as for `parse`.
        capabilities: GPUs that it is for, as `tensorrt_rtx.ComputeCapability` names them, e.g. `("SM86", "SM89")`.

    Raises:
        WorkerError: the parser rejects the file, or the builder cannot build it for one of them; with the reason.
    """
    with tempfile.TemporaryDirectory(prefix="edgeport-") as folder:
        path = Path(folder) / "engine"
        WORKER.ask("build", _given(model), str(path), tuple(capabilities))
        return path.read_bytes()


def _given(model: Path | bytes) -> str | bytes:
    return model if isinstance(model, bytes) else str(model.absolute())


def _finding(said: Said) -> Finding:
    kind, text, node, op = said
    if kind == "warns":
        return Finding("warning", "tensorrt-warns", f"NVIDIA's ONNX parser warns: {text}")
    demand = restriction(op, GENERATION)
    hint = None if demand is None else f"TensorRT demands of {op}: {demand}"
    message = f"NVIDIA's ONNX parser rejects it: {text}"
    return Finding("warning", "tensorrt-rejects", message, node or None, op or None, hint)


__all__ = ["REQUIREMENT", "WorkerError", "build", "importers", "installed", "parse", "rejections"]
