"""Which ONNX operators the parser of a TensorRT imports, with what restriction and of which element types.

The facts are in `operators.toml`, from docs/operators.md and docs/Changelog.md of onnx/onnx-tensorrt.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any, Literal

from edgeport.targets.tensorrt.version import Version

Kind = Literal["float", "int", "bool"]


def imports(op_type: str, version: Version) -> bool:
    """Whether the parser of that TensorRT imports the operator (of ONNX's own domain)."""
    since = first(op_type)
    return since is not None and since <= version


def first(op_type: str) -> Version | None:
    """The oldest TensorRT (from 8.0 on) that imports the operator; None where none does."""
    return _since().get(op_type)


def restriction(op_type: str, version: Version) -> str | None:
    """What the parser of that TensorRT demands of the operator, in words; None where nothing is known."""
    for entry in _data()["restrictions"].get(op_type, ()):
        if "before" not in entry or version < Version.parse(entry["before"]):
            return str(entry["text"])
    return None


def kinds(op_type: str, version: Version) -> tuple[Kind, ...] | None:
    """Kinds of element types that the operator takes as data there; None where all of them, or unknown."""
    found: tuple[Kind, ...] | None = None
    for entry in _data()["types"]:
        if op_type in entry["operators"] and Version.parse(entry["since"]) <= version:
            found = tuple(entry["takes"])
    return found


@cache
def _since() -> Mapping[str, Version]:
    return {name: Version.parse(version) for version, names in _data()["since"].items() for name in names}


@cache
def _data() -> Mapping[str, Any]:
    text = resources.files(__package__).joinpath("operators.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)
