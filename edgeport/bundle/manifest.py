"""`manifest.json`: what went into an output folder and every file that came out; no clock, no absolute path."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from edgeport.report.contents import ArtifactFile
from edgeport.report.encode import Json, jsonable, portable, to_text

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
_ALWAYS = ("edgeport", "ml_dtypes", "numpy", "onnx", "onnx-ir", "onnxruntime", "onnxscript")
"""Distributions whose version can change any output; a target's toolchain comes on top."""


def write_manifest(
    folder: Path,
    *,
    source: Mapping[str, Any],
    data: Mapping[str, Any],
    options: Mapping[str, Any],
    toolchains: Iterable[str] = (),
) -> Path:
    """Writes the manifest of all files in a folder; the last thing written into it.

    Args:
        folder: the finished output folder.
        source: JSON-ready facts of the source: name, sha256, bytes.
        data: JSON-ready facts of the calibration and held-out data: digests, numbers of samples, preprocessing.
        options: flag -> value, paths as `Path`.
        toolchains: pip requirements of the targets in it (`Target.toolchain`), e.g. `ai-edge-litert>=2.3`.
    """
    content = {
        "schema_version": SCHEMA_VERSION,
        "edgeport": metadata.version("edgeport"),
        "tools": tool_versions(toolchains),
        "source": jsonable(source),
        "data": jsonable(data),
        "options": portable(options),
        "files": jsonable(list_files(folder)),
    }
    path = folder / MANIFEST
    path.write_bytes(to_text(content).encode("ascii"))
    return path


def list_files(folder: Path) -> tuple[ArtifactFile, ...]:
    """Every file below a folder except its manifest, sorted by path."""
    paths = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    return tuple(describe_file(paths[name], name) for name in sorted(paths) if name != MANIFEST)


def describe_file(path: Path, name: str) -> ArtifactFile:
    """Size and digest of a file that is reported as `name`."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return ArtifactFile(name, path.stat().st_size, digest)


def tool_versions(toolchains: Iterable[str] = ()) -> dict[str, str]:
    """Versions of Python (major and minor), of what every export uses, and of pip requirements that are installed."""
    names = {*_ALWAYS, *(re.split(r"[\s<>=!~;\[(@]", r.strip(), maxsplit=1)[0] for r in toolchains)}
    versions = {"python": f"{sys.version_info.major}.{sys.version_info.minor}"}
    for name in sorted(names):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # a toolchain that is missing made no file
    return versions


def read_manifest(folder: Path) -> dict[str, Json] | None:
    """The manifest of a folder that edgeport wrote, None if the folder has none."""
    try:
        content = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return None
    ours = isinstance(content, dict) and "edgeport" in content and isinstance(content.get("files"), list)
    return content if ours else None
