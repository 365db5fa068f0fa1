"""The oldest system that is to take a program: what the device profile says, or what the program needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from edgeport.errors import UsageError
from edgeport.quantize.compression import Palette
from edgeport.quantize.plan import Plan, QParams

DEFAULT = "iOS18"
"""What a program is for where nothing is said: it runs on the same phones as iOS 17 (docs/decisions/0011)."""
_GENERATIONS = (
    ("iOS15", "macOS12"),
    ("iOS16", "macOS13"),
    ("iOS17", "macOS14"),
    ("iOS18", "macOS15"),
    ("iOS26", "macOS26"),
)
"""Systems that take the same programs, oldest first."""
_LEAST = (("fp32", "iOS15"), ("fp16", "iOS15"), ("int4", "iOS18"), ("int8-weights", "iOS16"), ("int8", "iOS17"))
"""Beginnings of precisions -> the oldest systems whose operations they need; palettes and masks came with iOS 16."""


def deployment_of(plan: Plan, needs: Iterable[tuple[str, str]] = ()) -> str:
    """The deployment target of a program.

    Args:
        plan: its precision, device and compressed constants.
        needs: what else it uses, in words -> the oldest system that has it.

    Raises:
        UsageError: the device's system is too old.
    """
    layers = sorted(set(plan.layers.values()))
    needs = [*needs, *_stored(plan), *((f"--layer-precision {name}", _least(name)) for name in layers)]
    if plan.io_dtype == "float16":
        needs.append(("--io-dtype float16", "iOS16"))
    if plan.states:
        needs.append(("--state", "iOS18"))
    return deployment(plan.precision, plan.device, needs)


def deployment(precision: str, device: Mapping[str, Any], needs: Iterable[tuple[str, str]] = ()) -> str:
    """The deployment target of a precision on a device (the facts of its profile, empty without one).

    Raises:
        UsageError: the device's system is too old.
    """
    wanted = [(f"--precision {precision}", _least(precision)), *needs]
    declared = device.get("deployment")
    if declared is None:
        return max((DEFAULT, *(system for _, system in wanted)), key=_age)
    for what, system in wanted:
        if _age(system) > _age(declared):
            raise UsageError(
                f"{what} needs {system} or {_GENERATIONS[_age(system)][1]}, and --profile {device.get('name')} is a "
                f"device with {declared}; take a profile with a newer system"
            )
    return str(declared)


def is_at_least(system: str, other: str) -> bool:
    """Whether a system is of that version or younger."""
    return _age(system) >= _age(other)


def _least(precision: str) -> str:
    return next((system for name, system in _LEAST if precision.startswith(name)), "iOS16")


def _age(system: str) -> int:
    return next(index for index, names in enumerate(_GENERATIONS) if system in names)


def _stored(plan: Plan) -> list[tuple[str, str]]:
    """What compressed constants need beyond their precision: blocks and groups came with iOS 18."""
    for tensor in plan.tensors.values():
        how = plan.compression(tensor.name)
        if isinstance(how, QParams) and (how.block is not None or how.dtype == "int4"):
            return [("weights in blocks of 4 bits", "iOS18")]
        if isinstance(how, Palette) and len(how.lut) > 1:
            return [("a palette for every group of channels", "iOS18")]
    return []
