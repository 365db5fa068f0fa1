"""The table of operations: one small function per MIL operation kind, registered by decorator."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from edgeport.errors import ModelError

if TYPE_CHECKING:
    from edgeport.targets.coreml.evaluator.call import Call

Array = NDArray[Any]
Handler = Callable[["Call"], Array | tuple[Array, ...]]


class EvaluationError(ModelError):
    """An operation of the program cannot be evaluated, or its result contradicts what the file declares."""


_HANDLERS: dict[str, Handler] = {}


def evaluates(*kinds: str) -> Callable[[Handler], Handler]:
    """Registers a function as the meaning of MIL operation kinds, e.g. `@evaluates("add")`.

    The function receives a `Call` and returns one array or, for several outputs, a tuple. Float tensors are float32
    whatever their declared precision, integers and booleans have their own dtype. Integer results may be int64:
    those that leave the declared dtype are wrapped and reported as overflow.
    """

    def register(handler: Handler) -> Handler:
        for kind in kinds:
            assert kind not in _HANDLERS, kind
            _HANDLERS[kind] = handler
        return handler

    return register


@cache
def handlers() -> dict[str, Handler]:
    """Every registered operation: kind -> function. Imports all modules of `ops` at the first call."""
    from edgeport.targets.coreml.evaluator import constexpr, ops

    assert constexpr is not None
    for module in pkgutil.iter_modules(ops.__path__):
        importlib.import_module(f"{ops.__name__}.{module.name}")
    return _HANDLERS
