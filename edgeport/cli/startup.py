"""What makes a process of the command line short: modules that stay unloaded until they are used, and few collections.

A library has no business with either: they are for the process that edgeport has to itself.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType

_DEFERRED = ("sympy", "onnx_ir._symbolic_shapes")
"""onnx_ir loads them for arithmetic on symbolic dimensions, which takes a third of a second and is rarely done."""
_YOUNG = 50_000
"""Objects between two collections, for Python's 700: graphs are many small objects that live until the end."""


class _Deferring(MetaPathFinder):
    """Finds modules as the path does; their code runs when an attribute is first asked for."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in _DEFERRED:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = LazyLoader(spec.loader)
        return spec


def short_process() -> None:
    """For the rest of the process: going back would search all objects that lie about for cycles, for seconds."""
    sys.meta_path.insert(0, _Deferring())
    gc.set_threshold(_YOUNG, *gc.get_threshold()[1:])
