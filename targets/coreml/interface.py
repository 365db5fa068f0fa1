"""What an app sees of a package's inputs and outputs, and where that differs from the source."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from edgeport.findings import Finding

_NAMED = 3
"""Of how many inputs and outputs a remark tells; the report has all."""


@dataclass(frozen=True)
class End:
    """An input or output of a package.

    Attributes:
        kind: `input` or `output`.
        source: its name in the canonical graph.
        name: its name in the package.
        wants: its dtype in the canonical graph.
        dtype: its dtype in the package.
        shape: its shape in the package.
    """

    kind: str
    source: str
    name: str
    wants: str
    dtype: str
    shape: tuple[int, ...]

    def facts(self) -> dict[str, Any]:
        """For the report."""
        return {"name": self.source, "coreml_name": self.name, "dtype": self.dtype, "shape": list(self.shape)}


def ends_of(
    kind: str,
    values: Sequence[ir.Value],
    names: Mapping[str, str],
    type_of: Callable[[ir.Value], tuple[tuple[int, ...], str]],
) -> Iterator[End]:
    """The inputs or outputs of a package.

    Args:
        kind: `input` or `output`.
        values: those of the canonical graph.
        names: canonical name -> the package's.
        type_of: shape and dtype of a value in the package.
    """
    for value in values:
        own = value.name or ""
        shape, dtype = type_of(value)
        assert value.dtype is not None
        yield End(kind, own, names[own], str(value.dtype.numpy().name), dtype, shape)


def facts_of_ends(ends: Sequence[End]) -> dict[str, Any]:
    """For the report: every input and output, and the names that had to change."""
    facts: dict[str, Any] = {f"{kind}s": [e.facts() for e in ends if e.kind == kind] for kind in ("input", "output")}
    return facts | {"renamed": {end.source: end.name for end in ends if end.name != end.source}}


def remarks(ends: Sequence[End]) -> Iterator[Finding]:
    """What an app's code has to know: new names, and integers of fewer bits."""
    renamed = [f"{end.kind} {end.source!r} is {end.name!r}" for end in ends if end.name != end.source]
    if renamed:
        yield Finding("info", "renamed", f"Core ML's names are identifiers: {_listed(renamed)}")
    others: dict[tuple[str, str], list[str]] = {}
    for end in ends:
        if end.dtype != end.wants and (end.wants, end.dtype) != ("float32", "float16"):  # which was asked for
            others.setdefault((end.dtype, end.wants), []).append(f"{end.kind} {end.source!r}")
    for (dtype, wants), found in others.items():
        verb = "is" if len(found) == 1 else "are"
        message = f"{_listed(found)} {verb} {dtype} in the package, {wants} in the source"
        yield Finding("info", "other-dtype", message, hint=_CAUSES.get(wants))


def _listed(items: Sequence[str]) -> str:
    more = f" and {len(items) - _NAMED} more" if len(items) > _NAMED else ""
    return ", ".join(items[:_NAMED]) + more


_CAUSES = {
    "int64": "Core ML has no integers of 64 bits; values beyond 32 bits cannot be handed over",
    "bool": "hand over 0 and 1; every number but 0 counts as true",
}
