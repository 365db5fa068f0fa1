"""The registry of graph passes: each has a name, so that a user can add or drop it by that name."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from edgeport.errors import UsageError
from edgeport.suggest import did_you_mean

Pass = Callable[[ir.Model], bool]
"""Changes the given model in place; returns True if it changed something."""

_PASSES: dict[str, Pass] = {}


def register(name: str) -> Callable[[Pass], Pass]:
    """Decorator that registers a pass.

    Args:
        name: unique snake_case name, used by `canonicalize(drop=..., add=...)` and the command line.

    Raises:
        UsageError: another pass already has this name.
    """

    def decorate(pass_: Pass) -> Pass:
        if _PASSES.get(name, pass_) is not pass_:
            raise UsageError(f"pass '{name}' is already registered; choose another name")
        _PASSES[name] = pass_
        return pass_

    return decorate


def names() -> tuple[str, ...]:
    """Names of all registered passes, sorted."""
    return tuple(sorted(_PASSES))


def get(name: str) -> Pass:
    """The pass of that name.

    Raises:
        UsageError: no pass has this name; the message suggests the nearest one.
    """
    if name not in _PASSES:
        raise UsageError(f"unknown pass {name!r}; {did_you_mean(name, names())}")
    return _PASSES[name]
