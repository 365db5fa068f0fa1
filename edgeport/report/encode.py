"""Turning results into JSON that is the same on every machine: no infinities, no unordered keys, no paths."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path, PurePath
from typing import Any, TypeAlias

import numpy as np

from edgeport.entry import is_entry

Json: TypeAlias = Any
"""None, bool, int, finite float, str, list or dict with str keys."""


def jsonable(value: Any) -> Json:
    """Plain JSON data for a value.

    Dataclasses become objects with their fields in order; other mappings are sorted by key; numbers that are not
    finite become null (JSON has none); a path becomes its last part, so that results do not depend on where a
    checkout lies.

    Raises:
        TypeError: something that has no JSON form.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, np.float32):
        return jsonable(float(str(value)))  # the shortest decimal that is the same float32
    if isinstance(value, np.generic):
        return jsonable(value.item())
    if isinstance(value, np.ndarray):
        return [jsonable(v) for v in value] if value.ndim else jsonable(value[()])
    if isinstance(value, PurePath):
        return value.name
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: jsonable(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(k): jsonable(v) for k, v in sorted(value.items(), key=lambda item: str(item[0]))}
    if isinstance(value, set | frozenset):
        return sorted((jsonable(v) for v in value), key=repr)
    if isinstance(value, list | tuple):
        return [jsonable(v) for v in value]
    raise TypeError(f"no JSON form for {type(value).__name__}")


def portable(option: Any) -> Json:
    """JSON form of an option's value, with the folder taken off a path to an existing file or folder.

    `/home/me/metric.py:f` becomes `metric.py:f`; strings that name nothing on this machine (`/input:float32[1]`) stay.
    """
    if isinstance(option, Mapping):
        return {str(k): portable(v) for k, v in sorted(option.items(), key=lambda item: str(item[0]))}
    if isinstance(option, list | tuple):
        return [portable(v) for v in option]
    if isinstance(option, str):
        file, colon, name = option.rpartition(":") if is_entry(option) else (option, "", "")
        if os.path.isabs(file) and os.path.exists(file):
            return Path(file).name + colon + name
    return jsonable(option)


def to_text(data: Json) -> str:
    """The one way in which JSON files are written: two spaces, ASCII, a newline at the end.

    Raises:
        ValueError: a number is not finite.
    """
    return json.dumps(data, indent=2, allow_nan=False) + "\n"
