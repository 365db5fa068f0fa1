"""Lowerings by theme; `register` imports them all."""

from __future__ import annotations

import importlib
import pkgutil


def register() -> None:
    """Imports every module of this folder, which fills the table."""
    for module in sorted(m.name for m in pkgutil.iter_modules(__path__)):
        importlib.import_module(f"{__name__}.{module}")
