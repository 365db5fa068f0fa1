"""Element types of the view: those of the graph, but unsigned integers over 8 bits, which torch hardly computes with.

They are held as int64: of 16 and 32 bits by value, of 64 bits by their bit pattern. Integers of 4 bits, which torch
lacks, stand in 8 bits between quantization and dequantization.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgeport.targets.lowering import Refused

WIDE_UNSIGNED = ("uint16", "uint32", "uint64")
"""What is held as int64."""

NARROW: dict[str, torch.dtype] = {"int4": torch.int8, "uint4": torch.uint8}
"""What is held in 8 bits."""

_TORCH: dict[str, torch.dtype] = {
    "bool": torch.bool,
    "float16": torch.float16,
    "float32": torch.float32,
    "float64": torch.float64,
    "int8": torch.int8,
    "int16": torch.int16,
    "int32": torch.int32,
    "int64": torch.int64,
    "uint8": torch.uint8,
    "uint16": torch.uint16,
    "uint32": torch.uint32,
    "uint64": torch.uint64,
}


def outer(name: str) -> torch.dtype:
    """The torch dtype of a numpy dtype's name, as the view's inputs and outputs have it.

    Raises:
        Refused: torch has no such dtype.
    """
    if name not in _TORCH:
        raise Refused(f"dtype {name} is not supported", "cast to float32", "unsupported-dtype")
    return _TORCH[name]


def inner(name: str) -> torch.dtype:
    """The torch dtype in which the view holds such values.

    Raises:
        Refused: as for `outer`.
    """
    return torch.int64 if name in WIDE_UNSIGNED else NARROW.get(name) or outer(name)


def to(x: Tensor, dtype: torch.dtype) -> Tensor:
    """A tensor of the view in another dtype."""
    made: Tensor = torch.ops.aten.to(x, dtype)
    return made
