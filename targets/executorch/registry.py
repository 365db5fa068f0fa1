"""The table of lowerings that this target has in place of the torch view's."""

from __future__ import annotations

from edgeport.targets.lowering import Lowering, Refused, registrar
from edgeport.torch_view.context import Context
from edgeport.torch_view.ops import quantization  # noqa: F401  (fills the view's table)
from edgeport.torch_view.registry import LOWERINGS as VIEW

__all__ = ["OWN", "VIEW", "Refused", "lowers"]

OWN: dict[str, Lowering[Context]] = {}
lowers = registrar(OWN)
