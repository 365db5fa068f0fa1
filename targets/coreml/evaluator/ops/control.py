"""Choice, branches, loops, and states."""

from __future__ import annotations

import numpy as np

from edgeport.targets.coreml.evaluator.call import Call
from edgeport.targets.coreml.evaluator.registry import Array, EvaluationError, evaluates

_MOST_TURNS = 1_000_000
"""Turns of a loop after which it is taken for endless."""


@evaluates("select")
def select(call: Call) -> Array:
    """`a` where `cond` is True, `b` elsewhere."""
    return np.where(call.array("cond"), call.array("a"), call.array("b"))


@evaluates("cond")
def cond(call: Call) -> tuple[Array, ...]:
    """The outputs of the first block when `pred` is True, otherwise of the second."""
    return call.run_block(0 if call.flag("pred") else 1)


@evaluates("while_loop")
def while_loop(call: Call) -> tuple[Array, ...]:
    """Runs the second block on its own outputs as long as the first, on the same values, gives True."""
    values = call.arrays("loop_vars")
    for _ in range(_MOST_TURNS):
        (go_on,) = call.run_block(0, values)
        if not go_on.reshape(-1)[0]:
            return values
        values = call.run_block(1, values)
    raise EvaluationError(f"the loop does not end within {_MOST_TURNS} turns")


@evaluates("read_state")
def read_state(call: Call) -> Array:
    """A state's content; a later write replaces the array and leaves this one as it is."""
    return call.state("input").array


@evaluates("write_state")
def write_state(call: Call) -> tuple[Array, ...]:
    """Replaces a state's content."""
    state, data = call.state("input"), call.array("data")
    if data.shape != state.array.shape:
        raise EvaluationError(f"writes shape {list(data.shape)} to a state of {list(state.array.shape)}")
    state.array = data
    return ()


@evaluates("coreml_update_state")
def coreml_update_state(call: Call) -> Array:
    """Replaces a state's content and returns it."""
    state, value = call.state("state"), call.array("value")
    if value.shape != state.array.shape:
        raise EvaluationError(f"writes shape {list(value.shape)} to a state of {list(state.array.shape)}")
    state.array = value
    return value
