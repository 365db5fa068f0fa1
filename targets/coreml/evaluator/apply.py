"""Runs the function of one operation; what goes wrong in it becomes one line that names the operation."""

from __future__ import annotations

from edgeport.errors import ModelError
from edgeport.targets.coreml.evaluator.call import Call
from edgeport.targets.coreml.evaluator.registry import Array, EvaluationError, Handler

_DATA_ERRORS = (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError, RecursionError)
"""What numpy and Python raise when a damaged program asks for the impossible (AttributeError: numbers of strings)."""


def apply(handler: Handler, call: Call) -> tuple[Array, ...]:
    """The results of an operation, one array for each declared output.

    Raises:
        EvaluationError: the function failed, left an argument unread, or gave another number of results.
    """
    try:
        result = handler(call)
    except EvaluationError as error:
        raise _located(call, str(error)) from error
    except ModelError:
        raise
    except _DATA_ERRORS as error:
        raise _located(call, f"cannot be computed on these arguments: {error or type(error).__name__}") from error
    results = result if isinstance(result, tuple) else (result,)
    if call.unread:
        raise _located(call, f"its argument {min(call.unread)!r} is not known to the evaluator")
    if len(results) != len(call.operation.outputs):
        raise _located(call, f"gives {len(results)} results, the program declares {len(call.operation.outputs)}")
    return results


def _located(call: Call, text: str) -> EvaluationError:
    where = f"operation {call.name!r} ({call.kind})"
    return EvaluationError(text if text.startswith("operation ") else f"{where}: {text}")
