"""The rules by their codes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import onnx_ir as ir

from edgeport.findings import Finding, Severity
from edgeport.targets.tensorrt.rules.reading import Reading


@dataclass(frozen=True)
class Broken:
    """A place where a rule is broken.

    Attributes:
        node: there; None where it is the whole file.
        message: which tensor, and what TensorRT does.
        hint: what to do.
    """

    node: ir.Node | None
    message: str
    hint: str


Rule = Callable[[Reading], Iterator[Broken]]

_RULES: dict[str, tuple[Severity, Rule]] = {}


def rule(code: str, severity: Severity) -> Callable[[Rule], Rule]:
    """Decorator that registers a rule.

    Args:
        code: stable kebab-case name of its findings.
        severity: `error` where the parser refuses or numbers are wrong, `warning` where the engine is slow.
    """

    def decorate(check: Rule) -> Rule:
        assert code not in _RULES, f"rule {code} is registered twice"
        _RULES[code] = severity, check
        return check

    return decorate


def codes() -> dict[str, Severity]:
    """The code of every rule and how severe it is."""
    return {code: severity for code, (severity, _) in _RULES.items()}


def broken(reading: Reading) -> list[Finding]:
    """One finding for every place where a rule is broken, in the order of the rules."""
    return [_finding(severity, code, place) for code, (severity, check) in _RULES.items() for place in check(reading)]


def _finding(severity: Severity, code: str, place: Broken) -> Finding:
    name, op_type = (None, None) if place.node is None else (place.node.name, place.node.op_type)
    return Finding(severity, code, place.message, name, op_type, place.hint)
