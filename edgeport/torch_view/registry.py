"""The table of lowerings to torch.

The view is lowered to like a target's file is, so it uses the targets' table, walk and window arithmetic: modules of
`edgeport.targets` that know no target, as much of the core imports `edgeport.targets.contract`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeport.targets.lowering import Lowering, Refused, registrar

if TYPE_CHECKING:
    from edgeport.torch_view.context import Context

__all__ = ["LOWERINGS", "Refused", "lowers"]

LOWERINGS: dict[str, Lowering[Context]] = {}
lowers = registrar(LOWERINGS)
