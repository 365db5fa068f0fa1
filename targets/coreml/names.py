"""Names: MIL takes identifiers only, so tensors may have to be renamed; the map is kept with the package."""

from __future__ import annotations

import re
from collections.abc import Iterable

_RESERVED = frozenset(
    [
        "any",
        "bool",
        "program",
        "func",
        "tensor",
        "list",
        "dict",
        "tuple",
        "true",
        "false",
        "string",
        "bf16",
        "fp16",
        "fp32",
        "fp64",
        "int8",
        "int16",
        "int32",
        "int64",
        "uint8",
        "uint16",
        "uint32",
        "uint64",
        "complex64",
        "complex128",
        "state",
    ]
)
"""Words of the MIL text format (coremltools renames them as well)."""


class Names:
    """Gives every canonical name an identifier of its own.

    A name that is an identifier stays as it is; any other gets underscores for what is none, and a number where
    that collides.

    Args:
        ends: names of the graph's inputs and outputs, which have the first choice.
    """

    def __init__(self, ends: Iterable[str] = ()) -> None:
        self._taken: set[str] = set()
        self._kept: dict[str, str] = {}
        self.canonical: dict[str, str] = {}
        """Identifier -> canonical name, of the names asked for by `of`."""
        for name in ends:
            if name not in self._kept:
                self._kept[name] = self.fresh(name)

    def of(self, name: str) -> str:
        """The identifier of a tensor; asked again for the same name, another one."""
        identifier = self._kept.pop(name, None) or self.fresh(name)
        self.canonical[identifier] = name
        return identifier

    def fresh(self, hint: str) -> str:
        """An identifier that nothing has yet, for a tensor that the canonical graph does not have."""
        clean = re.sub(r"[^0-9A-Za-z_]", "_", hint) or "v"
        if clean[0] in "_0123456789" or clean in _RESERVED:
            clean = f"v_{clean}"
        unique, number = clean, 0
        while unique in self._taken:
            number += 1
            unique = f"{clean}_{number}"
        self._taken.add(unique)
        return unique
