"""ONNX files of targets: the same bytes every time, and marked with the target."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

_LARGEST_FILE = 2**31 - 2**26
"""Bytes of constants up to which a file holds them: protobuf stops at 2 GiB, nodes need the rest."""


MARK = "edgeport.target"
"""Key of a file's metadata that names the target it is for; others have ONNX files, too."""


def save(model: ir.Model, path: Path, target: str) -> tuple[Path, ...]:
    """Writes a model; where one file cannot hold its constants, they lie beside it.

    Args:
        model: gets the producer's name, and the target's as metadata.
        path: where to.
        target: whose file it is.

    Returns:
        The file, and the one with the constants if there is one.
    """
    model.producer_name, model.producer_version = "edgeport", None
    model.metadata_props[MARK] = target
    size = sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value is not None)
    if size < _LARGEST_FILE:
        path.write_bytes(ir.to_proto(model).SerializeToString(deterministic=True))
        return (path,)
    constants = path.with_suffix(".data")
    ir.save(model, path, external_data=constants.name)
    return path, constants


def mark_of(path: Path) -> str | None:
    """Name of the target whose file it is; None where it does not say, or is no ONNX file."""
    try:
        properties = onnx.load(path, load_external_data=False).metadata_props
    except (DecodeError, OSError):
        return None
    return next((entry.value for entry in properties if entry.key == MARK), None)
