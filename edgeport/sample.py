"""Samples and input specifications: the data that flows into a graph."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from edgeport.errors import UsageError

Array: TypeAlias = npt.NDArray[Any]
Sample: TypeAlias = Mapping[str, Array]
"""One sample: input name -> array with the full shape that the graph takes (a batch axis of 1 included)."""

_SPEC = re.compile(r"^(?P<name>.+?):(?P<dtype>[a-z]+\d*)\[(?P<shape>[^\]]*)\]$")
_DTYPES = (
    "float32",
    "float16",
    "float64",
    "int64",
    "int32",
    "int16",
    "int8",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "bool",
)


@dataclass(frozen=True)
class InputSpec:
    """Name, numpy dtype name and shape of a graph input; a string in the shape is a symbolic dimension."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    @property
    def static(self) -> bool:
        """Whether every dimension is a number."""
        return all(isinstance(d, int) for d in self.shape)

    def __str__(self) -> str:
        return f"{self.name}:{self.dtype}[{','.join(str(d) for d in self.shape)}]"


def parse_input_spec(text: str) -> InputSpec:
    """Reads `NAME:DTYPE[SHAPE]`, e.g. `image:float32[1,3,224,224]` (names may hold colons).

    Raises:
        UsageError: the text is not of that form, the dtype is unknown, or a dimension is not positive.
    """
    match = _SPEC.match(text)
    if match is None:
        raise UsageError(f"--input {text!r} is not NAME:DTYPE[SHAPE], e.g. image:float32[1,3,224,224]")
    if match["dtype"] not in _DTYPES:
        raise UsageError(f"--input {text!r}: unknown dtype {match['dtype']!r}; use one of {', '.join(_DTYPES)}")
    shape: list[int | str] = []
    for part in (p.strip() for p in match["shape"].split(",") if p.strip()):
        if part.lstrip("-").isdigit():
            if int(part) <= 0:
                raise UsageError(f"--input {text!r}: dimension {part} must be positive")
            shape.append(int(part))
        else:
            shape.append(part)
    return InputSpec(match["name"], match["dtype"], tuple(shape))


def as_dtype(name: str) -> np.dtype[Any]:
    """The numpy dtype of an `InputSpec.dtype`."""
    return np.dtype(name)
