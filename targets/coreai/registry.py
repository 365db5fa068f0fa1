"""The table of lowerings to Core AI."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeport.targets.lowering import Lowering, Refused, registrar

if TYPE_CHECKING:
    from edgeport.targets.coreai.context import Context

__all__ = ["LOWERINGS", "Refused", "lowers"]

LOWERINGS: dict[str, Lowering[Context]] = {}
lowers = registrar(LOWERINGS)
