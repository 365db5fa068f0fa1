"""The table of lowerings to TFLite."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeport.targets.lowering import Lowering, Refused, registrar

if TYPE_CHECKING:
    from edgeport.targets.tflite.context import Context

__all__ = ["LOWERINGS", "Refused", "lowers"]

LOWERINGS: dict[str, Lowering[Context]] = {}
lowers = registrar(LOWERINGS)
