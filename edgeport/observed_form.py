"""Ranges of every float tensor in another form of the graph than the canonical one, for calibration caches.

A Reshape or a Transpose gives the elements it takes: one of such tensors is observed for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from edgeport.calibration.ranges import choose_range
from edgeport.calibration.statistics import Statistics
from edgeport.quantize.saturation import distinguished
from edgeport.side_branches import computed

Interval = tuple[float, float]
_MOVES = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Identity"})
"""Operators whose output has the elements of their first input, each once."""


@dataclass(frozen=True)
class ObservedForm:
    """A graph every float tensor of which needs a range.

    Attributes:
        model: the form, of the canonical opset; tensors it shares with the canonical graph have the same names.
        observed: float tensor of the form -> the tensor whose elements it has, which is observed for it.
    """

    model: ir.Model
    observed: Mapping[str, str]

    @property
    def requests(self) -> tuple[str, ...]:
        """Names of the tensors to observe, in the form's order."""
        return tuple(dict.fromkeys(self.observed.values()))


def observed_form(canonical: ir.Model, write: Callable[[ir.Model], ir.Model]) -> ObservedForm:
    """The form of a canonical graph that `write` gives, and what must be observed for it."""
    model = write(canonical)
    known = {v.name for v in computed(canonical)}
    groups = same_elements(model.graph)
    first = {id(group): next((n for n in group if n in known), group[0]) for group in groups.values()}
    return ObservedForm(model, {name: first[id(group)] for name, group in groups.items()})


def same_elements(graph: ir.Graph) -> dict[str, list[str]]:
    """Of every float tensor that is computed or fed: all that have the same elements, itself included."""
    groups: dict[str, list[str]] = {}
    for value in (*graph.inputs, *(v for node in graph for v in node.outputs)):
        if not value.name or value.dtype != ir.DataType.FLOAT or value.const_value is not None:
            continue
        node = value.producer()
        source = node.inputs[0] if node is not None and node.domain == "" and node.op_type in _MOVES else None
        group = groups.get(source.name or "", []) if source is not None else []
        group.append(value.name)
        groups[value.name] = group
    return groups


def form_ranges(
    form: ObservedForm, statistics: Statistics, method: str, *, symmetric: bool, clipping: float = 1.0
) -> dict[str, Interval | None]:
    """The range of every tensor of the form that the statistics cover; None for one that was NaN or infinite.

    Args:
        form: the form.
        statistics: of its `requests`.
        method: as for `choose_range`.
        symmetric: ranges are [-a, a].
        clipping: as for `choose_range`.
    """
    values = {v.name: v for v in computed(form.model)}
    members: dict[str, list[str]] = {}
    for name, source in form.observed.items():
        members.setdefault(source, []).append(name)
    chosen: dict[str, Interval | None] = {}
    for source, names in members.items():
        seen = statistics.tensors.get(source)
        if seen is None or seen.count + seen.non_finite == 0:
            continue
        within = distinguished([values[name] for name in names], names)
        if seen.non_finite:
            chosen[source] = None
        else:
            chosen[source] = choose_range(seen, method, symmetric=symmetric, within=within, clipping=clipping)
    return {name: chosen[source] for name, source in form.observed.items() if source in chosen}
