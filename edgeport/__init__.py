"""edgeport: take a trained float model to phones and boards, and prove how far every file drifted.

`edgeport.export`, `inspect`, `calibrate` and `QuantizedTransformer` are those of `edgeport.api`, which has the rest.
They are loaded when they are first used: the command line reads this file on every start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeport.api import QuantizedTransformer, calibrate, export, inspect

__all__ = ["QuantizedTransformer", "calibrate", "export", "inspect"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name in __all__:
        from edgeport import api

        return getattr(api, name)
    raise AttributeError(f"module 'edgeport' has no attribute {name!r}")
