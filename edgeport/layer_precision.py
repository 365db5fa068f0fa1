"""`--layer-precision "GLOB=PRECISION"`: layers whose numbers become something else than those of the model."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import onnx_ir as ir

from edgeport.errors import UsageError

_WILD = "*?[]"
_SHOWN = 3


@dataclass(frozen=True)
class LayerPrecision:
    """A precision for all nodes whose name, or the name of a tensor they write, matches a shell pattern."""

    glob: str
    precision: str

    def __str__(self) -> str:
        return f"{self.glob}={self.precision}"


def parse_layer(text: str) -> LayerPrecision:
    """Reads `GLOB=PRECISION`; the pattern may hold `=` itself.

    Raises:
        UsageError: one of the two is missing.
    """
    glob, _, precision = text.rpartition("=")
    if not glob.strip() or not precision.strip():
        raise UsageError(f'--layer-precision {text!r}: give "GLOB=PRECISION", e.g. "head*=fp32"')
    return LayerPrecision(glob.strip(), precision.strip())


def match_layers(graph: ir.Graph, entries: Sequence[LayerPrecision]) -> Mapping[str, str]:
    """The precision of each node that an entry names, in the entries' order; of several for one node the last decides.

    Args:
        graph: the canonical graph.
        entries: as the user gave them.

    Raises:
        UsageError: an entry matches no node; says which names are near.
    """
    found: dict[str, str] = {}
    names = {node.name or "": (node.name or "", *(v.name or "" for v in node.outputs)) for node in graph}
    for entry in entries:
        matched = {node for node, own in names.items() if any(_matches(name, entry.glob) for name in own)}
        if not matched:
            raise UsageError(f"--layer-precision {entry}: no node and no tensor matches; {_near(entry.glob, names)}")
        found = {node: precision for node, precision in found.items() if node not in matched}
        found |= dict.fromkeys((node for node in names if node in matched), entry.precision)
    return found


def _matches(name: str, glob: str) -> bool:
    return bool(name) and (name == glob or fnmatchcase(name, glob))


def _near(glob: str, names: Mapping[str, Sequence[str]]) -> str:
    known = list(dict.fromkeys(name for own in names.values() for name in own if name))
    core = glob.strip(_WILD)
    near = [name for name in known if core and core.lower() in name.lower()][:_SHOWN]
    near = near or difflib.get_close_matches(core, known, _SHOWN, 0.5)
    listed = ", ".join(map(repr, near or known[:_SHOWN]))
    return f"{'near names' if near else 'names look like'}: {listed}; --dry-run lists all"
